# SPDX-License-Identifier: Apache-2.0
"""Linear layers whose weights lie in CSR or BSR: they run the library's kernels of sparse times dense products.

Left out: the copy that such a kernel makes of transposed results, the host's dispatch beyond one call.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simsparse.config.parts.gpu_pointwise import GpuBsrKernels, GpuCsrKernels
from simsparse.core import DType, Op, OpKind
from simsparse.devices.gpu_card import Card, Floats, KernelTimes
from simsparse.devices.gpu_spmm import BsrKernels, CsrKernels, bsr_times, csr_kernel_times

CSR, BSR = "csr", "bsr"
HALF = (DType.BF16, DType.FP16)


class CsrProduct(NamedTuple):
    """``m`` inputs times ``n`` rows with ``nonzeros`` in all; ``moved``: bytes of operands and results."""

    m: float
    n: float
    nonzeros: float
    moved: float


class BsrProduct(NamedTuple):
    """``m`` inputs times an ``n`` x ``k`` matrix of ``blocks`` of edge ``size``; ``moved`` as of ``CsrProduct``."""

    m: float
    n: float
    k: float
    size: float
    blocks: float
    moved: float


def sparse_product(op: Op) -> CsrProduct | BsrProduct | None:
    """The kernel of a linear layer of 16 bits, stored in CSR or in BSR with blocks that its pattern keeps whole.

    None for all others, whose weights are decoded or dense. Source of the rule: torch.sparse, whose layouts run
    cuSPARSE (csr) and a Triton kernel (bsr).
    """
    if op.weight_format[:3] not in (CSR, BSR) or op.kind != OpKind.LINEAR or op.dims.get("groups", 1) > 1:
        return None
    if op.dtype not in HALF or op.w_dtype is not op.dtype or op.weight_sparsity.is_factored:
        return None
    d, moved = op.dims, float(op.weight_bytes + op.input_bytes + op.output_bytes)
    if op.weight_format == CSR:
        return CsrProduct(d["m"], d["n"], op.weight_sparsity.nonzeros(d["n"], d["k"]), moved)
    size = _block_edge(op)
    if size is None:
        return None
    return BsrProduct(d["m"], d["n"], d["k"], size, op.weight_sparsity.kept(d["n"], d["k"]) / size**2, moved)


def _block_edge(op: Op) -> int | None:
    """Edge of the stored blocks; None where the pattern cuts through them."""
    _, _, edge = op.weight_format.partition(":")
    size = int(edge) if edge else op.weight_sparsity.edge
    return size if size > 1 and op.weight_sparsity.edge % size == 0 else None


def csr_product_times(card: Card, library: GpuCsrKernels, columns: tuple[Floats, ...]) -> KernelTimes:
    """Seconds of the kernels alone."""
    m, n, nonzeros, _ = columns
    return csr_kernel_times(card, library, CsrKernels(m, n, nonzeros))


def bsr_product_times(card: Card, library: GpuBsrKernels, columns: tuple[Floats, ...]) -> KernelTimes:
    """Seconds of the kernels alone."""
    *shape, _ = (np.asarray(column, np.float64) for column in columns)
    return bsr_times(card, library, BsrKernels(*shape))
