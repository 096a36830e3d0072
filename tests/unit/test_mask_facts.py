# SPDX-License-Identifier: Apache-2.0
"""The structure of masks, against counting by hand."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays

from simsparse.trace.statistics.mask_facts import (
    BANKS,
    GROUPS,
    QUANTILES,
    conforming,
    mask_facts,
    nm_patterns,
    pattern_of,
)

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=70))


def groups_of(row: np.ndarray, m: int) -> list[int]:
    return [int(row[i : i + m].sum()) for i in range(0, len(row), m)]


def close(share: float, exact: float) -> bool:
    return share == exact if exact in (0.0, 1.0) else 0 < share < 1 and abs(share - exact) <= 1e-4


@given(MASKS)
def test_every_fact_is_what_counting_gives(mask: np.ndarray) -> None:
    facts = mask_facts(mask)
    assert close(facts["density"], mask.mean())
    if mask.all():
        assert set(facts) == {"density"}
        return
    rows, k = mask.shape
    for m in GROUPS:
        counts = [count for row in mask for count in groups_of(row, m)]
        assert all(close(facts["groups"][str(m)][n], counts.count(n) / len(counts)) for n in range(m + 1))
        assert conforming(facts, m // 2, m) == pytest.approx(sum(c <= m // 2 for c in counts) / len(counts), abs=2e-3)
    for m in (m for m in BANKS if m <= k):
        banks = sorted(int(row[i : i + m].sum()) for row in mask for i in range(0, k - m + 1, m))
        assert facts["banks"][str(m)] == [banks[0], banks[(len(banks) - 1) // 2], banks[-1]]
    for edge in (4, 8, 16, 32):
        corners = list(product(range(0, rows, edge), range(0, k, edge)))
        hit = [mask[i : i + edge, j : j + edge].any() for i, j in corners]
        assert close(facts["blocks"][str(edge)], float(np.mean(hit)))
    for name, counts, size in (("rows", mask.sum(axis=1), k), ("columns", mask.sum(axis=0), rows)):
        ordered = sorted(counts)
        expected = [ordered[int(q * (len(ordered) - 1))] / size for q in QUANTILES]
        assert all(close(share, exact) for share, exact in zip(facts[name], expected, strict=True))
        assert close(facts[f"zero_{name}"], ordered.count(0) / len(ordered))


@given(MASKS)
def test_a_pattern_holds_in_every_group(mask: np.ndarray) -> None:
    for pattern in nm_patterns(mask):
        assert all(count <= pattern.n for row in mask for count in groups_of(row, pattern.m))


@given(MASKS)
def test_the_chosen_pattern_never_stores_fewer_than_the_non_zeros(mask: np.ndarray) -> None:
    pattern = pattern_of(mask, 16)
    assert pattern.stored_bits(*mask.shape, 16) >= 16 * int(mask.sum())


def test_shares_that_round_are_never_called_none_or_all() -> None:
    mask = np.ones((500, 500), bool)
    mask[0, 0] = False
    assert mask_facts(mask)["density"] == 0.9999
    assert mask_facts(~mask)["density"] == 0.0001


def scattered(kept: int, shape: tuple[int, int]) -> np.ndarray:
    order = np.random.default_rng(0).permutation(shape[0] * shape[1])
    return (order < kept).reshape(shape)


@pytest.mark.parametrize(
    ("mask", "pattern"),
    [
        (np.tile([True, True, False, False], (8, 16)), "2:4"),
        (np.tile([True, False, False, False], (8, 16)), "1:4"),
        (np.kron(np.eye(8, dtype=bool), np.ones((16, 16), bool)), "block16:0.125"),
        (np.stack([np.isin(np.arange(128) % 64, np.random.default_rng(i).permutation(64)[:6]) for i in range(99)]),
         "bank64:0.09375"),
        (scattered(4096, (512, 80)), "unstructured:0.1"),
        (scattered(28672, (512, 80)), "unstructured:0.7"),
        (scattered(36864, (512, 80)), "dense"),
        (np.zeros((4, 64), bool), "1:32"),
    ],
)  # fmt: skip
def test_a_pattern_is_known_again(mask: np.ndarray, pattern: str) -> None:
    assert str(pattern_of(mask, 16)) == pattern


def test_a_few_more_zeros_do_not_hide_a_2_4_pattern() -> None:
    mask = np.tile([True, True, False, False], (64, 64))
    mask[3, 4] = mask[9, 8] = False
    assert str(pattern_of(mask, 16)) == "2:4"
