# SPDX-License-Identifier: Apache-2.0
"""The contract of a sparsity pattern."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from simsparse.core import DENSE, Sparsity
from simsparse.errors import SpecError
from simsparse.sparsity import PATTERNS

SHAPES = ((1, 1), (5, 12), (24, 64), (50, 33))
BITS = (4, 16)


class SparsityContract:
    """Inherit, set ``name``, canonical ``texts`` and texts that are ``refused``."""

    name: str
    texts: tuple[str, ...]
    refused: tuple[str, ...] = ()

    @pytest.fixture(params=range(9))
    def sparsity(self, request: pytest.FixtureRequest) -> Sparsity:
        return Sparsity.parse(self.texts[request.param % len(self.texts)])

    @pytest.fixture(params=SHAPES, ids=str)
    def shape(self, request: pytest.FixtureRequest) -> tuple[int, int]:
        shape: tuple[int, int] = request.param
        return shape

    def test_it_is_registered(self, sparsity: Sparsity) -> None:
        assert PATTERNS.get(self.name) is type(sparsity) and sparsity.name == self.name

    def test_its_text_reads_back(self, sparsity: Sparsity) -> None:
        for text in (str(sparsity), sparsity.exact, f" {str(sparsity).upper()}"):
            assert Sparsity.parse(text) == sparsity == copy.copy(sparsity)
        assert str(sparsity) in self.texts and hash(Sparsity.parse(str(sparsity))) == hash(sparsity)

    def test_other_texts_are_refused(self) -> None:
        for text in self.refused:
            with pytest.raises(SpecError, match="is not a sparsity; expected dense, N:M such as 2:4"):
                Sparsity.parse(text)

    def test_it_stores_what_it_keeps(self, sparsity: Sparsity, shape: tuple[int, int]) -> None:
        """At least the bits of the kept values, and of the usual format those of its factors."""
        for bits in BITS:
            parts = [f.count * f.sparsity.stored_bits(f.rows, f.cols, bits) for f in sparsity.factors(*shape)]
            assert (
                sparsity.stored_bits(*shape, bits) == sum(parts) >= sparsity.kept(*shape) * bits * (sparsity.edge == 1)
            )
            assert sparsity.stored_bits(*shape, bits, "dense") == DENSE.stored_bits(*shape, bits)
        assert sparsity.kept(*shape) == sum(f.count * f.sparsity.kept(f.rows, f.cols) for f in sparsity.factors(*shape))

    def test_a_draw_is_the_same_every_time(self, sparsity: Sparsity, shape: tuple[int, int]) -> None:
        first, again = (sparsity.draw(*shape, seed=3) for _ in range(2))
        assert first.shape == shape
        np.testing.assert_array_equal(first.mask(), again.mask())

    def test_draws_of_other_seeds_differ(self, sparsity: Sparsity) -> None:
        one, other = (sparsity.draw(64, 96, seed).mask() for seed in (0, 1))
        assert sparsity.density == 1 or (one != other).any()

    def test_a_draw_has_the_density(self, sparsity: Sparsity) -> None:
        """Of 128 x 384 elements, within a tenth of the share (and one block)."""
        assert sparsity.draw(128, 384, 5).density == pytest.approx(sparsity.density, rel=0.1, abs=1 / 32)

    def test_a_draw_keeps_its_groups_and_blocks(self, sparsity: Sparsity, shape: tuple[int, int]) -> None:
        mask = sparsity.draw(*shape, seed=7).mask()
        if sparsity.groups is not None:
            keep, size = sparsity.groups
            whole = mask[:, : shape[1] // size * size].reshape(-1, size)
            assert (whole.sum(axis=1) == keep).all()
        for width in (1, 2, 3, 4, 8, 13, 40):
            parts = [mask[:, at : at + width].sum(axis=1).max(initial=0) for at in range(0, shape[1], width)]
            assert max(parts) <= sparsity.most(width)
        if sparsity.edge > 1:
            corners = mask[:: sparsity.edge, :: sparsity.edge]
            blocks = np.kron(corners, np.ones((sparsity.edge, sparsity.edge), np.bool_))
            np.testing.assert_array_equal(mask, blocks[: shape[0], : shape[1]])
