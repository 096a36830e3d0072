# SPDX-License-Identifier: Apache-2.0
"""Every registered format keeps the contract."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise, product
from math import comb
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simsparse.errors import SpecError
from simsparse.sparsity.formats import FORMATS, convert
from simsparse.sparsity.formats.bank import BankBalanced
from simsparse.sparsity.formats.bitmap import Bitmap
from simsparse.sparsity.formats.bits import kept_first, unpack
from simsparse.sparsity.formats.bsr import Bsr
from simsparse.sparsity.formats.compressed import Csc, Csr
from simsparse.sparsity.formats.coo import Coo
from simsparse.sparsity.formats.dense import Dense
from simsparse.sparsity.formats.fan_in import ConstantFanIn
from simsparse.sparsity.formats.grouped_nm import GroupedNM, pattern_order
from simsparse.sparsity.formats.nm import NMBitmap, NMCombinatorial, NMIndex
from simsparse.sparsity.formats.run_length import RunLength
from simsparse.sparsity.formats.sparse24_cutlass import Sparse24Cutlass, metadata_places
from simsparse.sparsity.formats.ternary_codebook import TernaryCodebook, dictionary
from simsparse.testing import FormatContract


def keep_first(array: NDArray[Any], group: int, keep: int) -> NDArray[Any]:
    """At most ``keep`` non-zeros in each ``group`` of a row, element by element."""
    out = array.copy()
    for row in out:
        for start in range(0, len(row), group):
            kept = np.flatnonzero(row[start : start + group])
            row[start + kept[keep:]] = 0
    return out


class TestDense(FormatContract):
    name, form = "dense", Dense()


class TestNMIndex(FormatContract):
    name, form = "nm_index", NMIndex(2, 4)

    def conform(self, array: NDArray[Any]) -> NDArray[Any]:
        return keep_first(array, 4, 2)


class TestNMBitmap(FormatContract):
    name, form = "nm_bitmap", NMBitmap(3, 8)

    def conform(self, array: NDArray[Any]) -> NDArray[Any]:
        return keep_first(array, 8, 3)


class TestNMCombinatorial(FormatContract):
    name, form = "nm_combinatorial", NMCombinatorial(3, 8)

    def conform(self, array: NDArray[Any]) -> NDArray[Any]:
        return keep_first(array, 8, 3)


class TestGroupedNM(FormatContract):
    name, form = "nmg", GroupedNM(2, 4, 3)

    def conform(self, array: NDArray[Any]) -> NDArray[Any]:
        """Row r of a chunk keeps what pattern r covers, if only by turns, so that every pattern is used."""
        turns = np.array(pattern_order(2, 4))[np.arange(len(array)) * 5 % 6]
        mask = np.zeros((len(array), -(-array.shape[1] // 4), 4), np.bool_)
        np.put_along_axis(mask, turns[:, None, :].repeat(mask.shape[1], axis=1), True, axis=2)
        return array * mask.reshape(len(array), -1)[:, : array.shape[1]]


class TestSparse24Cutlass(FormatContract):
    name, form = "sparse24_cutlass", Sparse24Cutlass(16)
    shapes = ((32, 32), (64, 96))

    def conform(self, array: NDArray[Any]) -> NDArray[Any]:
        return keep_first(array, 4, 2)


class TestBitmap(FormatContract):
    name, form = "bitmap", Bitmap()


class TestCsr(FormatContract):
    name, form = "csr", Csr()


class TestCsc(FormatContract):
    name, form = "csc", Csc()


class TestCoo(FormatContract):
    name, form = "coo", Coo()


class TestRunLength(FormatContract):
    name, form = "run_length", RunLength(2, per_row=True)


class TestBsr(FormatContract):
    name, form = "bsr", Bsr(4)


class TestBankBalanced(FormatContract):
    name, form = "bank", BankBalanced(16, 3)

    def conform(self, array: NDArray[Any]) -> NDArray[Any]:
        return keep_first(array, 16, 3)


class TestConstantFanIn(FormatContract):
    name, form = "fan_in", ConstantFanIn(5)

    def conform(self, array: NDArray[Any]) -> NDArray[Any]:
        return keep_first(array, array.shape[1], 5)


class TestTernaryCodebook(FormatContract):
    name, form = "ternary_codebook", TernaryCodebook()

    def conform(self, array: NDArray[Any]) -> NDArray[Any]:
        scales = np.arange(1, len(array) + 1, dtype=np.float32)[:, None]
        return np.where(array == 0, 0, np.where(array < 50, -scales, 2 * scales))

    def counted(self, array: NDArray[Any]) -> NDArray[Any]:
        return np.sign(array)

    def test_every_non_zero_is_stored(self, array: NDArray[Any]) -> None:
        stored = self.form.encode(array).values.reshape(-1, 2)
        assert [set(row[row != 0]) for row in array] == [set(row[row != 0]) for row in stored]


def test_every_format_is_under_contract() -> None:
    assert {contract.name for contract in FormatContract.__subclasses__()} == set(FORMATS)


@pytest.mark.parametrize("form", [NMIndex(2, 4), NMBitmap(2, 4), NMCombinatorial(2, 4), BankBalanced(4, 2),
                                  ConstantFanIn(2)])  # fmt: skip
def test_too_many_non_zeros_are_refused(form: Any) -> None:
    array = np.ones((3, 4), np.float32)
    array[:2, 2:] = 0
    with pytest.raises(SpecError, match="row 2 keeps more than 2"):
        form.encode(array)


@pytest.mark.parametrize("make", [lambda: NMIndex(5, 4), lambda: NMBitmap(0, 4), lambda: Bsr(0),
                                  lambda: BankBalanced(4, 5), lambda: ConstantFanIn(0), lambda: NMCombinatorial(2, 33),
                                  lambda: RunLength(0, False), lambda: Sparse24Cutlass(8),
                                  lambda: Sparse24Cutlass(32, pairs=True), lambda: GroupedNM(2, 4, 0),
                                  lambda: GroupedNM(16, 32, 1)])  # fmt: skip
def test_bad_parameters_are_refused(make: Any) -> None:
    with pytest.raises(SpecError):
        make()


def test_published_sizes() -> None:
    """2:4 in bf16 takes 9/16 of dense; 1:4 with 2-bit indexes 18/64; CSR by scipy's own count."""
    assert NMIndex(2, 4).stored_bits((8, 64), 8 * 32, 16) == 8 * 64 * 9
    assert NMIndex(1, 4).stored_bits((8, 64), 8 * 16, 16) * 64 == 8 * 64 * 16 * 18


