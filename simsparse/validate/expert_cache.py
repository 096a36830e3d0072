# SPDX-License-Identifier: Apache-2.0
"""Predictions for rows of decode steps with caches of experts: seconds of a step, through ``simulate``."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from simsparse._simulate import simulate
from simsparse.config.hardware import System
from simsparse.core import Op, Result, Routing, Trace, ops
from simsparse.devices.gpu_experts import LOOP
from simsparse.errors import MappingError, SimulationError
from simsparse.policies import policy_of
from simsparse.sources import Steps
from simsparse.validate.comparison import Prediction
from simsparse.validate.layers import MAX_COPIES, layers_of
from simsparse.validate.measurement import Measurement

MODES = ("on_demand", "on_demand_sync", "prefetch")
Ids = NDArray[np.int64]
MAX_DRAWS = 1 << 26
"""Steps times layers times experts of a row whose ids are drawn."""


def predict_expert_caches(system: System, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Median seconds of a step, the upper of two as in the rows, with the ids that the row's process draws."""
    return [_predicted(system, row) for row in rows]


def _predicted(system: System, row: Measurement) -> Prediction | str:
    if row.text("mode") not in MODES:
        return f"mode {row.text('mode')}"
    try:
        result = simulated(system, row)
    except (MappingError, SimulationError) as error:
        return str(error)
    return Prediction(row, row.number("s"), statistics.median_high(step_seconds(result, row.whole("steps"))))


def simulated(system: System, row: Measurement) -> Result:
    """The row's decode steps, one after another. Raises SpecError on a damaged row."""
    steps, layers, top_k, experts = (row.whole(key) for key in ("steps", "layers", "topk", "experts"))
    if steps * layers * top_k > MAX_COPIES:
        raise row.error("steps", f"makes more than {MAX_COPIES} copies")
    if top_k > experts:
        raise row.error("topk", f"{top_k} of {experts} experts")
    with row.placed():
        trace = layers_of(row, 1, 4, lambda layer: [_experts(row, layer, tuple(range(top_k)))])
        source = Steps(trace, steps, _routing(trace, drawn_ids(row), experts))
        return simulate(source, system, policy_of(policy(row)), seed=row.whole("plan_seed"))


def policy(row: Measurement) -> Mapping[str, object]:
    """The composition that does what the row's mode says, with a cache of ``slots`` experts per layer."""
    slots = row.count("slots")
    cache = {"kind": "lru", "experts": slots or row.whole("topk"), "per_layer": True, "warm": slots > 0,
             "forgets": slots == 0}  # fmt: skip
    ahead = {"kind": "guessed", "right": row.amount("right")}
    return {"residency": cache, "prefetch": ahead if row.text("mode") == "prefetch" else "none"}


def _experts(row: Measurement, layer: int, hit: Sequence[int]) -> Op:
    name, experts = f"layers.{layer}.experts", row.whole("experts")
    return ops.moe_ffn(
        1, row.whole("d"), row.whole("ff"), experts, row.whole("mats") == 3, row.dtype(),
        routing=Routing.from_ids([list(hit)], experts, "given"), name=name, module=name, weight=name, label=LOOP,
    )  # fmt: skip


def _routing(trace: Trace, ids: Ids, experts: int) -> list[dict[str, Routing]]:
    names = [op.name for op in trace.ops if op.definition.routed]
    return [
        {name: Routing.from_ids([own.tolist()], experts, "given") for name, own in zip(names, step, strict=True)}
        for step in ids
    ]


def _given_ids(row: Measurement) -> Ids:
    """The ids that a row has. Raises SpecError."""
    try:
        ids = np.array(row.fields["ids"])
    except ValueError:  # rows of unlike lengths
        ids = np.array(None)
    if ids.ndim != 3 or ids.dtype.kind != "i" or not ids.size:
        raise row.error("ids", f"{row.fields['ids']!r:.60} are not ids by step and layer")
    return ids


def drawn_ids(row: Measurement) -> Ids:
    """Ids of the experts hit, (steps, layers, top_k), in ascending order; those that the row has, or drawn anew.

    A layer's popularities fall as 1/rank**zipf over a permutation of its experts. The first token draws its experts
    without replacement by them (the largest of log-popularity plus Gumbel noise); each later one keeps an expert of the
    token before with probability ``reuse`` and draws the others.
    """
    if "ids" in row.fields:
        return _given_ids(row)
    steps, layers, top_k, experts = (row.whole(key) for key in ("steps", "layers", "topk", "experts"))
    if steps * layers * experts > MAX_DRAWS or top_k > experts:
        raise row.error("steps", f"{steps} steps of {layers} layers with top-{top_k} of {experts} experts; at most "
                                 f"{MAX_DRAWS} numbers are drawn")  # fmt: skip
    zipf, reuse = row.amount("zipf"), row.amount("reuse")
    rng = np.random.default_rng(row.whole("seed"))
    popularity = [-zipf * np.log(1 + rng.permutation(experts)) for _ in range(layers)]
    ids = np.zeros((steps, layers, top_k), np.int64)
    for step in range(steps):
        for layer in range(layers):
            kept = [expert for expert in ids[step - 1, layer] if rng.random() < reuse] if step else []
            noisy = popularity[layer] + rng.gumbel(size=experts)
            noisy[kept] = -np.inf
            drawn = np.argsort(-noisy)[: top_k - len(kept)]
            ids[step, layer] = np.sort([*kept, *drawn])
    return ids


def step_seconds(result: Result, steps: int) -> list[float]:
    """Seconds of each step, from the end of the step before to the end of its last op."""
    ends = [0.0] * steps
    for op in result.ops:
        first = op.name.partition(".")[0]
        step = int(first.removeprefix("step")) if first.startswith("step") and first[4:].isdigit() else 0
        ends[step] = max(ends[step], op.start_s + op.latency_s)
    return [end - before for before, end in pairwise([0.0, *ends])]
