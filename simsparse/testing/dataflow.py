# SPDX-License-Identifier: Apache-2.0
"""The contract of a dataflow."""

from __future__ import annotations

import numpy as np
import pytest

from simsparse.dataflow import DATAFLOWS, Dataflow, Gemms, PeArray

ARRAYS = (
    PeArray(4, 4),
    PeArray(32, 32),
    PeArray(8, 2, macs=4, skew=0.5, overlap=0.5, decode=3),
    PeArray(3, 7, macs=2, skew=0.0, overlap=1.0),
)


def shapes(keep: int = 1, group: int = 1) -> Gemms:
    """Small, ragged and large GEMMs."""
    rng = np.random.default_rng(0)
    m, n, k = rng.integers(1, 300, (3, 200))
    return Gemms.of([1, 1, 4096, *m], [1, 4096, 1, *n], [1, 4096, 11008, *k], keep, group)


class DataflowContract:
    """Inherit and set ``name`` and ``dataflow``."""

    name: str
    dataflow: Dataflow

    def test_it_is_registered(self) -> None:
        assert DATAFLOWS.get(self.name) is self.dataflow
        assert self.dataflow.name == self.name

    @pytest.mark.parametrize("array", ARRAYS, ids=str)
    @pytest.mark.parametrize(("keep", "group"), [(1, 1), (2, 4), (1, 4), (3, 8), (8, 8)])
    def test_utilization_is_at_most_one(self, array: PeArray, keep: int, group: int) -> None:
        gemms = shapes(keep, group)
        cycles = self.dataflow.cycles(gemms, array)
        assert (cycles == np.floor(cycles)).all()
        assert (gemms.macs <= cycles * array.pes * array.macs).all()

    @pytest.mark.parametrize("array", ARRAYS, ids=str)
    def test_denser_is_never_faster(self, array: PeArray) -> None:
        cycles = [self.dataflow.cycles(shapes(keep, 8), array) for keep in range(1, 8)]
        assert (np.diff(np.stack(cycles), axis=0) >= 0).all()

    @pytest.mark.parametrize("array", ARRAYS, ids=str)
    @pytest.mark.parametrize("dim", ["m", "n", "k"])
    def test_more_work_is_never_faster(self, array: PeArray, dim: str) -> None:
        gemms = shapes()
        dims = {"m": gemms.m, "n": gemms.n, "k": gemms.k}
        more = Gemms.of(**{**dims, dim: dims[dim] + 17})
        assert (self.dataflow.cycles(more, array) >= self.dataflow.cycles(gemms, array)).all()

    @pytest.mark.parametrize("array", ARRAYS, ids=str)
    def test_hiding_loads_never_costs(self, array: PeArray) -> None:
        at = [PeArray(array.rows, array.cols, array.macs, array.skew, share) for share in (0.0, 0.5, 1.0)]
        cycles = [self.dataflow.cycles(shapes(2, 4), one) for one in at]
        assert (np.diff(np.stack(cycles), axis=0) <= 0).all()

    @pytest.mark.parametrize("array", ARRAYS, ids=str)
    def test_tiles_lie_inside_the_gemm(self, array: PeArray) -> None:
        gemms = shapes()
        tokens, outputs = self.dataflow.tiles(gemms, array, partial_sums=1000)
        assert ((tokens >= 1) & (tokens <= gemms.m) & (outputs >= 1) & (outputs <= gemms.n)).all()
        assert (tokens * outputs <= max(1000, array.pes)).all()

    @pytest.mark.parametrize("array", ARRAYS, ids=str)
    def test_chunks_never_help(self, array: PeArray) -> None:
        gemms = shapes(2, 4)
        whole = self.dataflow.cycles(gemms, array)
        assert (self.dataflow.chunked_cycles(gemms, array, partial_sums=1 << 40) == whole).all()
        assert (self.dataflow.chunked_cycles(gemms, array, partial_sums=500) >= whole).all()

    @pytest.mark.parametrize("array", ARRAYS, ids=str)
    def test_every_operand_crosses_the_edge(self, array: PeArray) -> None:
        gemms = shapes(2, 4)
        for passes in self.dataflow.passes(gemms, array, self.dataflow.tiles(gemms, array, 1000)):
            assert (passes >= 1).all()
