# SPDX-License-Identifier: Apache-2.0
"""No weight stays: it is in a buffer while it is read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from simsparse.errors import SpecError
from simsparse.lowering.weight_source import HOST
from simsparse.lowering.weights import Weight, WeightScope
from simsparse.policies.part import View
from simsparse.policies.residency.base import RESIDENCIES, Cache, Room
from simsparse.policies.residency.streamed import Streamed


@RESIDENCIES.register("none")
@dataclass(frozen=True)
class KeepNone(Streamed):
    """Weights come from host memory whenever they are read.

    Options: ``what`` rests in host memory, ``experts`` or ``all`` weights; ``zero_copy``: kernels that gather rows of a
    table there read them over the link, in lines, where else the rows are copied first. Raises SpecError on other
    values.
    """

    name = "none"
    one_ahead = True
    what: str = WeightScope.EXPERTS
    zero_copy: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.what not in list(WeightScope):
            raise SpecError(f"{self.what!r}: expected {' or '.join(WeightScope)}", key="what")
        if not isinstance(self.zero_copy, bool):
            raise SpecError(f"{self.zero_copy!r} is neither true nor false", key="zero_copy")
        if self.zero_copy and self.home != HOST:
            raise SpecError("kernels read host memory alone; leave home out", key="zero_copy")

    @property
    def measures(self) -> bool:
        return self.zero_copy or super().measures

    @property
    def scope(self) -> WeightScope:
        return WeightScope(self.what)

    def cache(self, view: View) -> Cache:
        del view
        return OpBuffers()


class OpBuffers(Cache):
    """One buffer of the op that needs most; where weights come ahead, two of the window that needs most.

    The copies for window l+1 fill one of the two while window l reads the other.
    """

    def __init__(self) -> None:
        self._now, self._ahead, self._op = set[Weight](), set[Weight](), set[Weight]()
        self._most_of_an_op = self._most_ahead = 0

    @property
    def bytes(self) -> int:
        return self._most_of_an_op + 2 * self._most_ahead

    def begin_step(self) -> None:
        """Nothing lasts from op to op."""

    def holds(self, weight: Weight) -> bool:
        return weight in self._op or weight in self._now

    def bring(self, weight: Weight, *, ahead: bool) -> Room:
        buffer = self._ahead if ahead else self._op
        if weight in buffer or (weight in self._now and not ahead):
            return Room.HELD
        buffer.add(weight)
        return Room.MADE

    def read(self, weight: Weight) -> None:
        """A buffer keeps no order."""

    def end_op(self) -> None:
        self._most_of_an_op = max(self._most_of_an_op, _bytes(self._op))
        self._op = set()

    def end_window(self) -> None:
        self._most_ahead = max(self._most_ahead, _bytes(self._ahead))
        self._now, self._ahead = self._ahead, set()


def _bytes(weights: Iterable[Weight]) -> int:
    return sum(weight.bytes for weight in weights)
