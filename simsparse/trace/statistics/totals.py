# SPDX-License-Identifier: Apache-2.0
"""What a trace holds, in numbers: totals by kind, sparsity by operator, load and reuse of experts.

Facts that were measured on real tensors stand in ``op.stats``; what was not measured is None here,
never 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simsparse.core import Op, OpKind, Trace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PATTERNS = ("1:4", "2:4", "3:4", "1:8", "2:8", "4:8", "6:8", "2:16", "4:16", "8:16", "12:16")
_LAYER = re.compile(r"(?:^|\.)(\d+)(?:\.|$)")


def summary(trace: Trace) -> dict[str, Any]:
    """A trace's totals: all, by kind and label of operator, and what was measured of it."""
    return {
        "name": trace.name, "ops": len(trace.ops), "meta": dict(trace.meta), "flops": trace.flops,
        "weight_bytes": trace.weight_bytes, "kinds": [_group(name, ops) for name, ops in groups(trace).items()],
    }  # fmt: skip


def groups(trace: Trace) -> dict[str, list[Op]]:
    """Operators by kind and label, in the order of first appearance."""
    found: dict[str, list[Op]] = {}
    for op in trace.ops:
        found.setdefault(f"{op.kind} {op.label}".strip() if op.label != op.kind else str(op.kind), []).append(op)
    return found


def _group(name: str, ops: Sequence[Op]) -> dict[str, Any]:
    fields = ("flops", "min_bytes", "weight_bytes", "dense_macs", "useful_macs")
    flops, moved, weights, macs, useful = (sum(getattr(op, field) for op in ops) for field in fields)
    return {
        "kind": name, "ops": len(ops), "flops": flops, "bytes": moved, "weight_bytes": weights,
        "flops_per_byte": flops / moved if moved else None, "density": useful / macs if macs else None,
        "input_density": _mean_input(ops, "input_density"), "padding": _mean_input(ops, "padding"),
    }  # fmt: skip


def _mean_input(ops: Sequence[Op], fact: str) -> float | None:
    """Mean of a measured fact, by input bytes; None where no op has its input measured."""
    known = [(op.stats.get(fact, 0.0), op.input_bytes) for op in ops if _share(op.stats, "input_density") is not None]
    total = sum(size for _, size in known)
    return sum(float(value) * size for value, size in known) / total if total else None


def _share(stats: Mapping[str, Any], key: str) -> float | None:
    """A share in an op's stats; None when it is missing or no share."""
    value = stats.get(key)
    real = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
    return float(value) if real and value is not None else None


def layer_of(op: Op) -> int | None:
    """Index of the layer in an op's module path or name: the first number that stands alone."""
    found = _LAYER.search(op.module or op.name)
    return int(found[1]) if found and len(found[1]) < 6 else None


def role_of(op: Op) -> str:
    """What an op is in its layer: the path behind the layer's index, or all of it."""
    path = op.name
    found = _LAYER.search(path)
    return path[found.end() :] or path if found else path


@dataclass(frozen=True)
class WeightStatistics:
    """Sparsity of one op's weight.

    ``density`` is measured where ``measured``, else that of the op's pattern; ``conforming`` is the
    share of the groups of M with at most N non-zeros, by ``N:M``, of what was measured.
    """

    name: str
    layer: int | None
    role: str
    pattern: str
    density: float
    measured: bool
    conforming: Mapping[str, float]


def weights(trace: Trace) -> list[WeightStatistics]:
    """The weights of linear, convolution and expert ops, in order."""
    return [_weight(op) for op in trace.ops if op.definition.prunable]


def _weight(op: Op) -> WeightStatistics:
    measured = _share(op.stats, "density")
    density = op.weight_sparsity.density if measured is None else measured
    return WeightStatistics(op.name, layer_of(op), role_of(op), str(op.weight_sparsity), density, measured is not None,
                  _conforming(op.stats, min((gemm[3] for gemm in op.gemms), default=0)))  # fmt: skip


