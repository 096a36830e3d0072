# SPDX-License-Identifier: Apache-2.0
"""Which measurements check the model of an op on a card: the class of its kernel, and the span of shapes compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import overload

from simsparse.config.accuracy import ClassAccuracy, accuracy_of
from simsparse.config.parts.gpu import GpuPart
from simsparse.core import DType, Op, OpKind
from simsparse.core.kinds.attention import WINDOW, cache_type
from simsparse.devices.base import Device
from simsparse.devices.gpu_attention_kernels import takes_blocks, takes_window
from simsparse.devices.gpu_experts import GROUPED, LOOP
from simsparse.devices.gpu_launched import Gather, NormRows, Reduce, SoftmaxRows, Stream, Topk
from simsparse.devices.gpu_op_kernels import OP_KERNELS
from simsparse.devices.gpu_sparse_products import sparse_product

HALF = (DType.BF16, DType.FP16)
LIBRARY_STEP = 64
"""Products whose n and k are multiples of this were drawn as one class, all others as another."""
KERNEL_CLASSES: Mapping[type, str] = {
    Stream: "elementwise", NormRows: "norm", SoftmaxRows: "softmax", Gather: "gather", Reduce: "reduce",
    Topk: "reduce",
}  # fmt: skip
PUBLIC = {"gemm_dense": "gemm_table"}
"""Classes of public tables that check kernels where no measurement of ours does."""
LEFT_OUT = "gpu/left-out"
"""Entries of accuracy.yaml by cards that a fit left out, predicted by their data sheet."""
RAGGED_ON = "gpu/h200-sxm5-141gb"
"""The card on which products without whole 16-byte rows were measured."""
ALIGNED = 8
"""16-bit values of a row of whole 16-byte loads."""
FULL = {DType.FP32: "gemm_fp32", DType.TF32: "gemm_tf32"}
"""Classes of products of 32-bit values."""
GEMM_KINDS = (OpKind.LINEAR, OpKind.MATMUL, OpKind.MOE_FFN)
NO_CLASS = ("scan", "other")
"""Kinds priced by their bytes as elementwise kernels, which says nothing of the kernels that they are."""


def gemm_class(section: str, n: int, k: int) -> str:
    """The class of a product of ``section``: products off the step of the library's tiles are one of their own."""
    return section if n % LIBRARY_STEP == 0 == k % LIBRARY_STEP else f"{section}_ragged"


def kernel_class(op: Op, skips: bool) -> str | None:
    """The class of kernels that ``op`` runs as; None for one that no section of measurements is about.

    ``skips``: whether the card skips zeros among its weights, by its 2:4 units.
    """
    d, dtype = op.dims, op.dtype
    match op.kind:
        case OpKind.LINEAR if sparse_product(op) is not None:
            return "spmm"
        case OpKind.LINEAR if op.w_dtype is not dtype:
            return gemm_class("quant", d["n"], d["k"])
        case OpKind.LINEAR if dtype in HALF:
            return gemm_class("gemm_sparse24" if skips else "gemm_dense", d["n"], d["k"])
        case OpKind.LINEAR if skips:
            return gemm_class("lowp_sparse24", d["n"], d["k"])
        case OpKind.LINEAR:
            return FULL.get(dtype) or gemm_class("lowp", d["n"], d["k"])
        case OpKind.MATMUL:
            return "bmm" if dtype in HALF else None
        case OpKind.CONV2D:
            return "conv2d" if dtype in HALF and not skips else None
        case OpKind.ATTENTION:
            return _attention_class(op) if dtype in HALF and cache_type(op) is dtype else None
        case OpKind.MOE_FFN:
            if skips or dtype not in (*HALF, DType.FP8):
                return None
            return "grouped_gemm" if op.label in (GROUPED, LOOP) else "moe_table"
    if takes_blocks(op):
        return "sparse_attn"
    if op.kind in NO_CLASS or op.kind not in OP_KERNELS:
        return None
    return KERNEL_CLASSES.get(type(OP_KERNELS.get(op.kind)(op)))


def _attention_class(op: Op) -> str | None:
    """The class of an attention of 16 bits; a window that leaves keys of a prompt out runs as a mask of blocks."""
    d = op.dims
    if d["q_len"] == 1:
        return "attn_decode"
    if d["kv_len"] > op.stats.get(WINDOW, d["kv_len"]):
        return "sparse_attn" if takes_window(op) else None
    return "attn_prefill"


class Labels(Sequence[str]):
    """The label of each of ``ops``, found when it is read: most callers want the times alone."""

    def __init__(self, evidence: Evidence, device: Device, ops: Sequence[Op]) -> None:
        self._evidence, self._device, self._ops = evidence, device, ops

    def __len__(self) -> int:
        return len(self._ops)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        if isinstance(place, slice):
            return Labels(self._evidence, self._device, self._ops[place])
        op = self._ops[place]
        return "" if self._device.decodes(op) else self._evidence.label(op, self._device.skips(op))


class Evidence:
    """What checks the ops on one card. A card with overridden values is not the one that was measured."""

    def __init__(self, part: GpuPart) -> None:
        self._name, self._overridden = part.name, bool(part.overridden)
        self._transferred = part.kernels.gemm.transferred
        self._classes: Mapping[str, ClassAccuracy] = {} if part.overridden else accuracy_of(part.name)

    def labels(self, device: Device, ops: Sequence[Op]) -> Sequence[str]:
        """The label of each of ``ops``, found when it is read where anything was measured on the card."""
        return Labels(self, device, ops) if self._classes else [""] * len(ops)

    def label(self, op: Op, skips: bool) -> str:
        """The reference that the model of ``op`` was compared with, "" where nothing checks it or it extrapolates."""
        name = kernel_class(op, skips) if self._classes else None
        name = name if name in self._classes else PUBLIC.get(name or "")
        if name is None or name not in self._classes or not self._classes[name].covers(op.dims):
            return ""
        return f"{self._name} {name}"

    def band(self, op: Op, skips: bool) -> str | None:
        """What is known of times of a card that nobody measured: errors of cards left out of the fits of their kind."""
        name = None if self._overridden else kernel_class(op, skips)
        if name is None or name in self._classes or PUBLIC.get(name) in self._classes:
            return None
        if (left := accuracy_of(LEFT_OUT).get(name)) is None:
            return None
        return (f"no {name} was measured on {self._name}: cards that were left out were off by {left.error:.0%} on "
                f"average, by data sheet and other cards' kernels")  # fmt: skip

    @property
    def banded(self) -> bool:
        """Whether ``band`` or ``transferred`` may say something of the card."""
        return self._transferred is not None or not (self._classes or self._overridden)

    def transferred(self, op: Op) -> str | None:
        """What is known of times by another architecture's kernels: of 16-bit products without whole 16-byte rows."""
        if self._transferred is None or op.kind not in GEMM_KINDS or op.dtype not in HALF:
            return None
        if all(n % ALIGNED == 0 == k % ALIGNED for _, _, n, k in op.gemms):
            return None
        there, left = accuracy_of(RAGGED_ON).get("gemm_dense_ragged"), accuracy_of(LEFT_OUT).get("gemm_dense")
        if there is None or left is None:
            return None
        return (f"n or k is no multiple of {ALIGNED}: kernels transferred from {self._transferred.architecture}, where "
                f"they are off by {there.error:.0%}; cards left out of the fits of aligned kernels were off by "
                f"{left.error:.0%}")  # fmt: skip
