"""Formats: what goes in comes out, and the bytes are the bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from simsparse.core import Sparsity, SparsityKind
from simsparse.formats import usual_format
from simsparse.formats.bitmap import Bitmap
from simsparse.formats.bits import pack, unpack
from simsparse.formats.bsr import Bsr
from simsparse.formats.compressed import Csc, Csr
from simsparse.formats.fan_in import ConstantFanIn

matrices = hnp.arrays(np.int16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=24),
                      elements=st.sampled_from([0, 0, 0, 1, 2, -3]))  # fmt: skip
sparsities = st.one_of(
    st.just("dense"),
    st.tuples(st.integers(1, 8), st.integers(0, 8)).map(lambda t: f"{t[0]}:{t[0] + t[1]}"),
    st.floats(0.01, 1.0).map(lambda d: f"unstructured:{d:.3f}"),
    st.tuples(st.integers(1, 6), st.floats(0.05, 1.0)).map(lambda t: f"block{t[0]}:{t[1]:.3f}"),
    st.tuples(st.integers(1, 20), st.floats(0.05, 1.0)).map(lambda t: f"bank{t[0]}:{t[1]:.3f}"),
).map(Sparsity.parse)


def example(sparsity: Sparsity, rows: int, cols: int) -> NDArray[Any]:
    """A matrix with exactly the non-zeros that ``sparsity`` keeps."""
    rng = np.random.default_rng([rows, cols])
    array = np.zeros((rows, cols), np.float32)
    if sparsity.kind is SparsityKind.UNSTRUCTURED:
        array.reshape(-1)[rng.permutation(rows * cols)[: sparsity.kept(rows, cols)]] = 1
    elif sparsity.kind is SparsityKind.BLOCK:
        edge = sparsity.block
        grid = np.zeros((-(-rows // edge), -(-cols // edge)))
        grid.reshape(-1)[rng.permutation(grid.size)[: -(-round(grid.size * sparsity.density * 1000) // 1000)]] = 1
        array += np.kron(grid, np.ones((edge, edge)))[:rows, :cols].astype(np.float32)
    else:
        group, keep = {
            SparsityKind.DENSE: (1, 1),
            SparsityKind.NM: (sparsity.m, sparsity.n),
            SparsityKind.BANK: (sparsity.block, max(1, round(sparsity.density * sparsity.block))),
        }[sparsity.kind]
        for row in array:
            for start in range(0, cols, group):
                width = min(group, cols - start)
                row[start + rng.permutation(width)[:keep]] = 1
    return array


@settings(max_examples=300, deadline=None)
@given(sparsities, st.integers(1, 20), st.integers(1, 40), st.sampled_from([4, 8, 16, 32]))
def test_sparsity_counts_the_bits_of_its_usual_format(sparsity: Sparsity, rows: int, cols: int, bits: int) -> None:
    array = example(sparsity, rows, cols)
    form = usual_format(sparsity, rows, cols)
    encoded = form.encode(array)
    np.testing.assert_array_equal(form.decode(encoded), array)
    assert encoded.bits(bits) == sparsity.stored_bits(rows, cols, bits)
    if sparsity.kind is not SparsityKind.BLOCK:
        assert np.count_nonzero(array) == sparsity.kept(rows, cols)


@settings(max_examples=200, deadline=None)
@given(matrices, st.integers(1, 5))
def test_unrestricted_formats_hold_any_matrix(array: NDArray[Any], edge: int) -> None:
    for form in (Bitmap(), Csr(), Csc(), Bsr(edge), ConstantFanIn(array.shape[1])):
        encoded = form.encode(array)
        np.testing.assert_array_equal(form.decode(encoded), array)
        assert form.stored_bits(array.shape, encoded.units, 16) == encoded.bits(16)


@given(st.integers(1, 32).flatmap(lambda w: st.tuples(st.just(w), st.lists(st.integers(0, 2**w - 1), max_size=40))))
def test_packing_keeps_numbers(case: tuple[int, list[int]]) -> None:
    width, numbers = case
    packed = pack(np.array(numbers, np.uint64), width)
    assert packed.nbytes == -(-width * len(numbers) // 8)
    assert unpack(packed, width, len(numbers)).tolist() == numbers
