# SPDX-License-Identifier: Apache-2.0
"""Models to serve by name: from a trace of a decode step that ships, else traced with torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from simsparse.config.hardware import System
from simsparse.config.layout import Layout
from simsparse.core import Trace
from simsparse.core.memo import by_identity
from simsparse.errors import SpecError, nearest
from simsparse.models.zoo import MODELS
from simsparse.paths import data_root, find_file, is_file
from simsparse.serving.layouts import ranked
from simsparse.serving.model import ServedModel, TracedModel, with_weights
from simsparse.trace.file import load_trace


def model_of(model: str | Trace | ServedModel, system: System, layout: Layout, weights: str = "") -> Placed:
    """The model to serve and the system that one rank of it sees.

    ``model``: one of the zoo by name, a trace of a decode step or its file, or a model itself. A name is looked up
    among the shipped decode traces, then traced with torch. ``weights``: type of the products of its layers. Raises
    SpecError on an unknown name, TraceError without torch, MappingError where the layout does not fit.
    """
    if isinstance(model, ServedModel):
        if layout.said or weights:
            raise SpecError("a layout or a type of weights needs a trace or a model's name", key="parallel")
        return Placed(model, system)
    trace = model if isinstance(model, Trace) else trace_named(model)
    return _placed(trace)(_Given(system), layout, weights)


class Placed(NamedTuple):
    """A model and the system on which one rank of it runs."""

    model: ServedModel
    system: System


class _Given:
    """A system that is equal to another with the same values."""

    def __init__(self, system: System) -> None:
        self.system = system

    def __hash__(self) -> int:
        return hash(self.system.fingerprint)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Given) and (self.system.name, self.system.fingerprint) == (
            other.system.name, other.system.fingerprint)  # fmt: skip


@by_identity(maxsize=16)
def _placed(trace: Trace) -> Callable[[_Given, Layout, str], Placed]:
    @lru_cache(maxsize=16)
    def placed(given: _Given, layout: Layout, weights: str) -> Placed:
        system, own = ranked(given.system, with_weights(trace, weights) if weights else trace, layout)
        return Placed(TracedModel(own), system)

    return placed


@lru_cache(maxsize=16)
def trace_named(name: str) -> Trace:
    """A decode trace: a file, or that of a model of the zoo. Raises SpecError, TraceError."""
    if name.endswith(".trace"):
        return load_trace(find_file(name))
    if name not in MODELS:
        raise SpecError(f"{name!r} is neither a model nor a trace file; {nearest(name, MODELS)}", key="model")
    shipped = data_root() / "traces" / f"{name}-decode-b1.trace"
    if is_file(shipped):
        return load_trace(shipped)
    from simsparse.models.by_name import extract

    return extract(name, "decode", 1)