def test_csr_is_scipys() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    rng = np.random.default_rng(3)
    array = rng.random((19, 70)) * (rng.random((19, 70)) < 0.2)
    theirs = sparse.csr_array(array)
    ours = Csr().encode(array)
    np.testing.assert_array_equal(ours.values, theirs.data)
    np.testing.assert_array_equal(ours.metadata["indexes"].view("<u2"), theirs.indices)
    np.testing.assert_array_equal(ours.metadata["pointers"].view("<u4"), theirs.indptr)


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 127, 128, 129, 300])
def test_kept_slots_are_all_that_are_set_then_the_first_others(size: int) -> None:
    rng = np.random.default_rng(size)
    mask = rng.random((11, size)) < rng.random((11, 1))
    mask[:2] = [[True], [False]]
    for keep in {1, size // 2, size, size + 3} - {0}:
        for row, found in zip(mask, kept_first(mask, keep), strict=True):
            order = [*np.flatnonzero(row), *np.flatnonzero(~row)]
            assert found.tolist() == sorted(order[:keep])


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 4), (2, 4), (4, 8), (3, 6), (2, 32), (32, 32), (30, 32)])
def test_combinations_are_numbered_in_order(n: int, m: int) -> None:
    """Colexicographic order, all numbers used: brute force over itertools.combinations."""
    kept = sorted(combinations(range(m), n), key=lambda positions: positions[::-1])
    array = np.zeros((len(kept), m), np.int8)
    np.put_along_axis(array, np.array(kept), 1, axis=1)
    form = NMCombinatorial(n, m)
    encoded = form.encode(array)
    width = (comb(m, n) - 1).bit_length()
    assert encoded.metadata_bits == ({"nm_combinatorial": width * len(kept)} if width else {})
    if width:
        assert unpack(encoded.metadata["nm_combinatorial"], width, len(kept)).tolist() == list(range(len(kept)))
    np.testing.assert_array_equal(form.decode(encoded), array)


@pytest.mark.parametrize(("n", "m", "index", "bitmap", "combinatorial"), [
    (1, 2, 1, 2, 1), (2, 4, 4, 4, 3), (1, 4, 2, 4, 2), (4, 8, 12, 8, 7), (2, 8, 6, 8, 5), (1, 8, 3, 8, 3),
    (2, 16, 8, 16, 7), (1, 16, 4, 16, 4), (8, 32, 40, 32, 24)])  # fmt: skip
