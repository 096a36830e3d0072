# SPDX-License-Identifier: Apache-2.0
"""Caches keyed by identity."""

from __future__ import annotations

from simsparse.core.memo import by_identity


def test_equal_values_are_told_apart_and_numbers_are_not() -> None:
    calls: list[tuple[list[int], float]] = []

    @by_identity(maxsize=8)
    def total(values: list[int], factor: float) -> float:
        calls.append((values, factor))
        return factor * sum(values)

    first, second = [1, 2], [1, 2]
    assert total(first, 1000.5) == total(first, float("1000.5")) == total(second, 1000.5) == 3001.5
    assert total(first, 2.0) == 6
    assert [(values is first, factor) for values, factor in calls] == [(True, 1000.5), (False, 1000.5), (True, 2.0)]


def test_the_oldest_answer_is_forgotten() -> None:
    calls: list[str] = []
    remembered = by_identity(maxsize=2)(calls.append)
    texts = ["a", "b", "c"]
    for text in (*texts, "c", "a"):
        remembered(text)
    assert calls == ["a", "b", "c", "a"]
