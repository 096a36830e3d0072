# SPDX-License-Identifier: Apache-2.0
"""The contract of a sparse engine: a new one inherits one class and gets all checks."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from simsparse.core import DENSE, Sparsity
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, SparseEngine, Work
from simsparse.errors import SpecError
from simsparse.sparsity.nonzeros import NonZeros, effectual_macs

SHAPES = ((1, 1, 1), (3, 5, 7), (16, 40, 64), (33, 17, 130))
"""(m, n, k), ragged on any array."""
TYPICAL = (96, 128, 256)
"""(m, n, k) of the comparison of closed form and core."""


class EngineContract:
    """Inherit, set ``name``, ``engine`` and a small ``machine``; ``sparsities`` are (weights, inputs)."""

    name: ClassVar[str]
    engine: ClassVar[SparseEngine]
    machine: ClassVar[PeConfig]
    sparsities: ClassVar[tuple[tuple[str, str], ...]] = (
        ("dense", "dense"),
        ("unstructured:0.5", "dense"),
        ("unstructured:0.1", "unstructured:0.5"),
        ("unstructured:0.3", "unstructured:0.3"),
    )

    def run(
        self, shape: tuple[int, int, int], weights: str, inputs: str, seed: int = 0
    ) -> tuple[NonZeros, NonZeros, Work]:
        m, n, k = shape
        w = Sparsity.parse(weights).draw(n, k, seed)
        x = Sparsity.parse(inputs).draw(m, k, seed + 1)
        return w, x, self.engine.run(w, x, self.machine)

    def test_it_is_registered_and_says_what_its_settings_mean(self) -> None:
        assert ENGINES.get(self.name) is self.engine
        assert self.engine.name == self.name
        assert set(self.engine.settings) == set(self.machine.settings)
        assert all(self.engine.settings.values())

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_what_goes_in_comes_out(self, shape: tuple[int, int, int]) -> None:
        for weights, inputs in self.sparsities:
            w, x, work = self.run(shape, weights, inputs)
            assert work.macs == effectual_macs(w, x)
            assert sum(work.causes.values()) == work.cycles
            assert all(cycles >= 0 for cycles in work.causes.values()), work.causes
            assert work.macs <= work.cycles * self.machine.peak_macs
            assert 0 <= work.utilization(self.machine) <= 1

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_every_value_crosses_the_dram_at_least_once(self, shape: tuple[int, int, int]) -> None:
        for weights, inputs in self.sparsities:
            w, x, work = self.run(shape, weights, inputs)
            useful_x, useful_w = (x.col_counts * (w.col_counts > 0)).sum(), (w.col_counts * (x.col_counts > 0)).sum()
            assert 8 * work.dram_read >= min(w.nnz + x.nnz, useful_x + useful_w) * self.machine.value_bits
            assert (work.dram_read + work.dram_write) <= self.machine.dram_bytes * work.cycles * 1.001 + 64

    def test_nothing_to_do(self) -> None:
        empty = NonZeros.of(np.zeros((4, 8), np.bool_))
        work = self.engine.run(empty, NonZeros.dense(3, 8), self.machine)
        assert work.macs == 0 and work.cycles >= 0

    def test_operands_must_fit(self) -> None:
        with pytest.raises(SpecError, match="differ in k"):
            self.engine.run(NonZeros.dense(2, 8), NonZeros.dense(2, 7), self.machine)

    def test_runs_are_repeatable(self) -> None:
        assert self.run(TYPICAL, *self.sparsities[-1])[2] == self.run(TYPICAL, *self.sparsities[-1])[2]

    def test_denser_weights_are_never_faster(self) -> None:
        if not self.engine.denser_is_slower:
            assert "faster" in (type(self.engine).__doc__ or ""), "the docstring must say why"
            return
        m, n, k = 16, 40, 64
        order = np.random.default_rng(0).permutation(n * k)
        x = Sparsity.parse("unstructured:0.5").draw(m, k, 1)
        cycles = []
        for share in (0.05, 0.2, 0.4, 0.6, 0.8, 1.0):
            mask = np.zeros(n * k, np.bool_)
            mask[order[: round(share * n * k)]] = True
            cycles.append(self.engine.run(NonZeros.of(mask.reshape(n, k)), x, self.machine).cycles)
        assert cycles == sorted(cycles)

    def test_the_closed_form_agrees_with_the_core(self) -> None:
        for weights, inputs in self.sparsities:
            *_, work = self.run(TYPICAL, weights, inputs)
            expected = self.engine.expect(TYPICAL, Sparsity.parse(weights), Sparsity.parse(inputs), self.machine)
            assert expected.cycles == pytest.approx(work.cycles, rel=self.engine.tolerance), (weights, inputs)
            assert sum(expected.causes.values()) == expected.cycles
            assert expected.dram_read == pytest.approx(work.dram_read, rel=0.1)

    def test_a_dense_product_has_all_its_macs(self) -> None:
        m, n, k = TYPICAL
        assert self.engine.expect(TYPICAL, DENSE, DENSE, self.machine).macs == m * n * k
