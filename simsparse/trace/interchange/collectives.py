# SPDX-License-Identifier: Apache-2.0
"""Collectives of other tools as those that a trace has."""

from __future__ import annotations

from simsparse.core import Op, ops
from simsparse.errors import SpecError, TraceError
from simsparse.trace.interchange.base import Notes

_SAME = {"all_reduce", "all_gather", "all_to_all", "reduce_scatter", "send_recv"}
_SYNCHRONISE = {"barrier", "wait", "init"}


def collective(kind: str, size: int, ranks: int, notes: Notes, place: str) -> Op | None:
    """The collective ``kind`` of ``size`` input bytes of one rank; None for one that moves nothing.

    One with a root is taken as the collective without one that moves as many bytes through each rank's link on a ring:
    a broadcast as the all_gather of 1 / ``ranks`` of it, a reduce as a reduce_scatter, a gather as an all_gather.
    Raises TraceError on any other name.
    """
    if kind in _SYNCHRONISE:
        notes.add(f"left out: {kind}, which moves no bytes", place)
        return None
    if not size:
        notes.add(f"left out: {kind} of no bytes", place)
        return None
    if kind in _ROOTED:
        other = _ROOTED[kind]
        notes.add(f"{kind} is taken as {other}{' of its part of each rank' * (kind == 'broadcast')}", place)
        kind, size = other, -(-size // ranks) if kind == "broadcast" else size
    if kind not in _SAME:
        raise TraceError(f"{kind} is no collective that a trace has; allowed: {', '.join(sorted(_SAME | {*_ROOTED}))}")
    try:
        return ops.collective(kind, size, ranks)
    except SpecError as error:
        raise TraceError(error.message, key=error.key) from error


_ROOTED = {"broadcast": "all_gather", "reduce": "reduce_scatter", "gather": "all_gather"}
