# SPDX-License-Identifier: Apache-2.0
"""Branch predictors on traces: what tables learn and what they can't, sparse models that find the position."""

from __future__ import annotations

import numpy as np

from simsparse.dataflow.branches import Tables, mispredicted, sparse_model

RNG = np.random.default_rng(3)


def wrong(addresses: list[int], taken: list[int]) -> np.ndarray:
    tables = Tables()
    return mispredicted(
        np.array(addresses, np.int64), np.array(taken, np.uint8), np.array(tables.histories, np.int64), tables.bits,
        tables.tag_bits,
    )  # fmt: skip


def test_tables_learn_patterns_and_not_coins() -> None:
    repeated = [1, 1, 0, 1, 0] * 400
    assert wrong([7] * 2000, repeated)[1000:].mean() < 0.02
    coins = RNG.integers(0, 2, 2000).tolist()
    assert 0.35 < wrong([7] * 2000, coins)[1000:].mean() < 0.65


def test_a_sparse_model_finds_the_branch_that_decides() -> None:
    """The last of 42 branches repeats the first, with coins between: 41 back; the tables can't hold 2^40 histories."""
    addresses = [1, *[2] * 40, 3] * 300
    taken = np.concatenate([[a, *RNG.integers(0, 2, 40), a] for a in RNG.integers(0, 2, 300)]).astype(np.uint8)
    places = np.flatnonzero(np.array(addresses) == 3)
    places = places[places >= 512]
    model = sparse_model(taken, places[:100], 2)
    assert 41 in model.positions and model.storage_bits == 2 * 10 + 4 * 2
    assert (model.predictions(taken, places[100:]) == taken[places[100:]]).all()
    assert wrong(addresses, taken.tolist())[places[100:]].mean() > 0.3
