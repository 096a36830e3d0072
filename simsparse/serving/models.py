# SPDX-License-Identifier: Apache-2.0
"""Models to serve by name: from a trace of a decode step that ships, else traced with torch."""

from __future__ import annotations

from functools import lru_cache

from simsparse.core import Trace
from simsparse.core.memo import by_identity
from simsparse.errors import SpecError, nearest
from simsparse.models.zoo import MODELS
from simsparse.paths import data_root, find_file, is_file
from simsparse.serving.model import ServedModel, TracedModel
from simsparse.trace.file import load_trace


def model_of(model: str | Trace | ServedModel) -> ServedModel:
    """The model to serve: one of the zoo by name, a trace of a decode step or its file, or a model itself.

    A name is looked up among the shipped decode traces, then traced with torch. Raises SpecError on an unknown
    name, TraceError without torch.
    """
    if isinstance(model, ServedModel):
        return model
    return _traced(model) if isinstance(model, Trace) else _named(model)


@by_identity(maxsize=16)
def _traced(trace: Trace) -> ServedModel:
    return TracedModel(trace)


@lru_cache(maxsize=16)
def _named(name: str) -> ServedModel:
    if name.endswith(".trace"):
        return TracedModel(load_trace(find_file(name)))
    if name not in MODELS:
        raise SpecError(f"{name!r} is neither a model nor a trace file; {nearest(name, MODELS)}", key="model")
    shipped = data_root() / "traces" / "serving" / f"{name}.trace"
    alone = data_root() / "traces" / f"{name}-decode-b1.trace"
    for path in (shipped, alone):
        if is_file(path):
            return TracedModel(load_trace(path))
    from simsparse.models.by_name import extract

    return TracedModel(extract(name, "decode", 1))
