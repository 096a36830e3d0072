# SPDX-License-Identifier: Apache-2.0
"""Action counts: what hardware did, before anyone says what it cost."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping

from simsparse.core.varying_arrays import whole

Action = tuple[str, str]


class ActionCounts(Mapping[Action, int]):
    """Immutable integer counts of (component, action), e.g. ``("hbm", "read_byte")``.

    Counts add up with ``+`` and scale with ``*``; energy is a price on them (simsparse.lowering.energy), so
    energy can be checked by conservation laws.
    """

    __slots__ = ("_counts",)

    def __init__(self, counts: Mapping[Action, int] | None = None) -> None:
        self._counts = {key: whole(value) for key, value in (counts or {}).items() if value}

    @classmethod
    def of_whole(cls, counts: dict[Action, int]) -> ActionCounts:
        """``counts`` as they are: plain integers, none of them 0."""
        made = cls.__new__(cls)
        made._counts = counts
        return made

    def __getitem__(self, key: Action) -> int:
        return self._counts[key]

    def __iter__(self) -> Iterator[Action]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)

    def items(self) -> ItemsView[Action, int]:
        """The counts by action."""
        return self._counts.items()

    def of(self, component: str, action: str) -> int:
        """The count of one action, 0 when it never happened."""
        return self._counts.get((component, action), 0)

    def __add__(self, other: ActionCounts) -> ActionCounts:
        return ActionCounts.total((self, other))

    def __mul__(self, times: int) -> ActionCounts:
        return ActionCounts({key: value * times for key, value in self._counts.items()})

    @staticmethod
    def total(parts: Iterator[ActionCounts] | tuple[ActionCounts, ...] | list[ActionCounts]) -> ActionCounts:
        """The sum of many counts."""
        sums: dict[Action, int] = {}
        for part in parts:
            for key, value in part._counts.items():
                sums[key] = sums.get(key, 0) + value
        return ActionCounts(sums)

    def __repr__(self) -> str:
        return f"ActionCounts({self._counts!r})"
