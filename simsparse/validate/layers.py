# SPDX-License-Identifier: Apache-2.0
"""Predictions for rows that time whole layers with weights in host memory, through ``simulate``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from simsparse._simulate import simulate
from simsparse.config.hardware import System, load_system
from simsparse.config.parts.gpu import GpuPart
from simsparse.config.paths import part_names
from simsparse.core import DType, Op, Routing, Trace, TraceBuilder, ops
from simsparse.devices.gpu_experts import LOOP
from simsparse.errors import MappingError, SimulationError
from simsparse.policies import POLICIES, Policy
from simsparse.validate.comparison import Prediction
from simsparse.validate.measurement import Measurement

OFFLOAD_MODES = ("resident", "on_demand", "pregated", "prefetch_all")
STREAM_MODES = {"resident": "resident", "on_demand": "on_demand", "prefetch": "pregated"}
"""Modes of weight_stream rows, and the policy that does the same with every weight."""


RUNS_IN_A_ROW = 3
"""Runs up to the one that gives a row's seconds: one to warm up, then the middle of three or five."""
MAX_COPIES = 100_000
"""Copies of one row beyond which it is refused, so that a damaged row can't run for ever."""


def host_system(part: GpuPart) -> System | None:
    """The first system under hw_models/ that joins this GPU alone to a host; None without one."""
    for name in part_names():
        if name.startswith("systems/"):
            system = load_system(name)
            kinds = sorted(member.kind for member in system.devices.values())
            if kinds == ["cpu", "gpu"] and system.links and part in system.devices.values():
                return system
    return None


def predict_offload(system: System, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of the layers of a MoE decode step under the policy that the row's mode names."""
    return [_offload(system, row) for row in rows]


def _offload(system: System, row: Measurement) -> Prediction | str:
    mode, active = row.text("mode"), row.whole("n_act")
    if mode not in OFFLOAD_MODES:
        return f"mode {mode}"
    tokens = active * row.whole("tok_per_expert")
    if active > row.whole("experts"):
        raise row.error("n_act", f"{active} of {row.whole('experts')} experts")
    _limit_copies(row, "layers", row.whole("layers") * row.whole("experts"))
    with row.placed():
        trace = layers_of(row, tokens, 4, partial(_experts, row, active=active))
    return _simulated(system, row, trace, POLICIES.get(mode)())


def predict_weight_stream(system: System, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of layers whose weights all come from the host, as the row's mode says."""
    return [_weight_stream(system, row) for row in rows]


def _weight_stream(system: System, row: Measurement) -> Prediction | str:
    mode = row.text("mode")
    if mode not in STREAM_MODES:
        return f"mode {mode}"
    mats, experts = row.whole("attn_mats"), row.whole("experts")
    _limit_copies(row, "layers", row.whole("layers") * (mats + experts))
    feed_forward = partial(_dense, row) if experts == 1 else partial(_experts, row, active=experts)
    with row.placed():
        trace = layers_of(row, row.whole("tokens"), mats, feed_forward)
    options: Mapping[str, object] = {}
    if mode != "resident":
        _limit_copies(row, "chunk_bytes", trace.weight_bytes // row.whole("chunk_bytes"))
        options = {"what": "all", "chunk_bytes": row.whole("chunk_bytes")}
    return _simulated(system, row, trace, POLICIES.get(STREAM_MODES[mode])(**options))


def _limit_copies(row: Measurement, key: str, copies: int) -> None:
    if copies > MAX_COPIES:
        raise row.error(key, f"{row.fields[key]!r} makes {copies} copies; at most {MAX_COPIES} are simulated")


def _simulated(system: System, row: Measurement, trace: Trace, policy: Policy) -> Prediction | str:
    try:
        result = simulate(trace, system, policy, repeats=RUNS_IN_A_ROW)
    except (MappingError, SimulationError) as error:
        return str(error)
    return Prediction(row, row.number("s"), result.latency_s)


def layers_of(row: Measurement, tokens: int, attention_mats: int, feed_forward: Callable[[int], Iterable[Op]]) -> Trace:
    """``layers`` times: d x d GEMMs on all tokens, then what ``feed_forward`` gives for the layer."""
    d, dtype = row.whole("d"), row.dtype()
    builder = TraceBuilder(row.text("model"), measured_at=f"{row.file}:{row.line}")
    for layer in range(row.whole("layers")):
        for i in range(attention_mats):
            builder.add(_linear(f"layers.{layer}.attention.{i}", tokens, d, d, dtype))
        for op in feed_forward(layer):
            builder.add(op)
    return builder.build()


def _linear(name: str, tokens: int, n: int, k: int, dtype: DType) -> Op:
    return ops.linear(tokens, n, k, dtype, name=name, module=name, weight=name)


def _gated(row: Measurement) -> bool:
    mats = row.whole("mats")
    if mats not in (2, 3):
        raise row.error("mats", f"{mats} is neither 2 (plain) nor 3 (gated)")
    return mats == 3


def _experts(row: Measurement, layer: int, active: int) -> list[Op]:
    """The MoE layer of which the first ``active`` experts are hit."""
    experts, per_expert = row.whole("experts"), row.whole("tok_per_expert")
    name = f"layers.{layer}.experts"
    routing = Routing((per_expert,) * active + (0,) * (experts - active), origin="given")
    op = ops.moe_ffn(
        active * per_expert, row.whole("d"), row.whole("ff"), experts, _gated(row), row.dtype(),
        routing=routing, name=name, module=name, weight=name, label=LOOP,
    )  # fmt: skip
    return [op]


def _dense(row: Measurement, layer: int) -> list[Op]:
    """The feed-forward layer of a model with one expert, which is none: GEMMs and activations."""
    d, ff, tokens, dtype = row.whole("d"), row.whole("ff"), row.whole("tok_per_expert"), row.dtype()
    name, size = f"layers.{layer}.mlp", row.whole("tok_per_expert") * row.whole("ff") * row.dtype().bits // 8
    found = [_linear(f"{name}.up", tokens, ff, d, dtype), ops.elementwise(size, size, name=f"{name}.act", module=name)]
    if _gated(row):
        found += [_linear(f"{name}.gate", tokens, ff, d, dtype),
                  ops.elementwise(2 * size, size, name=f"{name}.mul", module=name)]  # fmt: skip
    return [*found, _linear(f"{name}.down", tokens, d, ff, dtype)]
