"""N:M pruning by magnitude, and the pattern that real weights show."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from simsparse.core import DENSE, Sparsity
from simsparse.errors import TraceError

GROUPS = (4, 8, 16, 32)
MAX_NM_RATIO = 0.75
WeightFacts = tuple[Sparsity, dict[str, Any]]


def prune_nm(module: torch.nn.Module, n: int, m: int, exclude: tuple[str, ...] = ()) -> list[str]:
    """Zero all but the ``n`` largest magnitudes of every ``m`` along the reduction of each Linear and Conv2d.

    In place, one shot, without retraining; the reduction of a convolution runs over its input
    channels. Layers whose reduction ``m`` does not divide, and those whose path holds a word of
    ``exclude``, are left alone. Returns the paths that were pruned. Raises TraceError unless
    0 < n <= m.
    """
    if not 0 < n <= m:
        raise TraceError(f"{n}:{m} is not a pattern; expected 0 < N <= M", key="prune")
    pruned = []
    for path, layer in module.named_modules():
        if not isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d)) or any(word in path for word in exclude):
            continue
        rows = _rows(layer.weight.detach())
        if rows.shape[-1] % m == 0:
            with torch.no_grad():
                layer.weight.copy_(_unrows(rows * nm_mask(rows, n, m), layer.weight))
            pruned.append(path)
    return pruned


def nm_mask(weight: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """Boolean mask of the ``n`` largest magnitudes of every ``m`` along the last dimension, first ones on ties."""
    groups = weight.abs().reshape(-1, m)
    order = torch.argsort(groups, dim=1, descending=True, stable=True)
    mask = torch.zeros_like(groups, dtype=torch.bool).scatter_(1, order[:, :n], True)
    return mask.reshape(weight.shape)


def weight_facts(weight: torch.Tensor) -> WeightFacts:
    """The pattern of a real weight, outputs first, and what was measured.

    Facts: ``density`` and ``nm``, for each group size of 4, 8, 16 and 32 along the reduction the
    most non-zeros that any group has, as ``N:M``, where that is fewer than M. The pattern is the
    N:M of least N/M up to 3/4 (smallest M on a tie); else unstructured, where its storage is
    smaller than dense; else dense.
    """
    rows = _rows(weight)
    kept = int(torch.count_nonzero(rows))
    density = kept / rows.numel()
    patterns = [Sparsity.parse(f"{n}:{m}") for m in GROUPS if (n := _most(rows, m)) < m]
    facts: dict[str, Any] = {"density": round(density, 6), "nm": [str(pattern) for pattern in patterns]}
    return _pattern(patterns, density, (rows.shape[0], rows.shape[1]), weight.element_size() * 8), facts


def _pattern(patterns: list[Sparsity], density: float, shape: tuple[int, int], bits: int) -> Sparsity:
    structured = [pattern for pattern in patterns if pattern.density <= MAX_NM_RATIO]
    if structured:
        return min(structured, key=lambda pattern: (pattern.density, pattern.m))
    if 0.0 < density < 1.0:
        loose = Sparsity.parse(f"unstructured:{density!r}")
        if loose.stored_bits(*shape, bits) < DENSE.stored_bits(*shape, bits):
            return loose
    return DENSE


def _most(rows: torch.Tensor, m: int) -> int:
    padded = functional.pad(rows != 0, (0, -rows.shape[1] % m))
    return max(1, int(padded.reshape(-1, m).sum(dim=1).max()))


def _rows(weight: torch.Tensor) -> torch.Tensor:
    """(outputs, reduction), input channels innermost."""
    return weight.movedim(1, -1).reshape(weight.shape[0], -1) if weight.dim() > 2 else weight


def _unrows(rows: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    if like.dim() == 2:
        return rows
    return rows.reshape(like.shape[0], *like.shape[2:], like.shape[1]).movedim(-1, 1)