def test_metadata_of_a_group(n: int, m: int, index: int, bitmap: int, combinatorial: int) -> None:
    kinds = ((NMIndex, index), (NMBitmap, bitmap), (NMCombinatorial, combinatorial))
    assert [form(n, m).stored_bits((1, m), n, 0) for form, _ in kinds] == [bits for _, bits in kinds]


def test_run_length_is_the_example_of_eie() -> None:
    """The column of the EIE paper (recalled, to be checked): 18 zeros need a zero that is stored."""
    column = np.array([[0, 0, 1, 2, *[0] * 18, 3]])
    encoded = RunLength(4, per_row=False).encode(column)
    assert encoded.values.tolist() == [1, 2, 0, 3]
    assert unpack(encoded.metadata["runs"], 4, 4).tolist() == [2, 0, 15, 2]


def test_coo_is_scipys() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    rng = np.random.default_rng(5)
    array = rng.random((19, 70)) * (rng.random((19, 70)) < 0.2)
    theirs, ours = sparse.coo_array(array), Coo().encode(array)
    np.testing.assert_array_equal(ours.values, theirs.data)
    np.testing.assert_array_equal(ours.metadata["rows"].view("<u2"), theirs.coords[0])
    np.testing.assert_array_equal(ours.metadata["cols"].view("<u2"), theirs.coords[1])


@pytest.mark.torch
@pytest.mark.parametrize(("kind", "form"), [("int8", Sparse24Cutlass(32)), ("float16", Sparse24Cutlass(16)),
                                            ("float32", Sparse24Cutlass(16, pairs=True))])  # fmt: skip
