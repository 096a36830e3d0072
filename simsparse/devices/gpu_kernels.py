"""The kernels that an operator runs on a GPU: their seconds and what they do, added up by operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from simsparse.config.parts.gpu import GpuPart
from simsparse.core import Action, DType, Op, OpKind, Sparsity, SparsityKind
from simsparse.devices.base import Floats
from simsparse.devices.gpu_attention import AttentionShapes, AttentionTimes, decode_seconds, prefill_seconds
from simsparse.devices.gpu_gemm import GemmMachine, GemmParameters, GemmShapes, GemmTimes, GemmUnit, gemm_seconds
from simsparse.devices.gpu_gemm_narrow import with_narrow
from simsparse.errors import MappingError

Indexes = NDArray[np.int64]
Members = Sequence[tuple[int, Op]]

READ: Action = ("hbm", "read_byte")
WRITE: Action = ("hbm", "write_byte")
VECTOR: Action = ("vector", "flop")
GEMM_KINDS = (OpKind.LINEAR, OpKind.CONV2D, OpKind.MATMUL, OpKind.MOE_FFN)
ACTIVATED = (OpKind.MOE_FFN,)
UNITS = {
    DType.BF16: GemmUnit.HALF, DType.FP16: GemmUnit.HALF, DType.FP8: GemmUnit.BYTE, DType.INT8: GemmUnit.INT8,
    DType.FP32: GemmUnit.FP32,
}  # fmt: skip
STORED_24 = 0.5625
"""Bytes of a 16-bit 2:4 weight against the dense one: half the values, two bits of index each."""
TILE_ROWS = 64
"""Rows of the smallest tensor-core tile; fewer tokens are padded to it. Source: PTX ISA, wgmma (m64)."""

COUNT_LIMIT = float(2**63)


class KernelSums:
    """Seconds and counts of a list of operators, added up kernel by kernel."""

    def __init__(self, ops: int) -> None:
        self.latency: Floats = np.zeros(ops)
        self.contributors: dict[str, Floats] = {name: np.zeros(ops) for name in ("launch", "compute", "memory")}
        self._counts: dict[Action, Floats] = {}

    def add(self, owner: Indexes, times: Floats, kernel: GemmTimes | AttentionTimes) -> None:
        """Add kernels: element i runs ``times[i]`` times in op ``owner[i]``."""
        np.add.at(self.latency, owner, times * kernel.latency_s)
        parts = {"launch": kernel.launch_s, "compute": kernel.compute_s, "memory": kernel.memory_s}
        for name, seconds in parts.items():
            np.add.at(self.contributors[name], owner, times * seconds)

    def count(self, action: Action, owner: Indexes, amount: Floats) -> None:
        """Add to the count of ``action`` of the ops ``owner``."""
        np.add.at(self._counts.setdefault(action, np.zeros(len(self.latency))), owner, amount)

    def counts(self) -> dict[Action, NDArray[np.int64]]:
        """Whole counts by action. Raises MappingError when one is too large for 64 bits."""
        for (component, action), amount in self._counts.items():
            if amount.max(initial=0.0) >= COUNT_LIMIT:
                raise MappingError(f"{amount.max():.3g} times {component}.{action}: more than 2**63")
        return {action: np.rint(amount).astype(np.int64) for action, amount in self._counts.items()}


def conforms_24(sparsity: Sparsity) -> bool:
    """Whether weights of this pattern fit the 2:4 format: at most two kept of every aligned four."""
    return sparsity.kind is SparsityKind.NM and sparsity.n <= 2 and sparsity.m % 4 == 0


def runs_24(part: GpuPart, op: Op) -> bool:
    """Whether the op's GEMMs take the 2:4 path: 16-bit, conforming weights, a card that has it."""
    return part.compute.sparse24 is not None and op.dtype.bits == 16 and conforms_24(op.weight_sparsity)


