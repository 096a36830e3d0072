# SPDX-License-Identifier: Apache-2.0
"""Collectives of other tools as those that a trace has."""

from __future__ import annotations

from simsparse.core import Op, ops
from simsparse.core.kinds.collective import COLLECTIVE
from simsparse.errors import SpecError, TraceError
from simsparse.trace.interchange.base import Notes

_SYNCHRONISE = {"barrier", "wait", "init"}


def collective(kind: str, size: int, ranks: int, notes: Notes, place: str) -> Op | None:
    """The collective ``kind`` of ``size`` input bytes of one rank; None for one that moves nothing.

    One with a root has it at the first rank. Raises TraceError on a name of none.
    """
    if kind in _SYNCHRONISE:
        notes.add(f"left out: {kind}, which moves no bytes", place)
        return None
    if not size:
        notes.add(f"left out: {kind} of no bytes", place)
        return None
    if kind in _ROOTED:
        notes.add(f"the root of a {kind} is taken to be the first rank", place)
    if kind not in COLLECTIVE.labels:
        raise TraceError(f"{kind} is no collective that a trace has; allowed: {', '.join(COLLECTIVE.labels)}")
    try:
        return ops.collective(kind, size, ranks)
    except SpecError as error:
        raise TraceError(error.message, key=error.key) from error


_ROOTED = {"broadcast", "reduce", "gather", "scatter"}
