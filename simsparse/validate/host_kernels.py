# SPDX-License-Identifier: Apache-2.0
"""Predictions for the products that ``simsparse probe --cpu`` timed on one thread (section ``cpu_kernels``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from simsparse.config.hardware import override_part
from simsparse.config.parts.cpu import CpuPart
from simsparse.core import Op, ops
from simsparse.devices.cpu import Cpu
from simsparse.validate.comparison import Prediction
from simsparse.validate.host_rows import with_threads
from simsparse.validate.measurement import Measurement

SECTION, CORE_SECTION = "cpu_kernels", "cpu_core"


class Subject(NamedTuple):
    """A measured loop: the storage format of its weights, and the kernel that the model runs for it."""

    storage: str
    kernel: str


SUBJECTS: Mapping[str, Subject] = {
    "dense": Subject("dense", "gemm"), "condensed": Subject("fan_in", "fan_in_gather"),
    "csr_vector": Subject("csr", "csr_vector"), "csr_axpy": Subject("csr", "csr_numba"),
    "csr_scipy": Subject("csr", "csr_scipy"), "csr_torch": Subject("csr", "csr_columns"),
}  # fmt: skip
"""What ran in a row, by its ``op``."""


def predict_kernels_of_host(part: CpuPart, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds of each row's product on ``part``; in its stead the reason why not."""
    return [_predicted(part, row) for row in rows]


def _predicted(part: CpuPart, row: Measurement) -> Prediction | str:
    subject = SUBJECTS.get(row.text("op"))
    if subject is None:
        return f"op {row.text('op')}"
    placed = with_threads(part, row)
    if isinstance(placed, str):
        return placed
    if placed.core is None:
        return f"{part.name} does not describe its cores"
    called = {"compute.launch": f"{row.number('call_s')!r} s", "core.dispatch": "0 s"}
    core = placed.core.model_copy(update={"kernels": {**placed.core.kernels, subject.storage: subject.kernel}})
    ran = override_part(placed.model_copy(update={"core": core}), called)
    assert isinstance(ran, CpuPart)
    return Prediction(row, row.number("s"), Cpu(ran, resident=True).costs([_op(row, subject)])[0].latency_s)


def _op(row: Measurement, subject: Subject) -> Op:
    inputs, density = row.whole("k"), row.number("density")
    pattern = f"bank{inputs}:{density!r}" if subject.storage == "fan_in" else f"unstructured:{density!r}"
    sparse: Mapping[str, str] = {"weight_sparsity": pattern, "weight_format": subject.storage}
    with row.placed():
        return ops.linear(row.whole("m"), row.whole("n"), inputs, row.dtype(), **({} if density == 1 else sparse))
