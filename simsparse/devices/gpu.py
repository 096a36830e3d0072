"""GPUs: closed forms of PyTorch's kernels, replayed in a CUDA graph.

Left out: kernels that run at the same time on one GPU, data that an earlier kernel left in the L2
cache, clocks that change with temperature.

Sparsity: only 2:4 has hardware (weights that keep at most two of every four, 2:4 itself, 1:4, 1:8
and other N:M with N <= 2 and M a multiple of four); those run PyTorch's semi-structured path. All
other patterns are stored and multiplied as dense ones, zeros included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.config.parts.gpu import GpuPart
from simsparse.core import Action, DType, Op, OpKind, Sparsity, SparsityKind
from simsparse.devices.base import DEVICES, CostArrays, Device, Floats
from simsparse.devices.gpu_gemm import GemmMachine, GemmParameters, GemmShapes, GemmUnit, gemm_seconds
from simsparse.devices.roofline import DATA_ONLY, dominant, require_supported

READ: Action = ("hbm", "read_byte")
WRITE: Action = ("hbm", "write_byte")
VECTOR: Action = ("vector", "flop")
GEMM_KINDS = (OpKind.LINEAR, OpKind.CONV2D, OpKind.MATMUL, OpKind.MOE_FFN)
UNITS = {
    DType.BF16: GemmUnit.HALF, DType.FP16: GemmUnit.HALF, DType.FP8: GemmUnit.BYTE, DType.INT8: GemmUnit.BYTE,
    DType.FP32: GemmUnit.FP32,
}  # fmt: skip


def conforms_24(sparsity: Sparsity) -> bool:
    """Whether a weight pattern fits the 2:4 format: at most two kept of every aligned four."""
    return sparsity.kind is SparsityKind.NM and sparsity.n <= 2 and sparsity.m % 4 == 0


@DEVICES.register("gpu")
class Gpu(Device):
    """One GPU; ops run one after the other."""

    kind: ClassVar[str] = "gpu"
    lanes: ClassVar[tuple[str, ...]] = ("compute", "h2d", "d2h")
    part: GpuPart

    def supports(self, op: Op) -> str | None:
        if op.kind in (OpKind.TRANSFER, OpKind.COLLECTIVE):
            return f"a {op.kind} runs on links, not on a GPU"
        if op.kind in DATA_ONLY:
            return None
        if op.w_dtype is not op.dtype:
            return f"{op.w_dtype} weights with {op.dtype} inputs; expected one dtype"
        if op.dtype not in UNITS:
            return f"no {op.kind} kernel for {op.dtype}; expected {', '.join(UNITS)}"
        if op.dtype is not DType.FP32 and str(op.dtype) not in self.part.compute.tensor:
            return f"{self.part.name} has no {op.dtype} tensor rate; it has {', '.join(self.part.compute.tensor)}"
        return None

    def cost_arrays(self, ops: Sequence[Op], level: int = 0) -> CostArrays:
        require_supported(self, ops)
        sums = _Sums(len(ops))
        self._add_gemms(ops, sums)
        self._add_streams(ops, sums)
        return sums.cost_arrays(level)

    def _add_gemms(self, ops: Sequence[Op], sums: _Sums) -> None:
        rows = [
            (i, count, m, n, k, UNITS[op.dtype], op.dtype.bits / 8, self._runs_24(op))
            for i, op in enumerate(ops) if op.kind in GEMM_KINDS
            for count, m, n, k in op.gemms
        ]  # fmt: skip
        if not rows:
            return
        owner, count, m, n, k, unit, value_bytes, sparse = (np.array(column) for column in zip(*rows, strict=True))
        shapes = GemmShapes(m, n, k, unit, value_bytes.astype(np.float64), sparse, np.zeros(len(m), np.bool_))
        times = gemm_seconds(shapes, self._machine)
        sums.add_time(owner, count, times.latency_s, times.launch_s, times.compute_s, times.memory_s)
        weight = np.where(sparse, 0.5625, 1.0) * n * k * value_bytes
        sums.count(READ, owner, count * (weight + m * k * value_bytes))
        sums.count(WRITE, owner, count * m * n * np.maximum(value_bytes, 2))
        for dtype in {op.dtype for op in ops if op.kind in GEMM_KINDS}:
            for is_sparse, component in ((False, "tensor"), (True, "tensor24")):
                own = np.array([ops[i].dtype is dtype for i in owner]) & (sparse == is_sparse)
                macs = np.where(own, count * m * n * (k // 2 if is_sparse else k), 0)
                if dtype is DType.FP32:
                    sums.count(VECTOR, owner, 2 * macs)
                elif macs.any():
                    sums.count((component, f"mac_{dtype}"), owner, macs)

    def _add_streams(self, ops: Sequence[Op], sums: _Sums) -> None:
        owner = np.array([i for i, op in enumerate(ops) if op.kind not in GEMM_KINDS], np.int64)
        if not owner.size:
            return
        own = [ops[i] for i in owner]
        read = np.array([op.input_bytes for op in own], np.float64)
        write = np.array([op.output_bytes for op in own], np.float64)
        flops = np.array([op.flops for op in own], np.float64)
        launch = np.full(len(own), self.part.launch.graph.si)
        memory = (read + write) / (self.part.memory.bandwidth.si * self.part.memory.efficiency.si)
        compute = flops / self.part.compute.vector["fp32"].si
        ones = np.ones(len(own))
        sums.add_time(owner, ones, launch + np.maximum(compute, memory), launch, compute, memory)
        sums.count(READ, owner, read)
        sums.count(WRITE, owner, write)
        sums.count(VECTOR, owner, flops)

    def _runs_24(self, op: Op) -> bool:
        return (
            self.part.compute.sparse24 is not None
            and op.dtype in (DType.BF16, DType.FP16)
            and conforms_24(op.weight_sparsity)
        )

    @property
    def _machine(self) -> GemmMachine:
        part = self.part
        tensor = {name: rate.si for name, rate in part.compute.tensor.items()}
        return GemmMachine(
            part.compute.sms.whole, part.compute.clock.si,
            (tensor["fp16"], tensor.get("int8", 0.0), part.compute.vector["fp32"].si),
            part.memory.bandwidth.si, part.l2.capacity.si, GemmParameters.of(part.gemm),
        )  # fmt: skip

    @property
    def prices(self) -> Mapping[Action, float]:
        energy = self.part.energy
        prices: dict[Action, float] = {
            READ: energy.hbm_read_byte.si, WRITE: energy.hbm_write_byte.si, VECTOR: energy.vector_flop.si,
        }  # fmt: skip
        for component, by_dtype in (("tensor", energy.tensor_mac), ("tensor24", energy.tensor24_mac or {})):
            prices.update({(component, f"mac_{dtype}"): price.si for dtype, price in by_dtype.items()})
        return prices

    @property
    def static_watts(self) -> float:
        return self.part.power.idle.si

    @property
    def memory_bytes(self) -> int | None:
        return round(self.part.memory.capacity.si)


class _Sums:
    """Times and counts of ops, added up kernel by kernel."""

    def __init__(self, ops: int) -> None:
        self._ops = ops
        self._latency = np.zeros(ops)
        self._parts = {name: np.zeros(ops) for name in ("launch", "compute", "memory")}
        self._counts: dict[Action, Floats] = {}

    def add_time(
        self, owner: NDArray[np.int64], times: Floats, latency: Floats, launch: Floats, compute: Floats, memory: Floats
    ) -> None:
        """Add kernels: element i runs ``times[i]`` times in op ``owner[i]``."""
        np.add.at(self._latency, owner, times * latency)
        for name, seconds in (("launch", launch), ("compute", compute), ("memory", memory)):
            np.add.at(self._parts[name], owner, times * seconds)

    def count(self, action: Action, owner: NDArray[np.int64], amount: Floats) -> None:
        """Add to the count of ``action`` of the ops ``owner``."""
        np.add.at(self._counts.setdefault(action, np.zeros(self._ops)), owner, amount)

    def cost_arrays(self, level: int) -> CostArrays:
        counts = {action: np.rint(values).astype(np.int64) for action, values in self._counts.items()}
        return CostArrays(self._latency, self._parts, dominant(self._parts), counts, [""] * self._ops, level)
