# SPDX-License-Identifier: Apache-2.0
"""The kernels that operators run on a GPU: what they do, once for a list of operators, and their seconds on a card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simsparse.config.parts.gpu import GpuPart
from simsparse.core import Action, DType, Op, OpKind
from simsparse.core.memo import by_identity
from simsparse.core.varying_arrays import array_of, filled
from simsparse.devices.base import Floats
from simsparse.devices.gpu_attention_kernels import Attention, attention_kernels, attention_seconds
from simsparse.devices.gpu_card import Card, KernelTimes
from simsparse.devices.gpu_conv import ConvKernels, conv_times
from simsparse.devices.gpu_counts import READ, VECTOR, WRITE, GpuCounts, Indexes, count_macs, mac_action
from simsparse.devices.gpu_experts import (
    GROUPED,
    ExpertKernels,
    FusedExperts,
    expert_kernels,
    experts_seconds,
    grouped_shapes,
)
from simsparse.devices.gpu_gemm import GemmShapes, GemmTimes
from simsparse.devices.gpu_grouped import GroupedShapes, missing
from simsparse.devices.gpu_key_index import KeyIndexes, key_indexes
from simsparse.devices.gpu_launched import Launched, LaunchedKernel, Stream
from simsparse.devices.gpu_op_kernels import OP_KERNELS
from simsparse.devices.gpu_products import conv_kernels_of, experts_fused, gemm_kernels, products_grouped
from simsparse.devices.gpu_rates import peak, peaks, steady_times
from simsparse.devices.gpu_sparse24 import types_24
from simsparse.devices.gpu_sparse_products import CSR, sparse_product
from simsparse.devices.gpu_stream import Function
from simsparse.errors import MappingError


@dataclass(frozen=True)
class Kernels:
    """What a list of operators runs on a GPU, whatever its rates.

    Kernel i runs ``times[i]`` times in op ``owner[i]``: first the GEMMs, then the convolutions of ``conv_dtypes``,
    activations and data movement, boundaries of CUDA graphs, grouped products, fused experts, attention, indexes of
    keys. ``passed``: bytes after which launched kernels run again. ``counts``: how often each action happens, by op.
    """

    ops: int
    owner: Indexes
    times: Floats
    gemms: GemmShapes
    convs: ConvKernels
    conv_dtypes: tuple[DType, ...]
    launched: Launched
    passed: Floats
    replays: int
    grouped: GroupedShapes
    fused: tuple[FusedExperts, ...]
    attention: tuple[Attention, ...]
    indexes: tuple[KeyIndexes, ...]
    counts: Mapping[Action, NDArray[np.int64]]

    @classmethod
    def of(cls, ops: Sequence[Op], types24: frozenset[DType], available: ExpertKernels) -> Kernels:
        """The kernels of ``ops`` on a card with 2:4 kernels of ``types24`` and what its libraries have for experts.

        Raises MappingError on counts of 2**62 or more.
        """
        counts = GpuCounts(len(ops))
        gemm_owner, gemm_times, gemms = gemm_kernels(ops, types24, available, counts)
        places = _places(ops)
        convs, mixtures = places.get(OpKind.CONV2D, []), places.get(OpKind.MOE_FFN, [])
        fused = _fused(ops, mixtures, types24, available, counts)
        together = {i for own, _ in fused for i in own.tolist()}
        routed = [i for i in mixtures if ops[i].label != GROUPED and i not in together]
        launched_owner, launched_times, launched = _launched(ops, places, routed, counts)
        experts = [i for i in mixtures if products_grouped(ops[i], types24, available)]
        attention, indexes = attention_kernels(ops, counts), key_indexes(ops, counts)
        owners = [
            gemm_owner, np.array(convs, np.int64), launched_owner, np.array(routed, np.int64),
            np.repeat(np.array(experts, np.int64), 2),
            *(owner for owner, _ in (*fused, *attention, *indexes)),
        ]  # fmt: skip
        times = [
            gemm_times, np.ones(len(convs)), launched_times, np.full(len(routed), 2.0),
            np.ones(2 * len(experts)),
            *(np.ones(len(owner)) for owner, _ in (*fused, *attention, *indexes)),
        ]  # fmt: skip
        owner = np.concatenate(owners)
        _check_owners(ops, owner)
        return cls(
            len(ops), owner, np.concatenate(times), gemms, conv_kernels_of(ops, convs, counts),
            tuple(ops[i].dtype for i in convs), launched,
            np.array([ops[i].dims.get("passed_bytes", 0) for i in launched_owner], np.float64), len(routed),
            grouped_shapes([ops[i] for i in experts]), tuple(layers for _, layers in fused),
            tuple(kernels for _, kernels in attention), tuple(own for _, own in indexes), counts.whole(),
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
    return array_of(np.bincount(owner, seconds, ops), np.float64)


def kernels_of(ops: Sequence[Op], part: GpuPart) -> Kernels:
    """The kernels of ``ops`` on ``part``; the last of tuples of ops are kept, for the next machine."""
    types24, experts = types_24(part), expert_kernels(part)
    return _kernels_of(ops, types24, experts) if isinstance(ops, tuple) else Kernels.of(ops, types24, experts)


@by_identity(maxsize=64)
def _kernels_of(ops: tuple[Op, ...], types24: frozenset[DType], experts: ExpertKernels) -> Kernels:
    return Kernels.of(ops, types24, experts)


def kernel_seconds(part: GpuPart, kernels: Kernels) -> GemmTimes:
    """Seconds of each kernel."""
    card = Card.of(part)
    parts: list[GemmTimes | KernelTimes] = [steady_times(part, kernels.gemms)]
    if kernels.conv_dtypes:
        parts.append(conv_seconds(part, kernels))
    parts.append(_launched_seconds(part, card, kernels))
    if kernels.replays:
        parts.append(_replay_seconds(part, kernels.replays))
    if len(kernels.grouped.n):
        parts.append(experts_seconds(kernels.grouped, part.kernels.moe.grouped, card, peaks(part.compute)[0]))
    parts += [layers.seconds(part) for layers in kernels.fused]
    parts += [attention_seconds(part, card, found) for found in kernels.attention]
    parts += [indexes.seconds(part) for indexes in kernels.indexes]
    columns = zip(*((times.latency_s, times.compute_s, times.memory_s, times.launch_s) for times in parts), strict=True)
    return GemmTimes(*map(np.concatenate, columns))


def _launched_seconds(part: GpuPart, card: Card, kernels: Kernels) -> KernelTimes:
    """Seconds of each launched kernel, longer where its code is no longer in the L2."""
    times = kernels.launched.times(card, part.kernels)
    cold = part.launch.cold.si * missing(kernels.passed, card.l2_bytes)
    return replace(times, latency_s=times.latency_s + cold, launch_s=times.launch_s + cold)


def conv_seconds(part: GpuPart, kernels: Kernels, speed: float = 1.0) -> KernelTimes:
    """Seconds of each convolution; ``speed`` as of ``gemm_machine``."""
    if not kernels.conv_dtypes:
        none: Floats = np.zeros(0)
        return KernelTimes(none, none, none, none)
    flops = np.array([peak(part, dtype) for dtype in kernels.conv_dtypes])
    return conv_times(Card.of(part), part.kernels.conv, kernels.convs, flops, speed)


def _places(ops: Sequence[Op]) -> dict[str, list[int]]:
    """The places of the ops of each kind, in ascending order."""
    found: dict[str, list[int]] = {}
    for i, op in enumerate(ops):
        found.setdefault(op.kind, []).append(i)
    return found


def _fused(
    ops: Sequence[Op], mixtures: Sequence[int], types24: frozenset[DType], kernels: ExpertKernels, counts: GpuCounts
) -> list[tuple[Indexes, FusedExperts]]:
    """Layers of ``mixtures`` that run fused kernels, by type; beside the products, activations and sums are counted."""
    by_type: dict[DType, list[int]] = {}
    for i in mixtures:
        if experts_fused(ops[i], types24, kernels):
            by_type.setdefault(ops[i].dtype, []).append(i)
    found = []
    for dtype, places in by_type.items():
        layers, owner = FusedExperts.of(dtype, [ops[i] for i in places]), np.array(places, np.int64)
        shapes, size = layers.shapes, 2.0
        rows = shapes.tokens * shapes.top_k
        counts.add(READ, owner, size * rows * ((1 + shapes.gated) * shapes.d_ff + shapes.d_model))
        counts.add(WRITE, owner, size * (rows * shapes.d_ff + shapes.tokens * shapes.d_model))
        found.append((owner, layers))
    return found


def _launched(
    ops: Sequence[Op], places: Mapping[str, Sequence[int]], routed: Sequence[int], counts: GpuCounts
) -> tuple[Indexes, Floats, Launched]:
    """Activation kernels of each expert (one of a plain FFN, SiLU and product of a gated one), and data movement.

    Products with weights in CSR or BSR too. ``places`` of the ops by kind; ``routed``: those of mixtures whose experts
    run one after the other.
    """
    moving = [i for kind, own in places.items() if kind != OpKind.MOE_FFN and kind in OP_KERNELS for i in own]
    sparse = {i: kernel for i in places.get(OpKind.LINEAR, []) if (kernel := sparse_product(ops[i]))}
    rows: list[tuple[int, int, LaunchedKernel]] = []
    moved: list[tuple[float, float, float]] = []
    for i in sorted((*moving, *routed, *sparse)):
        op = ops[i]
        if op.kind == OpKind.MOE_FFN:
            for tokens, experts in _experts_by_tokens(op).items():
                streams = _activation(tokens * op.dims["d_ff"], op.dtype.bits / 8, op.dims["gated"] > 0)
                rows += [(i, experts, stream) for stream in streams]
                moved += [(experts * stream.read, experts * stream.write, 0.0) for stream in streams]
        else:
            rows.append((i, 1, sparse.get(i) or OP_KERNELS.get(op.kind)(op)))
            moved.append((op.weight_bytes + op.input_bytes, op.output_bytes, 0 if i in sparse else op.flops))
    _count_sparse(ops, list(sparse), counts)
    owner, times = (np.array([row[column] for row in rows], np.int64) for column in (0, 1))
    for action, amount in zip((READ, WRITE, VECTOR), np.array(moved, np.float64).reshape(-1, 3).T, strict=True):
        if rows:
            counts.add(action, owner, amount)
    return owner, times.astype(np.float64), Launched.of([kernel for _, _, kernel in rows])


def _count_sparse(ops: Sequence[Op], places: Sequence[int], counts: GpuCounts) -> None:
    """Multiply-accumulates on kept weights: those of blocks in the tensor cores, those of CSR in the vector units."""
    blocks = [i for i in places if ops[i].weight_format != CSR]
    macs = np.array([ops[i].useful_macs for i in blocks], np.float64)
    count_macs(np.array(blocks, np.int64), [mac_action(ops[i].dtype) for i in blocks], macs, counts)
    single = [i for i in places if ops[i].weight_format == CSR]
    if single:
        flops = np.array([2 * ops[i].useful_macs for i in single], np.float64)
        counts.add(VECTOR, np.array(single, np.int64), flops)


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
    gap, none = filled(replays, part.launch.replay.si), np.zeros(replays)
    return GemmTimes(gap, none, none, gap)
