# SPDX-License-Identifier: Apache-2.0
"""Experts of the next layer that went with those of this one before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from simsparse.lowering.weights import Weight
from simsparse.policies.part import View
from simsparse.policies.prefetch.base import PREFETCHES, Prefetch


@PREFETCHES.register("co_activated")
@dataclass(frozen=True)
class CoActivated(Prefetch):
    """As many experts of the next layer as this one reads: those most often read after the same experts.

    It counts pairs of experts of neighbouring layers in the steps so far; of equals, the first come first. The copies
    go out when the current layer's gate has run. The first step has no counts and copies nothing ahead.
    """

    name = "co_activated"
    at_gate = True
    lookahead = 1  # for which experts there are, not which are read

    def begin(self, view: View) -> Callable[[], Iterable[Weight]]:
        return _Pairs(view).ahead

    def ahead(self, view: View) -> tuple[Weight, ...]:
        del view
        return ()


class _Pairs:
    """How often an expert was read after one of the layer before, in one run."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._after: dict[Weight, Counter[Weight]] = {}
        self._before: tuple[Weight, ...] = ()

    def ahead(self) -> tuple[Weight, ...]:
        if self._view.begins:
            self._before = ()
            return ()
        read = self._view.now
        for weight in self._before:
            self._after.setdefault(weight, Counter()).update(read)
        if read:
            self._before = read
        stored, counts = self._view.stored(), Counter[Weight]()
        for weight in read:
            counts.update(self._after.get(weight, {}))
        ranked = sorted((weight for weight in stored if counts[weight]), key=lambda weight: -counts[weight])
        return tuple(ranked[: len(read)])
