"""Every registered format keeps the contract."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from contracts.format import FormatContract
from numpy.typing import NDArray

from simsparse.errors import SpecError
from simsparse.formats import FORMATS
from simsparse.formats.bank import BankBalanced
from simsparse.formats.bitmap import Bitmap
from simsparse.formats.bsr import Bsr
from simsparse.formats.compressed import Csc, Csr
from simsparse.formats.dense import Dense
from simsparse.formats.fan_in import ConstantFanIn
from simsparse.formats.nm import NMBitmap, NMIndex


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


class TestBitmap(FormatContract):
    name, form = "bitmap", Bitmap()


class TestCsr(FormatContract):
    name, form = "csr", Csr()


class TestCsc(FormatContract):
    name, form = "csc", Csc()


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


def test_every_format_is_under_contract() -> None:
    assert {contract.name for contract in FormatContract.__subclasses__()} == set(FORMATS)


@pytest.mark.parametrize("form", [NMIndex(2, 4), NMBitmap(2, 4), BankBalanced(4, 2), ConstantFanIn(2)])
def test_too_many_non_zeros_are_refused(form: Any) -> None:
    array = np.ones((3, 4), np.float32)
    array[:2, 2:] = 0
    with pytest.raises(SpecError, match="row 2 keeps more than 2"):
        form.encode(array)


@pytest.mark.parametrize("make", [lambda: NMIndex(5, 4), lambda: NMBitmap(0, 4), lambda: Bsr(0),
                                  lambda: BankBalanced(4, 5), lambda: ConstantFanIn(0)])  # fmt: skip
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
