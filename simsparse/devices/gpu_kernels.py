# SPDX-License-Identifier: Apache-2.0
"""The kernels that operators run on a GPU: what they do, once for a list of operators, and their seconds on a card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simsparse.config.parts.gpu import GpuCompute, GpuPart
from simsparse.config.parts.gpu_gemm import GpuGemm
from simsparse.core import Action, DType, Op, OpKind, Sparsity
from simsparse.core.kinds.block_sparse_attention import BLOCK_SPARSE_ATTENTION
from simsparse.core.memo import by_identity
from simsparse.devices.base import DENSE_FORMAT, Floats
from simsparse.devices.gpu_attention import AttentionShapes, decode_seconds, prefill_seconds
from simsparse.devices.gpu_attention_paged import paged_seconds
from simsparse.devices.gpu_card import Card, KernelTimes
from simsparse.devices.gpu_conv import ConvKernels, conv_kernels, conv_times
from simsparse.devices.gpu_experts import GROUPED, experts_seconds, grouped_shapes, runs_grouped
from simsparse.devices.gpu_gemm import GemmMachine, GemmParameters, GemmShapes, GemmTimes, GemmUnit, gemm_seconds
from simsparse.devices.gpu_gemm_narrow import with_narrow
from simsparse.devices.gpu_grouped import GroupedShapes
from simsparse.devices.gpu_launched import Launched, LaunchedKernel, Stream
from simsparse.devices.gpu_op_kernels import OP_KERNELS
from simsparse.devices.gpu_stream import Function
from simsparse.errors import MappingError
from simsparse.sparsity import USUAL
from simsparse.sparsity.patterns.nm import NM

Indexes = NDArray[np.int64]

READ: Action = ("hbm", "read_byte")
WRITE: Action = ("hbm", "write_byte")
VECTOR: Action = ("vector", "flop")
GEMM_KINDS = (OpKind.LINEAR, OpKind.MATMUL, OpKind.MOE_FFN)
ATTENTION_KINDS = (OpKind.ATTENTION, BLOCK_SPARSE_ATTENTION.name)
UNITS = {
    DType.BF16: GemmUnit.HALF, DType.FP16: GemmUnit.HALF, DType.FP8: GemmUnit.BYTE, DType.INT8: GemmUnit.INT8,
    DType.FP32: GemmUnit.FP32,
}  # fmt: skip
STORED_24 = 0.5625
"""Bytes of a 16-bit 2:4 weight against the dense one: half the values, two bits of index each."""
COUNT_LIMIT = float(2**63)


@dataclass(frozen=True)
class Attention:
    """Attention kernels of one ``dtype``, ``decode`` with one query token per sequence."""

    decode: bool
    dtype: DType
    shapes: AttentionShapes


@dataclass(frozen=True)
class Kernels:
    """What a list of operators runs on a GPU, whatever its rates.

    Kernel i runs ``times[i]`` times in op ``owner[i]``: first the GEMMs, then the convolutions of ``conv_dtypes``,
    activations and data movement, boundaries of CUDA graphs, grouped products, attention. ``counts``: how often each
    action happens, by op.
    """

    ops: int
    owner: Indexes
    times: Floats
    gemms: GemmShapes
    convs: ConvKernels
    conv_dtypes: tuple[DType, ...]
    launched: Launched
    replays: int
    grouped: GroupedShapes
    attention: tuple[Attention, ...]
    counts: Mapping[Action, NDArray[np.int64]]

    @classmethod
    def of(cls, ops: Sequence[Op], sparse24: bool, grouped: bool = False) -> Kernels:
        """The kernels of ``ops`` on a card that has 2:4 units or not, whose library has a grouped product or not.

        Raises MappingError on counts over 2**63.
        """
        counts = _Counts(len(ops))
        gemm_owner, gemm_times, gemms = _gemms(ops, sparse24, grouped, counts)
        convs = [i for i, op in enumerate(ops) if op.kind == OpKind.CONV2D]
        launched_owner, launched_times, launched = _launched(ops, counts)
        routed = [i for i, op in enumerate(ops) if _activated(op)]
        experts = [i for i, op in enumerate(ops) if _grouped(op, sparse24, grouped)]
        attention = _attention(ops, counts)
        owners = [
            gemm_owner, np.array(convs, np.int64), launched_owner, np.array(routed, np.int64),
            np.repeat(np.array(experts, np.int64), 2),
            *(owner for owner, _ in attention),
        ]  # fmt: skip
        times = [
            gemm_times, np.ones(len(convs)), launched_times, np.full(len(routed), 2.0),
            np.ones(2 * len(experts)),
            *(np.ones(len(owner)) for owner, _ in attention),
        ]  # fmt: skip
        owner = np.concatenate(owners)
        _check_owners(ops, owner)
        return cls(
            len(ops), owner, np.concatenate(times), gemms, _convs(ops, convs, counts),
            tuple(ops[i].dtype for i in convs), launched, len(routed),
            grouped_shapes([ops[i] for i in experts]), tuple(kernels for _, kernels in attention), counts.whole(),
        )  # fmt: skip

    def per_op(self, seconds: Floats) -> Floats:
        """Seconds of each kernel added up by op."""
        return _added(self.owner, self.times * seconds, self.ops)

    def products_per_op(self, gemms: Floats, convs: Floats) -> Floats:
        """Seconds of each GEMM and each convolution added up by op."""
        seconds = np.concatenate([gemms, convs])
        return _added(self.owner[: len(seconds)], self.times[: len(seconds)] * seconds, self.ops)


def _check_owners(ops: Sequence[Op], owner: Indexes) -> None:
    """Raises MappingError for an op without a kernel: it would cost nothing."""
    kernels = np.bincount(owner, minlength=len(ops))
    if len(ops) and not kernels.min():
        op = ops[int(kernels.argmin())]
        raise MappingError(f"no model of a kernel for a {op.kind} on a GPU", key=op.name)


def _added(owner: Indexes, seconds: Floats, ops: int) -> Floats:
    return np.asarray(np.bincount(owner, seconds, ops), np.float64)


def kernels_of(ops: Sequence[Op], part: GpuPart) -> Kernels:
    """The kernels of ``ops`` on ``part``; the last of tuples of ops are kept, for the next machine."""
    sparse24, grouped = part.compute.sparse24 is not None, part.kernels.moe.grouped is not None
    return _kernels_of(ops, sparse24, grouped) if isinstance(ops, tuple) else Kernels.of(ops, sparse24, grouped)


@by_identity(maxsize=64)
def _kernels_of(ops: tuple[Op, ...], sparse24: bool, grouped: bool) -> Kernels:
    return Kernels.of(ops, sparse24, grouped)


def kernel_seconds(part: GpuPart, kernels: Kernels) -> GemmTimes:
    """Seconds of each kernel."""
    card = Card.of(part)
    parts: list[GemmTimes | KernelTimes] = [
        steady_times(part, kernels.gemms), conv_seconds(part, kernels),
        kernels.launched.times(card, part.kernels), _replay_seconds(part, kernels.replays),
        experts_seconds(kernels.grouped, part.kernels.moe.grouped, card, _peaks(part.compute)[0]),
        *(_attention_seconds(part, found) for found in kernels.attention),
    ]  # fmt: skip
    columns = zip(*((times.latency_s, times.compute_s, times.memory_s, times.launch_s) for times in parts), strict=True)
    return GemmTimes(*map(np.concatenate, columns))


def conv_seconds(part: GpuPart, kernels: Kernels, speed: float = 1.0) -> KernelTimes:
    """Seconds of each convolution; ``speed`` as of ``gemm_machine``."""
    flops = np.array([_peak(part, dtype) for dtype in kernels.conv_dtypes])
    return conv_times(Card.of(part), part.kernels.conv, kernels.convs, flops, speed)


class _Counts:
    """Counts of a list of operators, added up kernel by kernel."""

    def __init__(self, ops: int) -> None:
        self._ops = ops
        self._counts: dict[Action, Floats] = {}

    def add(self, action: Action, owner: Indexes, amount: Floats) -> None:
        """Add to the count of ``action`` of the ops ``owner``."""
        np.add.at(self._counts.setdefault(action, np.zeros(self._ops)), owner, amount)

    def whole(self) -> dict[Action, NDArray[np.int64]]:
        """Whole counts by action. Raises MappingError when one is too large for 64 bits."""
        for (component, action), amount in self._counts.items():
            if amount.max(initial=0.0) >= COUNT_LIMIT:
                raise MappingError(f"{amount.max():.3g} times {component}.{action}: more than 2**63")
        return {action: np.rint(amount).astype(np.int64) for action, amount in self._counts.items()}


def conforms_24(sparsity: Sparsity) -> bool:
    """Whether weights of this pattern fit the 2:4 format: at most two kept of every aligned four."""
    return isinstance(sparsity, NM) and sparsity.n <= 2 and sparsity.m % 4 == 0


def runs_24(op: Op, sparse24: bool) -> bool:
    """Whether the op's GEMMs take the 2:4 path: 16-bit, conforming weights, a card that has it; no convolution does."""
    suited = sparse24 and op.kind != OpKind.CONV2D and op.dtype.bits == 16
    return suited and conforms_24(op.weight_sparsity) and _stored_24(op)


