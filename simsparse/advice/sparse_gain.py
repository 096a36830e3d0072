# SPDX-License-Identifier: Apache-2.0
"""At which density, number of tokens and pattern does a sparse kernel beat the dense one, and by how much?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import comb
from pathlib import Path
from typing import NamedTuple

from simsparse.config.hardware import part_of
from simsparse.config.parts.cpu import CpuPart
from simsparse.config.quantity import Part
from simsparse.core import Op, OpKind
from simsparse.devices.base import Device, device_for
from simsparse.devices.cpu import Cpu
from simsparse.errors import MappingError, SpecError, nearest
from simsparse.sparsity.formats.grouped_nm import LARGEST_CHUNK

GROUP = 8
"""Columns of a group of n:m:g weights, whose densities are its eighths."""
STEPS = 12
"""Halvings in the search for the density at which both kernels take equally long."""


def _grouped(density: float, inputs: int) -> str:
    del inputs
    kept = min(GROUP, max(1, round(density * GROUP)))
    rows = 4 if 4 * comb(GROUP, kept) < LARGEST_CHUNK else 1
    return f"nmg:{kept}:{GROUP}:{rows}"


PATTERNS: Mapping[str, tuple[str, Callable[[float, int], str]]] = {
    "csr": ("csr", lambda density, _: f"unstructured:{density!r}"),
    "fan_in": ("fan_in", lambda density, inputs: f"bank{inputs}:{density!r}"),
    "block4": ("bsr:4", lambda density, _: f"block4:{density!r}"),
    "block16": ("bsr:16", lambda density, _: f"block16:{density!r}"),
    "nmg": ("nmg", _grouped),
}
"""Storage format and sparsity, by density and number of inputs, of each pattern that can be asked for."""


class SparseGain(NamedTuple):
    """One pattern at one density, which it rounds to one that it has, and number of tokens.

    Seconds of both kernels, dense over sparse, and what checks the model of the sparse one, if anything.
    """

    pattern: str
    density: float
    tokens: int
    dense_s: float
    sparse_s: float
    gain: float
    validated: str | None


@dataclass(frozen=True)
class SparseGains:
    """Gains of sparse kernels over the dense one on ``part``.

    ``breakeven``: by pattern and tokens the largest density at which the sparse kernel is no slower, to a 4,000th of
    the range; None where it is slower at the lowest density, and the highest one where it is never slower.
    ``refused``: reasons by pattern.
    """

    part: str
    layer: str
    resident: bool
    gains: tuple[SparseGain, ...]
    breakeven: Mapping[tuple[str, int], float | None]
    refused: Mapping[str, str]

    def always(self, pattern: str, tokens: int) -> bool:
        """Whether the sparse kernel is no slower at every density that was asked for."""
        return all(each.gain >= 1 for each in self.gains if (each.pattern, each.tokens) == (pattern, tokens))


def sparse_gains(
    layer: Op, hw: Part | str | Path, patterns: Sequence[str], densities: Sequence[float], tokens: Sequence[int],
    resident: bool = False,
) -> SparseGains:  # fmt: skip
    """Time ``layer``, a linear op, with weights of every pattern and density, at each of ``tokens``, and dense.

    ``resident``: the weights stay in the caches of a CPU between calls. Raises SpecError when ``layer`` is no linear
    op, on an unknown pattern, on densities or tokens that do not rise, and when the part skips zeros of no pattern.
    """
    part = part_of(hw)
    _check(layer, patterns, densities, tokens)
    device = Cpu(part, resident) if isinstance(part, CpuPart) else device_for(part)
    refused = {name: reason for name in patterns if (reason := _refusal(device, layer, name, densities))}
    able = [name for name in patterns if name not in refused]
    if not able:
        raise SpecError(f"{part.name}: " + "; ".join(f"{name}: {why}" for name, why in refused.items()), key="patterns")
    dense = dict(zip(tokens, _seconds(device, [_at(layer, count) for count in tokens]), strict=True))
    asked = {(op.name, op.weight_sparsity.density, op.dims["m"]): op
             for op in (_sparse(layer, *point) for point in product(able, densities, tokens))}  # fmt: skip
    costs = device.costs(list(asked.values()))
    gains = tuple(
        SparseGain(*point, dense[point[2]], cost.latency_s, dense[point[2]] / cost.latency_s, cost.validated)
        for point, cost in zip(asked, costs, strict=True)
    )
    ends = {
        (name, count): _breakeven(device, layer, name, count, dense[count], (densities[0], densities[-1]))
        for name, count in product(able, tokens)
    }
    words = f"linear, {layer.dims['n']} outputs, {layer.dims['k']} inputs, {layer.dtype}"
    return SparseGains(part.name, words, resident, gains, ends, refused)


def _check(layer: Op, patterns: Sequence[str], densities: Sequence[float], tokens: Sequence[int]) -> None:
    if layer.kind != OpKind.LINEAR:
        raise SpecError(f"{layer.kind!r} has no weights to choose; expected linear", key="layer")
    for name in patterns:
        if name not in PATTERNS:
            raise SpecError(f"{name!r} is not a pattern; {nearest(name, PATTERNS)}", key="patterns")
    if not patterns or len(set(patterns)) < len(patterns):
        raise SpecError("expected patterns, each of them once", key="patterns")
    if not densities or not 0 < densities[0] <= densities[-1] <= 1 or any(a >= b for a, b in pairwise(densities)):
        raise SpecError("expected rising densities above 0 and up to 1", key="densities")
    if not tokens or tokens[0] < 1 or any(a >= b for a, b in pairwise(tokens)):
        raise SpecError("expected rising numbers of tokens from 1", key="tokens")


def _at(layer: Op, tokens: int) -> Op:
    return layer.with_(dims={**layer.dims, "m": tokens})


def _sparse(layer: Op, pattern: str, density: float, tokens: int) -> Op:
    storage, text = PATTERNS[pattern]
    return _at(layer, tokens).with_(weight_sparsity=text(density, layer.dims["k"]), weight_format=storage, name=pattern)


def _refusal(device: Device, layer: Op, pattern: str, densities: Sequence[float]) -> str | None:
    """Why the device runs no sparse kernel on weights of the pattern."""
    op = _sparse(layer, pattern, densities[0], 1)
    if reason := device.supports(op):
        return reason
    return None if device.skips(op) else f"no kernel skips zeros of {op.weight_format} weights"


def _seconds(device: Device, ops: Sequence[Op]) -> list[float]:
    """Raises MappingError for an op that the device does not support."""
    for op in ops:
        if reason := device.supports(op):
            raise MappingError(f"can't run on {device.part.name}: {reason}", key=op.name)
    return [cost.latency_s for cost in device.costs(ops)]


def _breakeven(
    device: Device, layer: Op, pattern: str, tokens: int, dense_s: float, ends: tuple[float, float]
) -> float | None:  # fmt: skip
    """The density at which the sparse kernel takes ``dense_s``, by bisection: denser weights take longer."""

    def op(density: float) -> Op:
        return _sparse(layer, pattern, density, tokens)

    def wins(density: float) -> bool:
        return _seconds(device, [op(density)])[0] <= dense_s

    low, high = ends
    if not wins(low):
        return None
    if wins(high):
        return op(high).weight_sparsity.density
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if wins(middle) else (low, middle)
    return op(low).weight_sparsity.density