def add_gemms(part: GpuPart, members: Members, sums: KernelSums, speed: float = 1.0) -> None:
    """Add each op's GEMMs, one kernel after another; of a MOE_FFN those of the experts that are hit.

    ``speed`` is the arithmetic rate of the card over the one that its power limit lets it hold.
    """
    kernels = [(i, op, gemm) for i, op in members for gemm in op.gemms]
    if not kernels:
        return
    rows = [(i, *gemm, UNITS[op.dtype], op.dtype.bits // 8, runs_24(part, op)) for i, op, gemm in kernels]
    owner, count, m, n, k, unit, value_bytes, sparse = np.array(rows, np.int64).T
    in_l2 = np.zeros(len(rows), np.bool_)
    shapes = GemmShapes(m, n, k, unit, value_bytes.astype(np.float64), sparse.astype(np.bool_), in_l2)
    machine = gemm_machine(part, speed)
    seconds = with_narrow(gemm_seconds(shapes, machine), shapes, machine, part.narrow)
    sums.add(owner, count.astype(np.float64), seconds)
    times, tokens, outputs, inputs, size = (column.astype(np.float64) for column in (count, m, n, k, value_bytes))
    stored = np.where(sparse, STORED_24, 1.0) * outputs * inputs
    sums.count(READ, owner, times * size * (stored + tokens * inputs))
    sums.count(WRITE, owner, times * tokens * outputs * np.maximum(size, 2))
    rows_done = np.where(unit == GemmUnit.FP32, tokens, np.ceil(tokens / TILE_ROWS) * TILE_ROWS)
    macs = times * rows_done * outputs * np.where(sparse, inputs / 2, inputs)
    _count_macs(part, [(i, op) for i, op, _ in kernels], macs, sums)


def _component(part: GpuPart, op: Op) -> Action:
    if op.dtype is DType.FP32:
        return VECTOR
    return ("tensor24" if runs_24(part, op) else "tensor", f"mac_{op.dtype}")


def gemm_machine(part: GpuPart, speed: float = 1.0) -> GemmMachine:
    """What the GEMM model needs to know of the part; rates under the power limit times ``speed``."""
    compute = part.compute
    half = max(rate.si for dtype, rate in compute.tensor.items() if DType.parse(dtype).bits == 16)
    byte = max((rate.si for dtype, rate in compute.tensor.items() if DType.parse(dtype).bits == 8), default=half)
    return GemmMachine(
        compute.sms.whole, compute.clock.si, (half, byte, compute.vector.si, byte), part.memory.bandwidth.si,
        part.l2.capacity.si, _sped_up(GemmParameters.of(part.gemm), speed),
    )  # fmt: skip


def _sped_up(gemm: GemmParameters, speed: float) -> GemmParameters:
    half, fp8, int8 = (replace(unit, sustained=speed * unit.sustained) for unit in (gemm.half, gemm.fp8, gemm.int8))
    sparse24 = gemm.sparse24 and replace(gemm.sparse24, sustained=speed * gemm.sparse24.sustained)
    return replace(gemm, half=half, fp8=fp8, int8=int8, sparse24=sparse24)


def add_activations(part: GpuPart, members: Members, sums: KernelSums) -> None:
    """Add the activation kernels of each expert: one of a plain FFN, SiLU and product of a gated one."""
    rows = [
        (i, experts, tokens * op.dims["d_ff"] * op.dtype.bits / 8, kernel)
        for i, op in members
        for tokens, experts in _experts_by_tokens(op).items()
        for kernel in range(2 if op.dims["gated"] else 1)
    ]
    if rows:
        owner, experts, out, second = (np.array(column) for column in zip(*rows, strict=True))
        _add_stream_kernels(part, owner, experts.astype(np.float64), (1 + second) * out, out, np.zeros(len(rows)), sums)


def add_replays(part: GpuPart, members: Members, sums: KernelSums) -> None:
    """Add two boundaries of CUDA graphs to each op whose kernels depend on the routing.

    Which experts run is not known when a step is captured, so that they are a graph of their own.
    """
    if members:
        owner = np.array([i for i, _ in members], np.int64)
        gap, none = np.full(len(members), part.launch.replay.si), np.zeros(len(members))
        sums.add(owner, np.full(len(members), 2.0), GemmTimes(gap, none, none, gap))


def _experts_by_tokens(op: Op) -> dict[int, int]:
    counts = op.expert_counts
    return {tokens: counts.count(tokens) for tokens in set(counts)}


def add_streams(part: GpuPart, members: Members, sums: KernelSums) -> None:
    """Add kernels that only move data."""
    if members:
        owner = np.array([i for i, _ in members], np.int64)
        read, write, flops = (
            np.array([op.dims[dim] for _, op in members], np.float64) for dim in ("read_bytes", "write_bytes", "flops")
        )
        _add_stream_kernels(part, owner, np.ones(len(members)), read, write, flops, sums)


def _add_stream_kernels(
    part: GpuPart, owner: Indexes, times: Floats, read: Floats, write: Floats, flops: Floats, sums: KernelSums
) -> None:
    """One kernel an element: a fixed time, then its bytes from L2 or HBM.

    A reduction (reads at least 64 times what it writes) first runs in few thread blocks.
    """
    stream, moved, reduction = part.stream, read + write, read >= 64 * write
    cached = moved <= stream.resident.si * part.l2.capacity.si
    hbm = part.memory.bandwidth.si * np.where(reduction, part.memory.efficiency.si, stream.mixed.si)
    memory = moved / np.where(cached, part.l2.bandwidth.si, hbm)
    narrow = stream.reduction_launch.si + np.minimum(read / stream.reduction_bandwidth.si, stream.reduction_limit.si)
    launch = np.where(reduction, narrow, stream.launch.si) + np.where(cached, 0.0, stream.latency.si)
    compute = flops / part.compute.vector.si
    sums.add(owner, times, GemmTimes(launch + np.maximum(compute, memory), compute, memory, launch))
    sums.count(READ, owner, times * read)
    sums.count(WRITE, owner, times * write)
    sums.count(VECTOR, owner, times * flops)


def add_attention(part: GpuPart, members: Members, sums: KernelSums) -> None:
    """Add attention kernels: decode with one query token a sequence, prefill with more."""
    for decode in (True, False):
        own = [(i, op) for i, op in members if (op.dims["q_len"] == 1) is decode]
        if not own:
            continue
        owner = np.array([i for i, _ in own], np.int64)
        shapes = _attention_shapes([op for _, op in own])
        peaks = np.array([_peak(part, op) for _, op in own])
        hbm, sms = part.memory.bandwidth.si, part.compute.sms.whole
        times = (
            decode_seconds(shapes, part.attention.decode, sms, hbm) if decode
            else prefill_seconds(shapes, part.attention.prefill, sms, peaks, hbm)
        )  # fmt: skip
        sums.add(owner, np.ones(len(own)), times)
        cached = shapes.kv_heads * shapes.kv_len * shapes.kv_row
        elements = shapes.heads * shapes.q_len * shapes.head_dim + cached
        sums.count(READ, owner, shapes.batch * shapes.value_bytes * elements)
        sums.count(WRITE, owner, shapes.batch * shapes.value_bytes * shapes.heads * shapes.q_len * shapes.v_head_dim)
        _count_macs(part, own, np.array([op.dense_macs for _, op in own], np.float64), sums)


def _count_macs(part: GpuPart, members: Members, macs: Floats, sums: KernelSums) -> None:
    """Count each member's products on its unit; the CUDA cores count two flops each."""
    actions = [_component(part, op) for _, op in members]
    owner = np.array([i for i, _ in members], np.int64)
    for action in set(actions):
        own = np.array([name == action for name in actions])
        sums.count(action, owner[own], macs[own] * (2 if action == VECTOR else 1))


def _attention_shapes(ops: Sequence[Op]) -> AttentionShapes:
    names = ("batch", "heads", "kv_heads", "head_dim", "v_head_dim", "q_len", "kv_len", "causal")
    dims = {name: np.array([op.dims[name] for op in ops], np.float64) for name in names}
    row = dims["head_dim"] + dims["v_head_dim"] * [not op.latent_kv for op in ops]
    return AttentionShapes(**dims, value_bytes=np.array([op.dtype.bits / 8 for op in ops]), kv_row=row)


def _peak(part: GpuPart, op: Op) -> float:
    return part.compute.vector.si if op.dtype is DType.FP32 else part.compute.tensor[op.dtype].si
