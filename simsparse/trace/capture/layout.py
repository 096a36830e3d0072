# SPDX-License-Identifier: Apache-2.0
"""Tensors in sparse layouts and of classes of their own: what they hold, and the format that stores a weight so."""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from simsparse.core import DType

_COMPRESSED = {
    torch.sparse_csr: "csr", torch.sparse_csc: "csc", torch.sparse_bsr: "bsr", torch.sparse_bsc: "bsc",
}  # fmt: skip


def is_wrapper(tensor: torch.Tensor) -> bool:
    """Whether ``tensor`` holds its values in tensors of its own, as quantised weights of libraries do."""
    return bool(is_traceable_wrapper_subclass(tensor))


def inner_tensors(tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """The tensors that hold a wrapper, by the names of its attributes, those with most bytes first."""
    found: dict[str, torch.Tensor] = {}
    for name in tensor.__tensor_flatten__()[0]:
        inner = getattr(tensor, name)
        found |= (
            {f"{name}.{deeper}": each for deeper, each in inner_tensors(inner).items()} if is_wrapper(inner)
            else {name: inner}
        )  # fmt: skip
    return dict(sorted(found.items(), key=lambda item: -item[1].numel() * item[1].element_size()))


def stored_dtype(tensor: torch.Tensor) -> DType | None:
    """The element type in which a wrapper stores its values; None of other tensors, and where no type has its bits."""
    if not is_wrapper(tensor) or not tensor.numel():
        return None
    codes = parts_of(tensor)[0]
    if codes.is_floating_point():
        return DType.FP8 if codes.element_size() == 1 else None
    bits = 8 * codes.numel() * codes.element_size() / tensor.numel()
    return {8.0: DType.INT8, 4.0: DType.INT4}.get(bits)


def rows_of(weight: torch.Tensor) -> torch.Tensor:
    """A matrix with its last two axes exchanged; of a wrapper, which may not be able to, its shape alone."""
    if is_wrapper(weight):
        return torch.empty(*weight.shape[:-2], weight.shape[-1], weight.shape[-2], dtype=weight.dtype, device="meta")
    return weight.transpose(-1, -2)


def parts_of(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The strided tensors that hold ``tensor``: values first, then indexes or scales; itself where it is strided."""
    if is_wrapper(tensor):
        return tuple(inner_tensors(tensor).values())
    if tensor.layout is torch.sparse_coo:
        return tensor._values(), tensor._indices()
    if tensor.layout not in _COMPRESSED:
        return (tensor,)
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return tensor.values(), tensor.crow_indices(), tensor.col_indices()
    return tensor.values(), tensor.ccol_indices(), tensor.row_indices()


def held_bytes(tensor: torch.Tensor) -> int:
    """Bytes of the elements and indexes that ``tensor`` holds."""
    return sum(part.numel() * part.element_size() for part in parts_of(tensor))


def elements_held(tensor: torch.Tensor) -> int:
    """Elements that ``tensor`` stores: of a sparse layout, those that it keeps."""
    return int((tensor if tensor.layout is torch.strided else parts_of(tensor)[0]).numel())


def dense(tensor: torch.Tensor) -> torch.Tensor:
    """The same values, strided."""
    return tensor if tensor.layout is torch.strided else tensor.to_dense()


def format_of(tensor: torch.Tensor) -> str:
    """The name of the format that stores weights as ``tensor`` does; "" where there is none."""
    if tensor.layout is torch.sparse_bsr:
        rows, cols = tensor.values().shape[-2:]
        return f"bsr:{rows}" if rows == cols else ""
    return {torch.sparse_csr: "csr", torch.sparse_csc: "csc"}.get(tensor.layout, "")
