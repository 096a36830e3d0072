# SPDX-License-Identifier: Apache-2.0
"""Predictions for rows of the host: its kernels on some of its threads, and an expert computed there or copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from simsparse._simulate import simulate
from simsparse.config.hardware import System, override_part
from simsparse.config.parts.cpu import CpuPart
from simsparse.core import Op, Routing, Sparsity, Trace, TraceBuilder, ops
from simsparse.devices.cpu import Cpu
from simsparse.devices.gpu_experts import LOOP
from simsparse.errors import MappingError, SimulationError
from simsparse.validate.comparison import Prediction
from simsparse.validate.kernels import attention_op
from simsparse.validate.measurement import Measurement

WHERE: Mapping[str, Mapping[str, object]] = {
    "host": {"placement": {"kind": "mapped", "rules": [{"ops": "expert", "device": "host"},
                                                      {"ops": "*", "device": "gpu0"}]}},
    "host, weights and inputs there already": {"placement": {"kind": "mapped",
                                                             "rules": [{"ops": "*", "device": "host"}]}},
    "copied to the GPU": {"residency": {"kind": "none"}},
    "on the GPU already": {},
}  # fmt: skip
"""What a row's ``where`` says, as a policy."""


def predict_host(system: System, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of each row of the host, with as many threads as it says."""
    return [
        _expert(system, row) if row.text("op") == "expert_where" else predict_kernel(host_of(system)[1], row)
        for row in rows
    ]


def host_of(system: System) -> tuple[str, CpuPart]:
    """The name and the part of the first CPU. Raises StopIteration without one."""
    return next((name, part) for name, part in system.devices.items() if isinstance(part, CpuPart))


def with_threads(part: CpuPart, row: Measurement) -> CpuPart | str:
    """``part`` with as many threads at work as the row states, if it does; the reason where it can't have so many."""
    if "threads" not in row.fields:
        return part
    if part.threads is None:
        return f"{part.name} does not say what its threads share"
    if row.whole("threads") > part.threads.cores.si:
        return f"{row.whole('threads')} threads on {part.threads.cores.whole} cores"
    changed = override_part(part, {"threads.count": str(row.whole("threads"))})
    return changed if isinstance(changed, CpuPart) else part


def predict_kernel(part: CpuPart, row: Measurement) -> Prediction | str:
    """Seconds of a kernel on the threads of ``part`` that the row states."""
    build = _KERNELS.get(row.text("op"))
    if build is None:
        return f"op {row.text('op')}"
    placed = with_threads(part, row)
    if isinstance(placed, str):
        return placed
    with row.placed():
        op = build(row)
    try:
        return Prediction(row, row.number("s"), Cpu(placed).costs([op])[0].latency_s)
    except MappingError as error:
        return str(error)


def _linear(row: Measurement) -> Op:
    return ops.linear(row.whole("m"), row.whole("n"), row.whole("k"), row.dtype())


def _square(row: Measurement) -> Op:
    return ops.linear(row.whole("n"), row.whole("n"), row.whole("n"), row.dtype())


def _csr(row: Measurement) -> Op:
    sparsity = Sparsity.parse(f"unstructured:{row.number('density')}")
    return ops.linear(row.whole("m"), row.whole("n"), row.whole("k"), row.dtype(), weight_sparsity=sparsity,
                      weight_format="csr")  # fmt: skip


def _attention(row: Measurement) -> Op:
    return attention_op(row).with_(dtype=row.dtype())


_KERNELS: Mapping[str, Callable[[Measurement], Op]] = {
    "linear": _linear,
    "cpu_gemm": _square,
    "spmm_csr": _csr,
    "sdpa_decode": _attention,
    "cpu_copy": lambda row: ops.elementwise(_moved(row), _moved(row), dtype="fp32"),
    "cpu_read": lambda row: ops.elementwise(_moved(row), 0, dtype="fp32"),
    "cpu_write": lambda row: ops.elementwise(0, _moved(row), dtype="fp32"),
}
GIB = 1 << 30


def _moved(row: Measurement) -> int:
    return row.whole("bytes") if "bytes" in row.fields else GIB


def _expert(system: System, row: Measurement) -> Prediction | str:
    """One expert on the tokens of a row: on the host, with or without its inputs and outputs on the link, or copied."""
    policy = WHERE.get(row.text("where"))
    if policy is None:
        return f"where {row.text('where')}"
    with row.placed():
        trace = _as_kernels(row) if row.text("where") == "on the GPU already" else _one_expert(row)
        try:
            result = simulate(trace, system, policy)
        except (MappingError, SimulationError) as error:
            return str(error)
    return Prediction(row, row.number("s"), result.latency_s)


def _one_expert(row: Measurement) -> Trace:
    tokens, d = row.whole("m"), row.whole("d")
    routing = Routing.from_ids([[0]] * tokens, 1, "given")
    expert = ops.moe_ffn(tokens, d, row.whole("ff"), 1, row.whole("mats") == 3, row.dtype(), routing=routing,
                         name="expert", module="layers.0.expert", weight="expert", label=LOOP)  # fmt: skip
    builder = TraceBuilder(row.text("model"))
    if row.text("where") == "host":
        size = 2 * tokens * d
        builder.add(ops.transfer(size, "gpu0", "host", name="inputs"))
        return builder.add(expert).add(ops.transfer(size, "host", "gpu0", name="outputs")).build()
    return builder.add(expert).build()


def _as_kernels(row: Measurement) -> Trace:
    """The same, an op for each kernel that the framework is called for, one call after another."""
    tokens, d, ff, dtype = row.whole("m"), row.whole("d"), row.whole("ff"), row.dtype()
    hidden = tokens * ff * dtype.bits // 8
    up = ops.linear(tokens, ff, d, dtype, name="up", weight="up")
    kernels = [up, ops.elementwise(hidden, hidden, tokens * ff, dtype, name="activation")]
    if row.whole("mats") == 3:
        kernels += [up.with_(name="gate", weight="gate"),
                    ops.elementwise(2 * hidden, hidden, tokens * ff, dtype, name="product")]  # fmt: skip
    kernels.append(ops.linear(tokens, d, ff, dtype, name="down", weight="down"))
    builder = TraceBuilder(row.text("model"))
    for call, kernel in enumerate(kernels, 1):
        builder.add(kernel.with_(call=call))
    return builder.build()
