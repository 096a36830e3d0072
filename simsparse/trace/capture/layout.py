# SPDX-License-Identifier: Apache-2.0
"""Tensors in torch's sparse layouts: what they hold, and the format that stores a weight so."""

from __future__ import annotations

import torch

_COMPRESSED = {
    torch.sparse_csr: "csr", torch.sparse_csc: "csc", torch.sparse_bsr: "bsr", torch.sparse_bsc: "bsc",
}  # fmt: skip


def parts_of(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The strided tensors that hold ``tensor``: values first, then indexes; itself where it is strided."""
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


def dense(tensor: torch.Tensor) -> torch.Tensor:
    """The same values, strided."""
    return tensor if tensor.layout is torch.strided else tensor.to_dense()


def format_of(tensor: torch.Tensor) -> str:
    """The name of the format that stores weights as ``tensor`` does; "" where there is none."""
    if tensor.layout is torch.sparse_bsr:
        rows, cols = tensor.values().shape[-2:]
        return f"bsr:{rows}" if rows == cols else ""
    return {torch.sparse_csr: "csr", torch.sparse_csc: "csc"}.get(tensor.layout, "")
