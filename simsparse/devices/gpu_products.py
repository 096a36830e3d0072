# SPDX-License-Identifier: Apache-2.0
"""GEMMs and convolutions that operators run on a GPU: their shapes, and what they read, multiply and write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from simsparse.core import DType, Op, OpKind
from simsparse.devices.base import DENSE_FORMAT, Floats
from simsparse.devices.gpu_conv import ConvKernels, conv_kernels
from simsparse.devices.gpu_counts import READ, WRITE, GpuCounts, Indexes, count_macs, mac_action
from simsparse.devices.gpu_experts import ExpertKernels
from simsparse.devices.gpu_gemm import GemmShapes, GemmUnit
from simsparse.devices.gpu_gemm_types import WEIGHT_ONLY
from simsparse.devices.gpu_sparse24 import NO_TYPES, runs_24, stored_24
from simsparse.devices.gpu_sparse_products import sparse_product
from simsparse.sparsity import USUAL

PLAIN = (USUAL, DENSE_FORMAT)
"""Formats of weights that are read as they are multiplied."""
GEMM_KINDS = (OpKind.LINEAR, OpKind.MATMUL, OpKind.MOE_FFN)
UNITS = {
    DType.BF16: GemmUnit.HALF, DType.FP16: GemmUnit.HALF, DType.FP8: GemmUnit.BYTE, DType.INT8: GemmUnit.INT8,
    DType.FP32: GemmUnit.FP32, DType.TF32: GemmUnit.TF32,
}  # fmt: skip
WIDENED = {DType.parse(name): unit for unit, name in WEIGHT_ONLY.items()}
"""Units of 16-bit linear layers by the narrower type of their weights."""
FP8_STEP = 16
"""cuBLASLt takes fp8 products whose n and k are multiples of this, and so does torch._scaled_mm. Source: cuBLAS
documentation, requirements of FP8 kernels."""


def unit_of(op: Op) -> GemmUnit:
    """The arithmetic that the products of ``op`` use."""
    return UNITS[op.dtype] if op.w_dtype is op.dtype else WIDENED[op.w_dtype]


def unaligned_fp8(op: Op) -> str | None:
    """Why no library runs an fp8 layer of these sizes; None for one that runs, and for other types and kinds."""
    if op.dtype is not DType.FP8 or op.kind != OpKind.LINEAR:
        return None
    off = next((pair for _, _, *pair in op.gemms if any(size % FP8_STEP for size in pair)), None)
    if off is None:
        return None
    return f"fp8 products take n and k that are multiples of {FP8_STEP}; got n {off[0]}, k {off[1]}: pad the weights"


def gemm_kernels(
    ops: Sequence[Op], types24: frozenset[DType], experts: ExpertKernels, counts: GpuCounts
) -> tuple[Indexes, Floats, GemmShapes]:
    """Each op's GEMMs, one kernel after another; of a MOE_FFN those of the experts that are hit.

    The products of a MATMUL are one kernel, a batch; so are the groups of a LINEAR.
    Those of grouped and fused kernels are counted, and no kernels here. Layers with weights in CSR or BSR are none.
    """
    places = [i for i, op in enumerate(ops) if op.kind in GEMM_KINDS and sparse_product(op) is None]
    own = [ops[i] for i in places]
    of_op, runs = [op.gemms for op in own], [runs_24(op, types24) for op in own]
    lengths = np.array(list(map(len, of_op)), np.int64)
    count, m, n, k = np.array(list(chain.from_iterable(of_op)), np.int64).reshape(-1, 4).T
    owner, unit, value_bytes = (np.repeat(np.array(column, np.int64), lengths) for column in (
        places, [unit_of(op).value for op in own], [op.dtype.bits // 8 for op in own]))  # fmt: skip
    mixed = [op.kind == OpKind.MOE_FFN for op in own]
    single = [not each or not _together(op, types24, experts) for op, each in zip(own, mixed, strict=True)]
    sparse, routed, alone = (np.repeat(np.array(column, np.bool_), lengths) for column in (runs, mixed, single))
    shapes = GemmShapes(
        m, n, k, unit, value_bytes.astype(np.float64), sparse, np.zeros(len(m), np.bool_),
        np.where(routed, 1, count), _shares(own, of_op, types24),
    )  # fmt: skip
    times, tokens, outputs, inputs, size = (column.astype(np.float64) for column in (count, m, n, k, value_bytes))
    if own:
        stored = np.where(sparse, np.asarray(stored_24(8.0 * size)), shapes.stored) * outputs * inputs
        counts.add(READ, owner, times * size * (stored + tokens * inputs))
        counts.add(WRITE, owner, times * tokens * outputs * np.maximum(size, 2))
        macs = times * tokens * outputs * np.where(sparse, inputs / 2, inputs)
        actions = [mac_action(op.dtype, run) for op, run in zip(own, runs, strict=True)]
        count_macs(owner, [action for action, gemms in zip(actions, of_op, strict=True) for _ in gemms], macs, counts)
    launches = np.where(routed, times, 1.0)
    if alone.all():
        return owner, launches, shapes
    return owner[alone], launches[alone], shapes.take(np.flatnonzero(alone))


def _shares(
    ops: Sequence[Op], of_op: Sequence[Sequence[tuple[int, int, int, int]]], types24: frozenset[DType]
) -> Floats | None:
    """``weight_share`` of each GEMM of ``ops``; None where all are 1."""
    if all(op.weight_format in PLAIN and op.w_dtype is op.dtype for op in ops):
        return None
    pairs = zip(ops, of_op, strict=True)
    share = np.array([weight_share(op, n, k, types24) for op, gemms in pairs for _, _, n, k in gemms], np.float64)
    return share if (share != 1.0).any() else None


def products_grouped(op: Op, types24: frozenset[DType], experts: ExpertKernels) -> bool:
    """Whether the products of experts are grouped kernels, which take dense weights only."""
    return experts.groups(op) and not runs_24(op, types24)


def experts_fused(op: Op, types24: frozenset[DType], experts: ExpertKernels) -> bool:
    """Whether experts run fused kernels, which take weights as they multiply them only."""
    return experts.fuses(op) and not runs_24(op, types24) and op.weight_format in PLAIN


def _together(op: Op, types24: frozenset[DType], experts: ExpertKernels) -> bool:
    """Whether one launch runs all experts of a mixture."""
    return products_grouped(op, types24, experts) or experts_fused(op, types24, experts)


def conv_kernels_of(ops: Sequence[Op], convs: Sequence[int], counts: GpuCounts) -> ConvKernels:
    """The convolutions at the places ``convs``, one kernel each."""
    own = [ops[i] for i in convs]
    owner, kernels = np.array(convs, np.int64), conv_kernels(own)
    shares = [weight_share(op, n, k, NO_TYPES) for op in own for _, _, n, k in op.gemms]
    if any(share != 1.0 for share in shares):
        weights = kernels.weights * shares
        kernels = replace(kernels, weights=weights, touched=kernels.touched - kernels.weights + weights)
    if own:
        counts.add(READ, owner, kernels.read + kernels.weights)
        counts.add(WRITE, owner, kernels.write)
        macs = np.array([op.dense_macs for op in own], np.float64)
        count_macs(owner, [mac_action(op.dtype) for op in own], macs, counts)
    return kernels


def weight_share(op: Op, rows: int, cols: int, types24: frozenset[DType]) -> float:
    """Bytes of a weight in memory over those of a dense one of the inputs' type; it is decoded on its way."""
    narrow = op.w_dtype.bits / op.dtype.bits
    if not op.definition.prunable or op.weight_format in PLAIN or runs_24(op, types24):
        return narrow
    bits = op.w_dtype.bits
    return narrow * op.weight_sparsity.stored_bits(rows, cols, bits, op.weight_format) / (rows * cols * bits)
