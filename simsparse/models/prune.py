# SPDX-License-Identifier: Apache-2.0
"""One-shot pruning of real weights to any pattern, by magnitude or Wanda's scores."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import functional

from simsparse.core import Sparsity
from simsparse.errors import SpecError, TraceError, nearest
from simsparse.sparsity.patterns.bank import Bank
from simsparse.sparsity.patterns.base import share_of
from simsparse.sparsity.patterns.block import Block
from simsparse.sparsity.patterns.nm import NM
from simsparse.sparsity.patterns.unstructured import Unstructured
from simsparse.trace.statistics.sparsity_stats import weight_facts, weight_from_rows, weight_rows

METHODS = ("magnitude", "wanda")
Norms = Mapping[str, torch.Tensor]

__all__ = ["METHODS", "nm_mask", "pattern_mask", "prunable", "prune", "prune_nm", "weight_facts"]


def prune(
    module: torch.nn.Module,
    pattern: str | Sparsity,
    method: str = "magnitude",
    norms: Norms | None = None,
    exclude: tuple[str, ...] = (),
) -> list[str]:
    """Zero the weights of least score of every Linear, Conv1d and Conv2d, down to ``pattern``.

    In place, one shot, without retraining. Patterns run along the reduction; that of a convolution
    goes tap by tap with the input channels innermost. Layers that the pattern does not fit (N:M and
    banks must divide the reduction, blocks must not exceed it) and those whose path holds a word of
    ``exclude`` are left alone. Returns the paths that were pruned.

    ``magnitude`` scores a weight by its absolute value; ``wanda`` by that times the norm of the
    input it meets in a calibration (Sun et al., arXiv:2306.11695, equation 1), with ``norms`` from
    ``simsparse.models.wanda.input_norms``, and compares within an output where the pattern is
    unstructured. Raises TraceError on an unknown method or missing norms, SpecError on a pattern that
    nothing prunes to.
    """
    sparsity = Sparsity.parse(pattern)
    if method not in METHODS:
        raise TraceError(f"{method!r} is not a method; {nearest(method, METHODS)}", key="method")
    pruned = []
    for path, layer in prunable(module).items():
        rows = weight_rows(layer.weight.detach())
        if sparsity.is_dense or any(word in path for word in exclude) or not _fits(sparsity, rows.shape[1]):
            continue
        mask = pattern_mask(_scores(rows, path, method, norms), sparsity, by_row=method == "wanda")
        with torch.no_grad():
            layer.weight.copy_(weight_from_rows(rows * mask, layer.weight))
        pruned.append(path)
    return pruned


def prune_nm(module: torch.nn.Module, n: int, m: int, exclude: tuple[str, ...] = ()) -> list[str]:
    """``prune`` by magnitude to N:M. Raises TraceError unless 0 < n <= m."""
    if not 0 < n <= m:
        raise TraceError(f"{n}:{m} is not a pattern; expected 0 < N <= M", key="prune")
    return prune(module, NM(n, m), exclude=exclude)


def prunable(module: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The layers that pruning looks at, by path."""
    kinds = (torch.nn.Linear, torch.nn.Conv2d, torch.nn.Conv1d)
    return {path: layer for path, layer in module.named_modules() if isinstance(layer, kinds)}


def pattern_mask(scores: torch.Tensor, sparsity: Sparsity, by_row: bool = False) -> torch.Tensor:
    """Boolean mask of the largest ``scores`` (rows, k) that ``sparsity`` allows, first ones on ties.

    Blocks are compared by the sum of their squared scores; ``by_row`` compares unstructured scores
    within a row and not over the whole matrix. Raises SpecError on a pattern that nothing prunes to.
    """
    rows, k = scores.shape
    match sparsity:
        case NM() | Bank() if sparsity.rows_together == 1:
            return nm_mask(scores, *sparsity.groups)
        case Unstructured() if by_row:
            return _largest(scores, sparsity.kept(1, k))
        case Unstructured():
            return _largest(scores.reshape(1, -1), sparsity.kept(rows, k)).reshape(rows, k)
        case Block():
            return _block_mask(scores, sparsity)
        case _ if sparsity.is_dense:
            return torch.ones_like(scores, dtype=torch.bool)
    raise SpecError(f"nothing prunes to {sparsity}; expected N:M, bank, block or unstructured", key="pattern")


def nm_mask(weight: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """Boolean mask of the ``n`` largest magnitudes of every ``m`` along the last dimension, first ones on ties."""
    return _largest(weight.abs().reshape(-1, m), n).reshape(weight.shape)


def _largest(scores: torch.Tensor, count: int) -> torch.Tensor:
    order = torch.argsort(scores, dim=1, descending=True, stable=True)
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, order[:, :count], True)


def _block_mask(scores: torch.Tensor, sparsity: Block) -> torch.Tensor:
    (rows, k), edge = scores.shape, sparsity.edge
    padded = functional.pad(scores, (0, -k % edge, 0, -rows % edge))
    tiles = padded.reshape(padded.shape[0] // edge, edge, -1, edge)
    energy = tiles.double().square().sum(dim=(1, 3))
    kept = _largest(energy.reshape(1, -1), share_of(energy.numel(), sparsity.density))
    whole = kept.reshape(energy.shape).repeat_interleave(edge, 0).repeat_interleave(edge, 1)
    return whole[:rows, :k]


def _fits(sparsity: Sparsity, k: int) -> bool:
    return k >= sparsity.edge if sparsity.groups is None else k % sparsity.groups[1] == 0


def _scores(rows: torch.Tensor, path: str, method: str, norms: Norms | None) -> torch.Tensor:
    if method == "magnitude":
        return rows.abs()
    if norms is None or path not in norms:
        raise TraceError("wanda needs norms of the inputs of this layer; see simsparse.models.wanda", key=path)
    return rows.abs() * norms[path].to(rows.dtype)
