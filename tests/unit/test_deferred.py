# SPDX-License-Identifier: Apache-2.0
"""Sequences that are made when they are first read: made once, equal to tuples, kept by copies in other processes."""

from __future__ import annotations

import pickle

import simsparse as ss
from simsparse.core.deferred import Deferred


def test_elements_are_made_once_and_when_they_are_read() -> None:
    made = []

    def make() -> tuple[int, ...]:
        made.append(1)
        return 3, 1, 2

    found = Deferred(make)
    assert made == []
    assert (len(found), found[0], found[1:], list(found), repr(found)) == (3, 3, (1, 2), [3, 1, 2], "(3, 1, 2)")
    assert made == [1]


def test_they_equal_what_they_hold() -> None:
    assert Deferred(lambda: (1, 2)) == (1, 2) == Deferred(lambda: (1, 2))
    assert Deferred(lambda: (1, 2)) != (1, 3)
    assert hash(Deferred(lambda: (1, 2))) == hash((1, 2))


def test_results_travel_whole() -> None:
    trace = ss.TraceBuilder("two").add(ss.ops.linear(m=8, n=64, k=64)).add(ss.ops.linear(m=8, n=64, k=64)).build()
    result = ss.simulate(trace, "systems/h100-pcie5")
    copy = pickle.loads(pickle.dumps(result))
    assert type(copy.ops) is tuple and len(copy.ops) == 2
    assert copy.ops == result.ops and copy.timeline.spans == result.timeline.spans