@pytest.mark.parametrize("shape", [(32, 128), (64, 256), (96, 384)])
def test_cutlass_buffers_are_those_of_torch(kind: str, form: Sparse24Cutlass, shape: tuple[int, int]) -> None:
    """Values and metadata as PyTorch's tensor class holds them, and its buffers decoded here."""
    torch = pytest.importorskip("torch")
    from torch.sparse import _semi_structured_conversions as conversions

    rng = np.random.default_rng(shape)
    group = 2 if form.pairs else 4
    array = keep_first(rng.integers(-2, 3, shape).astype(kind), group, group // 2)
    packed, meta = conversions.sparse_semi_structured_from_dense_cutlass(torch.from_numpy(array))
    encoded = form.encode(array)
    np.testing.assert_array_equal(encoded.values.reshape(packed.shape), packed.numpy())
    np.testing.assert_array_equal(encoded.metadata["metadata"], meta.numpy().reshape(-1).view(np.uint8))
    theirs = replace(encoded, values=packed.numpy().reshape(-1))
    np.testing.assert_array_equal(form.decode(theirs), array)
    back = conversions.sparse_semi_structured_to_dense_cutlass(
        torch.from_numpy(encoded.values.reshape(packed.shape)),
        torch.from_numpy(encoded.metadata["metadata"].view(meta.numpy().dtype).reshape(meta.shape)),
    )
    np.testing.assert_array_equal(back.numpy(), array)


@pytest.mark.torch
@pytest.mark.parametrize("word_bits", [16, 32])
@pytest.mark.parametrize(("rows", "words"), [(32, 2), (64, 8), (128, 32)])
def test_metadata_places_are_those_of_torch(word_bits: int, rows: int, words: int) -> None:
    torch = pytest.importorskip("torch")
    from torch.sparse import _semi_structured_conversions as conversions

    kind = {16: torch.int16, 32: torch.int32}[word_bits]
    theirs = conversions._calculate_meta_reordering_scatter_offsets(rows, words, kind, "cpu")
    np.testing.assert_array_equal(metadata_places(rows, words, word_bits).reshape(-1), theirs.numpy())


def test_cutlass_refuses_what_does_not_fit() -> None:
    with pytest.raises(SpecError, match="not tiled"):
        Sparse24Cutlass(16).encode(np.zeros((16, 32)))
    crowded = np.zeros((32, 64))
    crowded[3, 8:11] = 1
    with pytest.raises(SpecError, match="row 3 keeps more than 2 of 4 in group 2"):
        Sparse24Cutlass(16).encode(crowded)
    with pytest.raises(SpecError, match="row 3 keeps more than 1 of 2 in group 4"):
        Sparse24Cutlass(16, pairs=True).encode(crowded)


# Run of make_n_m in spcl/sten, src/sten/grouped_nm/grouped_nm_tensor.py.
STEN_2_4 = ((0, 1), (0, 2), (1, 2), (1, 3), (0, 3), (2, 3))
STEN_2_5 = ((1, 2), (0, 2), (0, 1), (0, 3), (1, 3), (2, 3), (2, 4), (0, 4), (1, 4), (3, 4))


def test_patterns_come_in_the_order_of_sten() -> None:
    assert (pattern_order(2, 4), pattern_order(2, 5)) == (STEN_2_4, STEN_2_5)


@pytest.mark.parametrize(("n", "m"), [(n, m) for m in range(1, 11) for n in range(1, m + 1)])
def test_adjacent_patterns_differ_by_one_index(n: int, m: int) -> None:
    order = pattern_order(n, m)
    assert set(order) == set(combinations(range(m), n))
    assert len(order) == comb(m, n)
    for one, other in pairwise(order):
        assert sum(a != b for a, b in zip(one, other, strict=True)) == 1


def test_grouped_rows_that_fit_one_pattern_twice_are_refused() -> None:
    array = np.zeros((6, 8), np.int8)
    array[1:3, 4:6] = 1
    with pytest.raises(SpecError, match=r"rows 0 to 5 of columns 4 to 7 .*row 2 has none left"):
        GroupedNM(2, 4, 1).encode(array)


def test_grouped_rows_are_matched_whenever_they_can_be() -> None:
    """All ways to give six rows of two or three columns' choice a pattern each, against brute force."""
    form = GroupedNM(1, 3, 1)
    for rows in product(range(4), repeat=3):
        array = np.zeros((3, 3), np.int8)
        for row, kept in enumerate(rows):
            array[row, [kept] if kept < 3 else []] = 1
        if len({kept for kept in rows if kept < 3}) == sum(kept < 3 for kept in rows):
            np.testing.assert_array_equal(form.decode(form.encode(array)), array)
        else:
            with pytest.raises(SpecError):
                form.encode(array)


def test_the_dictionary_is_qmoes() -> None:
    """Its likeliest entries by hand, all single pairs, all beginnings; and no likelier sequence is missing."""
    book = dictionary()
    sequences = {
        bytes(pairs[:length]): entry for entry, (pairs, length) in enumerate(zip(book.pairs, book.lengths, strict=True))
    }
    assert len(sequences) == 1 << 16
    runs = [bytes(length) for length in range(1, 14)]
    likeliest = [*runs[:12], bytes([1]), bytes([2]), bytes([3]), bytes([6]), runs[12]]  # .885^24 > .885 .0575 > .885^26
    assert [sequences[sequence] for sequence in likeliest] == list(range(17))
    assert all(bytes([pair]) in sequences for pair in range(9))
    assert all(sequence[:-1] in sequences for sequence in sequences if len(sequence) > 1)
    share = np.array([0.885, 0.0575, 0.0575])
    logs = np.log(np.outer(share, share).reshape(-1))[book.pairs]
    chances = (logs * (np.arange(14) < book.lengths[:, None])).sum(axis=1)
    assert (np.diff(chances) < 1e-9).all()
    longer = chances[:, None] + np.log(np.outer(share, share).reshape(-1))
    missing = (book.next[:-1] == -1) & (book.lengths < 14)[:, None]
    assert longer[missing].max() < chances[-1] + 1e-9


def test_the_codebook_comes_near_qmoes_rate() -> None:
    """Independent weights with QMoE's share of zeros, against 0.807 bits a weight of its largest checkpoint.

    That includes what is not quantised, and its weights are not independent: within 10 %, and above the entropy.
    """
    rng = np.random.default_rng(0)
    share = np.array([0.886, 0.057, 0.057])
    array = rng.choice(np.array([0, -1, 1], np.int8), (64, 6144), p=share)
    bits = TernaryCodebook().encode(array).bits(16) / array.size
    assert bits == pytest.approx(0.807, rel=0.10)
    assert bits > -(share * np.log2(share)).sum()


@pytest.mark.parametrize(("row", "wrong"), [([1, 2, 0], "row 1 holds more than one positive value"),
                                            ([-1, -2, 0], "row 1 holds more than one negative value"),
                                            ([0, np.nan, 0], "row 1, column 1 is not a number")])  # fmt: skip
def test_rows_that_are_not_ternary_are_refused(row: list[float], wrong: str) -> None:
    with pytest.raises(SpecError, match=wrong):
        TernaryCodebook().encode(np.array([[0, 1, 1], row]))


def test_conversion_names_what_does_not_fit() -> None:
    array = np.ones((2, 4), np.float32)
    with pytest.raises(SpecError, match="nm_index: what csr holds does not fit: row 0 keeps more than 2"):
        convert(Csr().encode(array), Csr(), NMIndex(2, 4))
