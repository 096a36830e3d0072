# SPDX-License-Identifier: Apache-2.0
"""What the recorded routing of a trace shows: balance over experts, reuse from token to token."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simsparse.core import OpKind, Routing, Trace

Ids = NDArray[np.int64]


def routing_facts(trace: Trace) -> dict[str, Any]:
    """Facts of every MoE layer with per-token experts, in order: lists by name.

    ``max_over_mean``: tokens of the busiest expert over the mean. ``cv``: standard deviation of the
    experts' tokens over the mean. ``entropy``: of the experts' shares, 1 for equal ones. ``reuse``:
    share of a token's experts that the token before had too, within a sequence. ``chance``: what
    ``reuse`` would be if tokens were drawn independently with the same shares.
    """
    sequences = int(trace.meta.get("batch", 1))
    layers = [op.routing for op in trace.ops if op.kind == OpKind.MOE_FFN and op.routing and op.routing.ids]
    rows = [_layer(routing, sequences) for routing in layers]
    return {key: [row[key] for row in rows] for key in rows[0]} if rows else {}


def _layer(routing: Routing, sequences: int) -> dict[str, float]:
    counts = np.asarray(routing.counts, np.float64)
    ids = np.asarray(routing.ids, np.int64)
    shares = counts / counts.sum()
    used = shares[shares > 0]
    facts = {
        "max_over_mean": counts.max() / counts.mean(), "cv": counts.std() / counts.mean(),
        "entropy": float(-(used * np.log(used)).sum() / np.log(len(counts))) if len(counts) > 1 else 1.0,
        "reuse": reuse(ids, sequences), "chance": float((shares**2).sum()) * ids.shape[1],
    }  # fmt: skip
    return {key: round(float(value), 4) for key, value in facts.items()}


def reuse(ids: Ids, sequences: int = 1) -> float:
    """Share of experts that the token before had too; ``ids`` (tokens, top_k) of equally long sequences."""
    if len(ids) % sequences:
        sequences = 1
    by_sequence = ids.reshape(sequences, -1, ids.shape[1])
    now, before = by_sequence[:, 1:], by_sequence[:, :-1]
    if not now.size:
        return 0.0
    return float((now[..., :, None] == before[..., None, :]).any(axis=-1).mean())