def _stored_24(op: Op) -> bool:
    """Whether the weights of ``op`` are as the 2:4 path reads them, two values and their indexes of every four."""
    named = op.weight_format
    return named in (USUAL, "sparse24_cutlass", "nm_index:2:4") or (
        named == "nm_index" and op.weight_sparsity.groups == (2, 4)
    )


def _weight_share(op: Op, rows: int, cols: int, sparse24: bool) -> float:
    """Bytes of a weight in memory over those of a dense one, where it is decoded on its way to the multipliers."""
    if not op.definition.prunable or op.weight_format in (USUAL, DENSE_FORMAT) or runs_24(op, sparse24):
        return 1.0
    bits = op.w_dtype.bits
    return op.weight_sparsity.stored_bits(rows, cols, bits, op.weight_format) / (rows * cols * bits)


def _activated(op: Op) -> bool:
    """Whether the op's experts run one after the other with their activations, as a graph of their own."""
    return op.kind == OpKind.MOE_FFN and op.label != GROUPED


def _grouped(op: Op, sparse24: bool, grouped: bool) -> bool:
    return runs_grouped(op, grouped) and not runs_24(op, sparse24)


def _gemms(ops: Sequence[Op], sparse24: bool, grouped: bool, counts: _Counts) -> tuple[Indexes, Floats, GemmShapes]:
    """Each op's GEMMs, one kernel after another; of a MOE_FFN those of the experts that are hit.

    The products of a MATMUL are one kernel, a batch; so are the groups of a LINEAR.
    Those of grouped kernels are counted, and no kernels here.
    """
    kernels = [(i, op, gemm) for i, op in enumerate(ops) if op.kind in GEMM_KINDS for gemm in op.gemms]
    rows = [(i, *gemm, UNITS[op.dtype], op.dtype.bits // 8, runs_24(op, sparse24)) for i, op, gemm in kernels]
    share = np.array([_weight_share(op, gemm[2], gemm[3], sparse24) for _, op, gemm in kernels], np.float64)
    owner, count, m, n, k, unit, value_bytes, sparse = np.array(rows, np.int64).reshape(-1, 8).T
    in_l2 = np.zeros(len(rows), np.bool_)
    batched = np.array([op.kind != OpKind.MOE_FFN for _, op, _ in kernels], np.bool_)
    batch, launches = np.where(batched, count, 1), np.where(batched, 1, count)
    shapes = GemmShapes(
        m, n, k, unit, value_bytes.astype(np.float64), sparse.astype(np.bool_), in_l2, batch,
        share if (share != 1.0).any() else None,
    )  # fmt: skip
    times, tokens, outputs, inputs, size = (column.astype(np.float64) for column in (count, m, n, k, value_bytes))
    if rows:
        stored = np.where(sparse, STORED_24, share) * outputs * inputs
        counts.add(READ, owner, times * size * (stored + tokens * inputs))
        counts.add(WRITE, owner, times * tokens * outputs * np.maximum(size, 2))
        macs = times * tokens * outputs * np.where(sparse, inputs / 2, inputs)
        _count_macs([(i, op) for i, op, _ in kernels], sparse24, macs, counts)
    alone = np.array([not _grouped(op, sparse24, grouped) for _, op, _ in kernels], np.bool_)
    return (
        owner[alone],
        launches[alone].astype(np.float64),
        shapes if alone.all() else shapes.take(np.flatnonzero(alone)),
    )


def _component(op: Op, sparse24: bool) -> Action:
    if op.dtype is DType.FP32:
        return VECTOR
    return ("tensor24" if runs_24(op, sparse24) else "tensor", f"mac_{op.dtype}")


def _count_macs(members: Sequence[tuple[int, Op]], sparse24: bool, macs: Floats, counts: _Counts) -> None:
    """Count each member's products on its unit; the CUDA cores count two flops each."""
    actions = [_component(op, sparse24) for _, op in members]
    owner = np.array([i for i, _ in members], np.int64)
    for action in dict.fromkeys(actions):
        own = np.array([name == action for name in actions])
        counts.add(action, owner[own], macs[own] * (2 if action == VECTOR else 1))


@by_identity(maxsize=16)
def steady_times(part: GpuPart, gemms: GemmShapes) -> GemmTimes:
    """Seconds of each GEMM at the rate that the power limit lets the card hold."""
    return gemm_times(part, gemms)


def gemm_times(part: GpuPart, gemms: GemmShapes, speed: float = 1.0) -> GemmTimes:
    """Seconds of each GEMM; ``speed`` as of ``gemm_machine``."""
    machine = gemm_machine(part, speed)
    return with_narrow(gemm_seconds(gemms, machine), gemms, machine, part.narrow)


def gemm_machine(part: GpuPart, speed: float = 1.0) -> GemmMachine:
    """What the GEMM model needs to know of the part; ``speed`` is its arithmetic rate over the one that its power
    limit lets it hold."""
    compute = part.compute
    return GemmMachine(
        compute.sms.whole, compute.clock.si, _peaks(compute), part.memory.bandwidth.si, part.l2.capacity.si,
        _parameters(part.gemm), speed, part.kernels.gemm,
    )  # fmt: skip


@by_identity(maxsize=64)
def _peaks(compute: GpuCompute) -> tuple[float, float, float, float, float]:
    """Dense peak of each GemmUnit, flop/s."""
    half = max(rate.si for dtype, rate in compute.tensor.items() if DType.parse(dtype).bits == 16)
    byte = max((rate.si for dtype, rate in compute.tensor.items() if DType.parse(dtype).bits == 8), default=half)
    return half, byte, compute.vector.si, byte, byte


@by_identity(maxsize=64)
def _parameters(gemm: GpuGemm) -> GemmParameters:
    return GemmParameters.of(gemm)


def _convs(ops: Sequence[Op], convs: Sequence[int], counts: _Counts) -> ConvKernels:
    """The convolutions at the places ``convs``, one kernel each."""
    own = [ops[i] for i in convs]
    owner, kernels = np.array(convs, np.int64), conv_kernels(own)
    shares = [_weight_share(op, n, k, False) for op in own for _, _, n, k in op.gemms]
    if any(share != 1.0 for share in shares):
        weights = kernels.weights * shares
        kernels = replace(kernels, weights=weights, touched=kernels.touched - kernels.weights + weights)
    if own:
        counts.add(READ, owner, kernels.read + kernels.weights)
        counts.add(WRITE, owner, kernels.write)
        _count_macs([(i, ops[i]) for i in convs], False, np.array([op.dense_macs for op in own], np.float64), counts)
    return kernels


def _launched(ops: Sequence[Op], counts: _Counts) -> tuple[Indexes, Floats, Launched]:
    """Activation kernels of each expert (one of a plain FFN, SiLU and product of a gated one), and data movement."""
    rows: list[tuple[int, int, LaunchedKernel]] = []
    moved: list[tuple[float, float, float]] = []
    for i, op in enumerate(ops):
        if op.kind == OpKind.MOE_FFN:
            if not _activated(op):
                continue
            for tokens, experts in _experts_by_tokens(op).items():
                streams = _activation(tokens * op.dims["d_ff"], op.dtype.bits / 8, op.dims["gated"] > 0)
                rows += [(i, experts, stream) for stream in streams]
                moved += [(experts * stream.read, experts * stream.write, 0.0) for stream in streams]
        elif op.kind in OP_KERNELS:
            rows.append((i, 1, OP_KERNELS.get(op.kind)(op)))
            moved.append((op.weight_bytes + op.input_bytes, op.output_bytes, op.flops))
    owner, times = (np.array([row[column] for row in rows], np.int64) for column in (0, 1))
    for action, amount in zip((READ, WRITE, VECTOR), np.array(moved, np.float64).reshape(-1, 3).T, strict=True):
        if rows:
            counts.add(action, owner, amount)
    return owner, times.astype(np.float64), Launched.of([kernel for _, _, kernel in rows])


def _activation(elements: float, size: float, gated: bool) -> list[Stream]:
    moved = elements * size
    if not gated:
        return [Stream(elements, moved, moved)]
    return [Stream(elements, moved, moved, function=Function.SILU), Stream(elements, 2 * moved, moved, fresh=moved)]


def _experts_by_tokens(op: Op) -> dict[int, int]:
    counts = op.expert_counts
    return {tokens: counts.count(tokens) for tokens in set(counts)}


def _replay_seconds(part: GpuPart, replays: int) -> GemmTimes:
    """Boundaries of CUDA graphs, two around each op whose kernels depend on the routing.

    Which experts run is not known when a step is captured, so that they are a graph of their own.
    """
    gap, none = np.full(replays, part.launch.replay.si), np.zeros(replays)
    return GemmTimes(gap, none, none, gap)


def _attention(ops: Sequence[Op], counts: _Counts) -> list[tuple[Indexes, Attention]]:
    """Attention kernels by dtype: decode with one query token per sequence, prefill with more."""
    kinds: dict[tuple[bool, DType], list[int]] = {}
    for i, op in enumerate(ops):
        if op.kind in ATTENTION_KINDS:
            kinds.setdefault((op.dims["q_len"] == 1, op.dtype), []).append(i)
    found = []
    for (decode, dtype), places in kinds.items():
        own, owner = [ops[i] for i in places], np.array(places, np.int64)
        shapes = _attention_shapes(own)
        cached = shapes.kv_heads * shapes.kv_len * shapes.kv_row
        elements = shapes.heads * shapes.q_len * shapes.head_dim + cached
        counts.add(READ, owner, shapes.batch * shapes.value_bytes * elements)
        counts.add(WRITE, owner, shapes.batch * shapes.value_bytes * shapes.heads * shapes.q_len * shapes.v_head_dim)
        macs = np.array([op.dense_macs for op in own], np.float64)
        _count_macs(list(zip(places, own, strict=True)), False, macs, counts)
        found.append((owner, Attention(decode, dtype, shapes)))
    return found


def _attention_shapes(ops: Sequence[Op]) -> AttentionShapes:
    names = ("batch", "heads", "kv_heads", "head_dim", "v_head_dim", "q_len", "kv_len", "causal")
    full = [op.dims if op.kind == OpKind.ATTENTION else _without_blocks(op) for op in ops]
    dims = {name: np.array([each[name] for each in full], np.float64) for name in names}
    size, none = np.array([op.dtype.bits / 8 for op in ops]), np.zeros(len(ops))
    cached = np.array([op.kv_bytes for op in ops], np.float64)
    row = cached / (dims["batch"] * dims["kv_heads"] * dims["kv_len"] * size)
    return AttentionShapes(**dims, value_bytes=size, cache_bytes=size, kv_row=row, window=none, warm=none)


def _without_blocks(op: Op) -> dict[str, int]:
    """Dims of the attention, without a mask, in which each query sees as many keys as in a block-sparse one."""
    keys = -(-BLOCK_SPARSE_ATTENTION.pairs(op) // (op.dims["batch"] * op.dims["q_len"]))
    return {**op.dims, "kv_len": keys, "causal": 0}


def _attention_seconds(part: GpuPart, attention: Attention) -> KernelTimes:
    card, kernels = Card.of(part), part.kernels
    if kernels.paged is not None and attention.dtype is not DType.FP32:
        return paged_seconds(attention.shapes, kernels.paged, card)
    if attention.decode:
        return decode_seconds(attention.shapes, kernels.sdpa.decode, card)
    peak = np.full(len(attention.shapes.batch), _peak(part, attention.dtype))
    return prefill_seconds(attention.shapes, kernels.sdpa.prefill, card, peak)


def _peak(part: GpuPart, dtype: DType) -> float:
    return part.compute.vector.si if dtype is DType.FP32 else part.compute.tensor[dtype].si
