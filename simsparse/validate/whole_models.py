# SPDX-License-Identifier: Apache-2.0
"""Predictions for rows that time whole layers of Hugging Face models: traced here, launched as PyTorch does."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from functools import cache, partial

from simsparse._simulate import simulate
from simsparse.config.hardware import System, system_of
from simsparse.config.quantity import Part
from simsparse.core import Op, OpKind, Routing, Sparsity, Trace
from simsparse.errors import SimsparseError
from simsparse.models.by_name import extract
from simsparse.validate.comparison import Prediction
from simsparse.validate.measurement import Measurement

MODELS: Mapping[str, str] = {
    "llama7b": "llama2-7b", "llama70b": "llama2-70b", "mixtral8x7b": "mixtral-8x7b", "opt6.7b": "opt-6.7b",
    "resnet50": "resnet-50",
}  # fmt: skip
"""Names of models in measurements, where they differ from those of simsparse.models.zoo."""
LAYERS = 2
"""Decoder layers of the trace; the last is compared, so that what happens once a pass is left out."""
ROUTED_FROM = 2
"""First of the layers whose routing was recorded that the measured seconds are a mean of."""


def predict_whole_models(part: Part, rows: Sequence[Measurement]) -> list[Prediction | str]:
    """Seconds per layer, or per pass of a model that is no decoder; in place of one that can't be made, why not."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None:
        return ["needs torch and transformers, to trace the model"] * len(rows)
    system = system_of(part)
    return [_predicted(system, row) for row in rows]


def _predicted(system: System, row: Measurement) -> Prediction | str:
    try:
        return Prediction(row, _measured(row), _seconds(system, row))
    except SimsparseError as error:
        return str(error)


def _measured(row: Measurement) -> float:
    return row.number("per_layer_s") if "per_layer_s" in row.fields else row.number("s")


def _seconds(system: System, row: Measurement) -> float:
    stack = "eager+graph" if row.text("mode") == "graph" else "eager"
    model = MODELS.get(row.text("model"), row.text("model"))
    whole = row.text("phase") == "forward"
    length = row.whole("seq") if row.fields.get("seq") else 1
    trace = _pruned(traced(model, row.text("phase"), row.whole("batch"), length, whole), row)
    found = [_layer_seconds(system, stack, each, whole) for each in _routed(trace, row)]
    return sum(found) / len(found)


def _layer_seconds(system: System, stack: str, trace: Trace, whole: bool) -> float:
    ops = trace.ops if whole else only_layer(trace.ops, LAYERS - 1)
    layer = Trace(trace.name, ops, trace.meta)
    return simulate(layer, system, level=0, stack=stack, keep="summary").latency_s


def _pruned(trace: Trace, row: Measurement) -> Trace:
    """``trace`` with 2:4 weights in every linear layer, where the row says so."""
    if row.fields.get("sparse24") is not True and row.fields.get("weight_sparsity") != "2:4":
        return trace
    sparsity = Sparsity.parse("2:4")
    return trace.map(lambda op: op.with_(weight_sparsity=sparsity) if op.kind == OpKind.LINEAR else op)


@cache
def traced(model: str, phase: str, batch: int, length: int, whole: bool) -> Trace:
    """A model of the zoo: all of it where ``whole``, else its first ``LAYERS`` decoder layers. Raises TraceError."""
    layers = None if whole else LAYERS
    return extract(model, phase, batch, length, length, layers=layers)  # type: ignore[arg-type]


def only_layer(ops: Sequence[Op], layer: int) -> tuple[Op, ...]:
    """The ops of one decoder layer, without what they depend on elsewhere."""
    own = [op for op in ops if f"layers.{layer}." in f"{op.module}." or f"layers.{layer}." in f"{op.name}."]
    names = {op.name for op in own}
    return tuple(op.with_(deps=tuple(dep for dep in op.deps if dep in names)) for op in own)


def _routed(trace: Trace, row: Measurement) -> list[Trace]:
    """``trace`` with the routing of each layer that was recorded; as it is without a record."""
    experts = next((op for op in trace.ops if op.kind == OpKind.MOE_FFN), None)
    if experts is None or "routed" not in row.fields:
        return [trace]
    return [trace.map(partial(_with_counts, counts)) for counts in _recorded(row, experts)]


def _recorded(row: Measurement, experts: Op) -> list[list[int]]:
    """Tokens of each expert, by layer, of the deepest model that was run. Raises SpecError."""
    recorded = row.fields["routed"]
    by_depth = (
        [layers for layers in recorded.values() if isinstance(layers, list)] if isinstance(recorded, dict) else []
    )
    layers: list[list[int]] = max(by_depth, key=len, default=[])[ROUTED_FROM:]
    routed = experts.dims["tokens"] * experts.dims["top_k"]
    fits = all(
        isinstance(counts, list) and len(counts) == experts.dims["experts"]
        and all(type(count) is int and count >= 0 for count in counts) and sum(counts) == routed
        for counts in layers
    )  # fmt: skip
    if not layers or not fits:
        raise row.error("routed", f"is not the tokens of {experts.dims['experts']} experts in layers, {routed} each")
    return layers


def _with_counts(counts: Sequence[int], op: Op) -> Op:
    return op.with_(routing=Routing(tuple(counts), origin="given")) if op.kind == OpKind.MOE_FFN else op