def _conforming(stats: Mapping[str, Any], k: int) -> dict[str, float]:
    """By N:M with M up to the reduction ``k``: from histograms of non-zeros a group; without zeros nothing conforms."""
    patterns = [pattern for pattern in PATTERNS if int(pattern.split(":")[1]) <= k]
    if stats.get("density") == 1.0:
        return dict.fromkeys(patterns, 0.0)
    structure = stats.get("weight")
    histograms = structure.get("groups") if isinstance(structure, Mapping) else None
    if not isinstance(histograms, Mapping):
        return {}
    found = {}
    for pattern in patterns:
        n, m = map(int, pattern.split(":"))
        shares = histograms.get(str(m))
        if isinstance(shares, list) and len(shares) == m + 1:
            found[pattern] = min(1.0, float(sum(shares[: n + 1])))
    return found


@dataclass(frozen=True)
class InputStatistics:
    """Measured sparsity of one op's input, where it is consumed.

    ``density`` of what is no padding; ``padding`` the share of padding among what is read.
    """

    name: str
    layer: int | None
    role: str
    density: float
    padding: float


def inputs(trace: Trace) -> list[InputStatistics]:
    """The inputs that were measured, in order."""
    found = []
    for op in trace.ops:
        density = _share(op.stats, "input_density")
        if density is not None:
            padding = _share(op.stats, "padding") or 0.0
            found.append(InputStatistics(op.name, layer_of(op), role_of(op), density, padding))
    return found


def routed(trace: Trace) -> list[Op]:
    """The mixture-of-experts ops, in order."""
    return [op for op in trace.ops if op.kind == OpKind.MOE_FFN and op.routing is not None]


def expert_load(trace: Trace) -> NDArray[np.float64]:
    """Tokens of each expert over the layer's mean, shape (MoE layers, experts); NaN where a layer has fewer."""
    import numpy as np

    rows = [op.routing.counts for op in routed(trace) if op.routing is not None]
    load = np.full((len(rows), max(map(len, rows), default=0)), np.nan)
    for i, counts in enumerate(rows):
        load[i, : len(counts)] = np.asarray(counts) / max(np.mean(counts), 1e-9)
    return load


def expert_reuse(trace: Trace, distances: Sequence[int]) -> NDArray[np.float64]:
    """Share of a token's experts that the token ``distance`` before it in its sequence had too.

    Shape (MoE layers with ids, distances); NaN where no sequence is longer than the distance.
    """
    import numpy as np

    count = sequences(trace)
    layers = [op.routing.ids for op in routed(trace) if op.routing is not None and op.routing.ids]
    found = np.full((len(layers), len(distances)), np.nan)
    for i, ids in enumerate(layers):
        rows = np.asarray(ids)
        by_sequence = rows.reshape(count if len(rows) % count == 0 else 1, -1, rows.shape[1])
        for j, distance in enumerate(distances):
            now, before = by_sequence[:, distance:], by_sequence[:, :-distance]
            if now.size:
                found[i, j] = (now[..., :, None] == before[..., None, :]).any(axis=-1).mean()
    return found


def reuse_by_chance(trace: Trace) -> NDArray[np.float64]:
    """What ``expert_reuse`` would be of independent tokens with the same expert shares, by MoE layer with ids.

    Expert e is among a token's top k with probability p_e = count_e / tokens, and so are the
    token's before it: the expected share is sum(p_e^2) / k.
    """
    import numpy as np

    chances = []
    for op in routed(trace):
        if op.routing is not None and op.routing.ids:
            p = np.asarray(op.routing.counts) / len(op.routing.ids)
            chances.append(float((p**2).sum()) / len(op.routing.ids[0]))
    return np.asarray(chances)


def sequences(trace: Trace) -> int:
    """How many sequences the tokens of a trace belong to, as its meta says."""
    batch = trace.meta.get("batch", 1)
    return batch if isinstance(batch, int) and not isinstance(batch, bool) and batch > 0 else 1
