# SPDX-License-Identifier: Apache-2.0
"""Formats: what goes in comes out, and the bytes are the bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from simsparse.core import Sparsity
from simsparse.errors import SpecError
from simsparse.sparsity.formats import Encoded, Format, convert, format_for, usual_format
from simsparse.sparsity.formats.bank import BankBalanced
from simsparse.sparsity.formats.base import SingleElements
from simsparse.sparsity.formats.bitmap import Bitmap
from simsparse.sparsity.formats.bits import pack, unpack
from simsparse.sparsity.formats.bsr import Bsr
from simsparse.sparsity.formats.compressed import Csc, Csr
from simsparse.sparsity.formats.coo import Coo
from simsparse.sparsity.formats.dense import Dense
from simsparse.sparsity.formats.fan_in import ConstantFanIn
from simsparse.sparsity.formats.grouped_nm import GroupedNM, pattern_order
from simsparse.sparsity.formats.nm import NMBitmap, NMCombinatorial, NMIndex
from simsparse.sparsity.formats.run_length import RunLength
from simsparse.sparsity.formats.sparse24_cutlass import Sparse24Cutlass
from simsparse.sparsity.formats.ternary_codebook import TernaryCodebook
from simsparse.sparsity.patterns.block import Block
from simsparse.sparsity.patterns.nmg import NMGrouped
from simsparse.sparsity.patterns.unstructured import Unstructured

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
    if isinstance(sparsity, Unstructured):
        array.reshape(-1)[rng.permutation(rows * cols)[: sparsity.kept(rows, cols)]] = 1
    elif isinstance(sparsity, Block):
        edge = sparsity.edge
        grid = np.zeros((-(-rows // edge), -(-cols // edge)))
        grid.reshape(-1)[rng.permutation(grid.size)[: -(-round(grid.size * sparsity.density * 1000) // 1000)]] = 1
        array += np.kron(grid, np.ones((edge, edge)))[:rows, :cols].astype(np.float32)
    else:
        keep, group = sparsity.groups or (1, 1)
        for row in array:
            for start in range(0, cols, group):
                width = min(group, cols - start)
                row[start + rng.permutation(width)[:keep]] = 1
    return array


@settings(max_examples=300)
@given(sparsities, st.integers(1, 20), st.integers(1, 40), st.sampled_from([4, 8, 16, 32]))
def test_sparsity_counts_the_bits_of_its_usual_format(sparsity: Sparsity, rows: int, cols: int, bits: int) -> None:
    array = example(sparsity, rows, cols)
    form = usual_format(sparsity, rows, cols)
    encoded = form.encode(array)
    np.testing.assert_array_equal(form.decode(encoded), array)
    assert encoded.bits(bits) == sparsity.stored_bits(rows, cols, bits)
    if not isinstance(sparsity, Block):
        assert np.count_nonzero(array) == sparsity.kept(rows, cols)


def free_formats(array: NDArray[Any]) -> list[Format]:
    """Formats that hold any array."""
    runs = [RunLength(bits, per_row) for bits in (1, 3, 8) for per_row in (False, True)]
    edges = [Bsr(1), Bsr(3), ConstantFanIn(array.shape[1]), BankBalanced(5, 5)]
    return [Dense(), Bitmap(), Csr(), Csc(), Coo(), *runs, *edges, NMCombinatorial(7, 7), NMBitmap(4, 4)]


def holds(form: Format, array: NDArray[Any]) -> Encoded:
    """``array`` in ``form``, after the laws of every format: it comes back, the formula counts the buffers' bits."""
    encoded = form.encode(array)
    np.testing.assert_array_equal(form.decode(encoded), array)
    assert form.stored_bits(array.shape, encoded.units, 16) == encoded.bits(16)
    if not isinstance(form, TernaryCodebook):
        assert form.units(array != 0) == encoded.units
    for name, buffer in encoded.metadata.items():
        assert buffer.nbytes == -(-encoded.metadata_bits[name] // 8)
    assert encoded.bits(16) <= 8 * encoded.stored_bytes(16) < encoded.bits(16) + 8 * (1 + len(encoded.metadata))
    return encoded


def same(one: Encoded, other: Encoded) -> bool:
    """Whether all buffers are equal to the byte."""
    return one.buffers.keys() == other.buffers.keys() and all(
        np.array_equal(buffer, other.buffers[name]) for name, buffer in one.buffers.items()
    )


@settings(max_examples=100)
@given(matrices)
def test_unrestricted_formats_hold_any_matrix(array: NDArray[Any]) -> None:
    for form in free_formats(array):
        holds(form, array)


@settings(max_examples=60)
@given(matrices, st.data())
def test_conversion_gives_what_encoding_gives(array: NDArray[Any], data: st.DataObject) -> None:
    forms = free_formats(array)
    source, target = data.draw(st.sampled_from(forms)), data.draw(st.sampled_from(forms))
    assert same(convert(source.encode(array), source, target), target.encode(array))


kept_of = st.integers(1, 32).flatmap(lambda m: st.tuples(st.integers(1, m), st.just(m)))


@settings(max_examples=100)
@given(kept_of, st.integers(1, 6), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_nm_metadata_convert_into_each_other(kept: tuple[int, int], rows: int, cols: int, seed: int) -> None:
    n, m = kept
    rng = np.random.default_rng(seed)
    array = np.zeros((rows, cols), np.int16)
    for row in array:
        for start in range(0, cols, m):
            width = min(m, cols - start)
            row[start + rng.permutation(width)[: rng.integers(n + 1)]] = rng.integers(1, 9)
    forms = [NMIndex(n, m), NMBitmap(n, m), NMCombinatorial(n, m), Csr(), RunLength(4, per_row=True)]
    encoded = [holds(form, array) for form in forms]
    for source, held in zip(forms, encoded, strict=True):
        for target, expected in zip(forms, encoded, strict=True):
            assert same(convert(held, source, target), expected)
    fewest = min(form.stored_bits((rows, cols), held.units, 0) for form, held in zip(forms[:3], encoded, strict=False))
    assert fewest == forms[2].stored_bits((rows, cols), encoded[2].units, 0)


@settings(max_examples=60)
@given(st.sampled_from([(1, 2, 1), (2, 4, 1), (2, 4, 4), (1, 4, 3), (3, 5, 2), (2, 2, 3)]), st.integers(1, 2),
       st.integers(1, 3), st.floats(0, 1), st.integers(0, 2**32 - 1))  # fmt: skip
def test_grouped_nm_holds_all_rows_that_share_the_patterns(nmg: tuple[int, int, int], chunks: int, blocks: int,
                                                           density: float, seed: int) -> None:  # fmt: skip
    """Each pattern in g rows of a chunk, rows shuffled, then some non-zeros removed: still the same chunk."""
    n, m, g = nmg
    rng = np.random.default_rng(seed)
    slots = np.array(pattern_order(n, m)).repeat(g, axis=0)
    array = np.zeros((chunks, blocks, len(slots), m), np.int16)
    for tile in array.reshape(-1, len(slots), m):
        np.put_along_axis(tile, rng.permutation(slots), rng.integers(1, 9, slots.shape), axis=1)
    array = array.swapaxes(1, 2).reshape(chunks * len(slots), blocks * m)
    holds(GroupedNM(n, m, g), array * (rng.random(array.shape) < density))


@settings(max_examples=150)
@given(st.sampled_from([(1, 3, 1), (2, 3, 2), (2, 4, 1), (3, 4, 2)]), st.integers(0, 2**32 - 1))
def test_grouped_nm_refuses_rows_only_if_no_matching_exists(nmg: tuple[int, int, int], seed: int) -> None:
    """Against scipy's maximum bipartite matching (Hopcroft-Karp), two tiles at a time."""
    csgraph = pytest.importorskip("scipy.sparse.csgraph")
    sparse = pytest.importorskip("scipy.sparse")
    n, m, g = nmg
    rng = np.random.default_rng(seed)
    slots = np.array(pattern_order(n, m)).repeat(g, axis=0)
    array = np.zeros((len(slots), 2, m), np.int8)
    for group in array.reshape(-1, m):
        group[rng.permutation(m)[: rng.integers(n + 1)]] = 1
    covers = np.zeros((len(slots), m), np.bool_)
    np.put_along_axis(covers, slots, True, axis=1)
    fits = [(array[:, None, tile] <= covers[None]).all(axis=2) for tile in range(2)]
    matched = [csgraph.maximum_bipartite_matching(sparse.csr_array(edges)) for edges in fits]
    array = array.reshape(len(slots), 2 * m)
    if all((found >= 0).all() for found in matched):
        holds(GroupedNM(n, m, g), array)
    else:
        with pytest.raises(SpecError, match="can't share"):
            GroupedNM(n, m, g).encode(array)


@settings(max_examples=60)
@given(st.sampled_from([Sparse24Cutlass(16), Sparse24Cutlass(32), Sparse24Cutlass(16, pairs=True)]),
       st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**32 - 1))  # fmt: skip
def test_cutlass_holds_what_nm_holds(form: Sparse24Cutlass, row_tiles: int, col_tiles: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    group = 2 if form.pairs else 4
    array = np.zeros((32 * row_tiles, 64 * col_tiles // group, group), np.int16)
    kept = rng.permuted(np.tile(np.arange(group), (*array.shape[:2], 1)), axis=2)[..., : group // 2]
    np.put_along_axis(array, kept, rng.integers(0, 3, kept.shape), axis=2)
    array = array.reshape(len(array), -1)
    encoded, index = holds(form, array), NMIndex(group // 2, group)
    assert same(convert(index.encode(array), index, form), encoded)
    assert np.count_nonzero(encoded.values) == np.count_nonzero(array)


@settings(max_examples=60)
@given(st.integers(1, 6), st.integers(1, 90), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_the_codebook_holds_any_ternary_rows(rows: int, cols: int, zeros: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    signs = rng.choice(np.array([-1, 1]), (rows, cols)) * (rng.random((rows, cols)) >= zeros)
    array = (signs * rng.integers(1, 9, (rows, 1))).astype(np.float32)
    form = TernaryCodebook()
    encoded = holds(form, array)
    assert form.units(signs) == encoded.units
    assert same(convert(Csr().encode(array), Csr(), form), encoded)


@settings(max_examples=200)
@given(matrices, st.data())
def test_wrong_numbers_are_errors_that_name_the_buffer(array: NDArray[Any], data: st.DataObject) -> None:
    """Any bits in any buffer: an array of the shape, or an error that names the format."""
    forms = [*free_formats(array), TernaryCodebook(), GroupedNM(2, 2, 3), NMIndex(5, 5)]
    form = data.draw(st.sampled_from(forms))
    encoded = form.encode(np.abs(array) // 2 if isinstance(form, TernaryCodebook) else array)
    metadata = {
        name: np.frombuffer(data.draw(st.binary(min_size=buffer.size, max_size=buffer.size)), np.uint8)
        for name, buffer in encoded.metadata.items()
    }
    spoiled = Encoded(encoded.shape, encoded.values, metadata, encoded.metadata_bits, encoded.units)
    try:
        assert form.decode(spoiled).shape == array.shape
    except SpecError as error:
        assert error.key is not None and error.key.startswith(form.name)


@pytest.mark.parametrize(("form", "buffer", "numbers", "width", "wrong"), [
    (Coo(), "rows", [3, 0], 16, "coo.rows: number 0 is 3; expected less than 2"),
    (Coo(), "rows", [1, 0], 16, "coo.cols: number 1 is not above the one before it"),
    (Csr(), "indexes", [4, 0], 16, "csr.indexes: number 0 is 4; expected less than 4"),
    (Csr(), "pointers", [0, 2, 1], 32, "csr.pointers: row 1 ends before it begins"),
    (Csr(), "pointers", [0, 1, 1], 32, "csr.pointers: from 0 to 1; expected 0 to 2"),
    (RunLength(4, False), "runs", [3, 4], 4, "run_length.runs: number 1 is 8; expected less than 8"),
    (NMIndex(1, 3), "nm_index", [3, 0, 0, 0], 2, "nm_index.nm_index: number 0 is 3; expected less than 3"),
    (NMBitmap(1, 4), "nm_bitmap", [0, 0, 0, 0, 0, 0, 0, 1], 1, "group 0 sets 0 bits; expected 1"),
    (NMCombinatorial(1, 3), "nm_combinatorial", [0, 3, 0, 0], 2, "number 1 is 3; expected less than 3"),
    (GroupedNM(1, 2, 1), "rows", [0, 0, 0, 1], 1, "nmg.rows: tile 0 does not name each of 2 rows once"),
    (TernaryCodebook(), "codes", [0, 0], 16, "row 0 holds 1 pairs; expected 2"),
])  # fmt: skip
def test_malformed_buffers(form: Format, buffer: str, numbers: list[int], width: int, wrong: str) -> None:
    array = np.array([[0, 1, 0, 0], [0, 0, 1, 0]], np.float32)
    encoded = form.encode(array)
    metadata = {**encoded.metadata, buffer: pack(np.array(numbers), width)}
    with pytest.raises(SpecError) as caught:
        form.decode(Encoded(encoded.shape, encoded.values, metadata, {}, encoded.units))
    assert wrong in str(caught.value)


@given(st.integers(1, 32).flatmap(lambda w: st.tuples(st.just(w), st.lists(st.integers(0, 2**w - 1), max_size=40))))
def test_packing_keeps_numbers(case: tuple[int, list[int]]) -> None:
    width, numbers = case
    packed = pack(np.array(numbers, np.uint64), width)
    assert packed.nbytes == -(-width * len(numbers) // 8)
    assert unpack(packed, width, len(numbers)).tolist() == numbers


STORAGES = ("dense", "bitmap", "csr", "csc", "coo", "bsr", "bsr:2", "bsr:8", "nm_index", "nm_bitmap",
            "nm_combinatorial", "nm_index:2:4", "bank", "bank:12:6", "fan_in", "fan_in:40", "nmg", "run_length",
            "run_length:2", "ternary_codebook", "sparse24_cutlass")  # fmt: skip
grouped = st.sampled_from(["nmg:2:4:1", "nmg:1:3:2"]).map(Sparsity.parse)


@settings(max_examples=300, deadline=None)
@given(sparsities | grouped, st.integers(1, 40), st.integers(1, 40), st.sampled_from(STORAGES))
def test_a_patterns_bits_are_those_of_the_encoded_matrix(
    sparsity: Sparsity, rows: int, cols: int, storage: str
) -> None:
    if sparsity.refusal(storage, rows, cols, 16):
        with pytest.raises(SpecError):
            sparsity.stored_bits(rows, cols, 16, storage)
        return
    form, stored = format_for(storage, sparsity, rows, cols, 16), sparsity.stored_bits(rows, cols, 16, storage)
    mask = sparsity.draw(rows, cols, 0).mask()
    if isinstance(form, SingleElements):  # these count non-zeros, of which a draw may have more or fewer
        mask = example(sparsity, rows, cols) != 0
    counted = form.signs(mask, np.random.default_rng(0))
    uneven = isinstance(sparsity, Block) and (rows % sparsity.edge or cols % sparsity.edge)
    tails = isinstance(sparsity, NMGrouped) and (rows % sparsity.rows_together or cols % sparsity.m)
    if not (isinstance(form, SingleElements) and (uneven or tails)):
        assert holds(form, counted.astype(np.float32)).bits(16) == stored
