# SPDX-License-Identifier: Apache-2.0
"""GEMMs and convolutions that operators run on a GPU: their shapes, and what they read, multiply and write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from simsparse.core import DType, Op, OpKind
from simsparse.devices.base import DENSE_FORMAT, Floats
from simsparse.devices.gpu_conv import ConvKernels, conv_kernels
from simsparse.devices.gpu_counts import READ, WRITE, GpuCounts, Indexes, count_macs
from simsparse.devices.gpu_experts import runs_grouped
from simsparse.devices.gpu_gemm import GemmShapes, GemmUnit
from simsparse.devices.gpu_sparse24 import STORED_24, runs_24
from simsparse.sparsity import USUAL

GEMM_KINDS = (OpKind.LINEAR, OpKind.MATMUL, OpKind.MOE_FFN)
UNITS = {
    DType.BF16: GemmUnit.HALF, DType.FP16: GemmUnit.HALF, DType.FP8: GemmUnit.BYTE, DType.INT8: GemmUnit.INT8,
    DType.FP32: GemmUnit.FP32,
}  # fmt: skip


def gemm_kernels(
    ops: Sequence[Op], sparse24: bool, grouped: bool, counts: GpuCounts
) -> tuple[Indexes, Floats, GemmShapes]:
    """Each op's GEMMs, one kernel after another; of a MOE_FFN those of the experts that are hit.

    The products of a MATMUL are one kernel, a batch; so are the groups of a LINEAR.
    Those of grouped kernels are counted, and no kernels here.
    """
    kernels = [(i, op, gemm) for i, op in enumerate(ops) if op.kind in GEMM_KINDS for gemm in op.gemms]
    rows = [(i, *gemm, UNITS[op.dtype], op.dtype.bits // 8, runs_24(op, sparse24)) for i, op, gemm in kernels]
    share = np.array([weight_share(op, gemm[2], gemm[3], sparse24) for _, op, gemm in kernels], np.float64)
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
        count_macs([(i, op) for i, op, _ in kernels], sparse24, macs, counts)
    alone = np.array([not products_grouped(op, sparse24, grouped) for _, op, _ in kernels], np.bool_)
    return (
        owner[alone],
        launches[alone].astype(np.float64),
        shapes if alone.all() else shapes.take(np.flatnonzero(alone)),
    )


def products_grouped(op: Op, sparse24: bool, grouped: bool) -> bool:
    return runs_grouped(op, grouped) and not runs_24(op, sparse24)


def conv_kernels_of(ops: Sequence[Op], convs: Sequence[int], counts: GpuCounts) -> ConvKernels:
    """The convolutions at the places ``convs``, one kernel each."""
    own = [ops[i] for i in convs]
    owner, kernels = np.array(convs, np.int64), conv_kernels(own)
    shares = [weight_share(op, n, k, False) for op in own for _, _, n, k in op.gemms]
    if any(share != 1.0 for share in shares):
        weights = kernels.weights * shares
        kernels = replace(kernels, weights=weights, touched=kernels.touched - kernels.weights + weights)
    if own:
        counts.add(READ, owner, kernels.read + kernels.weights)
        counts.add(WRITE, owner, kernels.write)
        count_macs([(i, ops[i]) for i in convs], False, np.array([op.dense_macs for op in own], np.float64), counts)
    return kernels


def weight_share(op: Op, rows: int, cols: int, sparse24: bool) -> float:
    """Bytes of a weight in memory over those of a dense one, where it is decoded on its way to the multipliers."""
    if not op.definition.prunable or op.weight_format in (USUAL, DENSE_FORMAT) or runs_24(op, sparse24):
        return 1.0
    bits = op.w_dtype.bits
    return op.weight_sparsity.stored_bits(rows, cols, bits, op.weight_format) / (rows * cols * bits)
