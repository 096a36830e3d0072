# SPDX-License-Identifier: Apache-2.0
"""Every registered sparsity pattern keeps the contract."""

from __future__ import annotations

import re
from math import comb

import numpy as np
import pytest

from simsparse.core import Sparsity
from simsparse.errors import SpecError
from simsparse.sparsity import PATTERNS
from simsparse.sparsity.drawn import Operand, drawn
from simsparse.sparsity.formats import format_for, storage_text
from simsparse.testing import SparsityContract


class TestDense(SparsityContract):
    name, texts = "dense", ("dense",)
    refused = ("", "x", "dense:1")


class TestNM(SparsityContract):
    name, texts = "nm", ("2:4", "1:8", "3:5", "4:4", "2:16")
    refused = ("4:2", "0:4", "2:3:4", "2:")


class TestUnstructured(SparsityContract):
    name, texts = "unstructured", ("unstructured:0.1", "unstructured:0.333333", "unstructured:1")
    refused = ("unstructured", "unstructured:0", "unstructured:1.1", "unstructured4:0.5")


class TestBlock(SparsityContract):
    name, texts = "block", ("block4:0.25", "block16:0.5", "block1:0.125")
    refused = ("block:0.5", "block0:0.5", "block4", "block4:0")


class TestBank(SparsityContract):
    name, texts = "bank", ("bank16:0.0625", "bank8:0.5", "bank24:0.25")
    refused = ("bank:0.5", "bank0:0.5", "bank4", "bank4:2")


class TestGroupedNM(SparsityContract):
    name, texts = "nmg", ("nmg:2:4:2", "nmg:1:4:1", "nmg:1:2:4")
    refused = ("nmg:4:2:1", "nmg:2:4", "nmg:2:4:0", "nmg:8:16:9")


class TestMonarch(SparsityContract):
    name, texts = "monarch", ("monarch:4", "monarch:1", "monarch:7")
    refused = ("monarch", "monarch:0", "monarch4")


class TestButterfly(SparsityContract):
    name, texts = "butterfly", ("butterfly",)
    refused = ("butterfly:2",)


class TestLowRank(SparsityContract):
    name, texts = "lowrank", ("lowrank4", "lowrank8+2:4", "lowrank2+unstructured:0.1")
    refused = ("lowrank", "lowrank0", "lowrank4+dense", "lowrank4+monarch:2", "lowrank4+", "lowrank4+x")


def test_every_pattern_is_under_contract() -> None:
    ours = {name for name in PATTERNS if PATTERNS.get(name).__module__.startswith("simsparse.")}
    assert {contract.name for contract in SparsityContract.__subclasses__()} == ours


def test_densities_of_a_text_are_kept_to_the_last_bit() -> None:
    for text in ("unstructured:0.1234567890123", "bank16:0.1234567890123", "block4:0.1234567890123"):
        sparsity = Sparsity.parse(text)
        assert sparsity.exact == text and str(sparsity) == text[: text.index(".") + 1] + "123457"


def test_grouped_nm_shares_the_choices_evenly() -> None:
    """Each of the six choices of a chunk of 12 rows stands in two of them, for each group of columns."""
    mask = Sparsity.parse("nmg:2:4:2").draw(36, 16, 1).mask()
    for chunk in mask.reshape(3, 12, 4, 4).transpose(0, 2, 1, 3).reshape(-1, 12, 4):
        assert np.unique(chunk, axis=0, return_counts=True)[1].tolist() == [2] * comb(4, 2)


def test_devices_draw_one_mask_per_operand() -> None:
    sparsity = Sparsity.parse("unstructured:0.3")
    weights, again, inputs = (
        drawn(sparsity, 32, 64, operand).mask() for operand in (Operand.WEIGHT, Operand.WEIGHT, Operand.INPUT)
    )
    np.testing.assert_array_equal(weights, again)
    assert (weights != inputs).any()


@pytest.mark.parametrize(("text", "canonical"), [
    ("usual", "usual"), (" Dense", "dense"), ("NM_index:2:4", "nm_index:2:4"), ("bsr", "bsr"), ("bsr:032", "bsr:32"),
    ("run_length:8", "run_length:8")])  # fmt: skip
def test_text_of_a_format(text: str, canonical: str) -> None:
    assert storage_text(text) == canonical


@pytest.mark.parametrize(("text", "message"), [
    ("csrr", "did you mean csr"), ("bsr:a", "expected bsr:BLOCK"), ("bsr:1:2", "expected bsr:BLOCK"),
    ("nm_index:4:2", "4:2 is not N:M"), ("usual:1", "is not a format"), ("", "is not a format"),
    ("csr:1", "expected csr")])  # fmt: skip
def test_what_is_no_format(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        storage_text(text)


@pytest.mark.parametrize(("pattern", "storage", "bits"), [
    ("2:4", "dense", 64 * 128 * 16), ("2:4", "bitmap", 64 * 128 * 9), ("2:4", "csr", 64 * 64 * 32 + 65 * 32),
    ("2:4", "nm_index", 64 * 32 * 36), ("2:4", "nm_combinatorial", 64 * 32 * 35), ("1:8", "nm_index:2:4", 64 * 32 * 36),
    ("dense", "bitmap", 64 * 128 * 17), ("block16:0.5", "bsr", 16 * (256 * 16 + 32) + 5 * 32),
    ("bank16:0.125", "bank", 64 * 16 * 20), ("2:4", "bank:8:4", 64 * 64 * 19), ("2:4", "fan_in", 64 * 64 * 23),
    ("2:4", "sparse24_cutlass", 64 * 64 * 18), ("dense", "coo", 64 * 128 * 48)])  # fmt: skip
def test_bits_of_a_pattern_in_a_format(pattern: str, storage: str, bits: int) -> None:
    assert Sparsity.parse(pattern).stored_bits(64, 128, 16, storage) == bits


@pytest.mark.parametrize(("pattern", "storage", "message"), [
    ("dense", "nm_index", "dense weights do not say the parameters of nm_index; give nm_index:N:M"),
    ("3:4", "nm_index:2:4", "3:4 weights keep up to 3 of 4; nm_index stores 2"),
    ("2:5", "nm_bitmap:2:4", "2:5 weights keep up to 4 of 4"), ("unstructured:0.1", "bank:16:4", "keep up to 16 of 16"),
    ("2:4", "nmg:2:4:1", "2:4 weights need not share the choices of nmg:2:4:1"), ("2:4", "bsr", "give bsr:BLOCK"),
    ("2:4", "sparse24_cutlass", "is not tiled"), ("unstructured:0.5", "fan_in", "give fan_in:KEEP")])  # fmt: skip
def test_formats_refuse_what_they_cannot_hold(pattern: str, storage: str, message: str) -> None:
    sparsity = Sparsity.parse(pattern)
    assert message in (sparsity.refusal(storage, 60, 120, 16) or "")
    with pytest.raises(SpecError, match=re.escape(message)):
        sparsity.stored_bits(60, 120, 16, storage)


def test_a_large_matrix_is_like_its_first_rows() -> None:
    """4-bit runs of 5 % non-zeros: stored zeros per non-zero are q^16 / (1 - q^16), a geometric gap's overflows."""
    sparsity, q16 = Sparsity.parse("unstructured:0.05"), 0.95**16
    stored = sparsity.stored_bits(65536, 4096, 16, "run_length") - 65537 * 32
    expected = sparsity.kept(65536, 4096) * (1 + q16 / (1 - q16)) * 20
    assert stored == pytest.approx(expected, rel=0.01)
    assert format_for("run_length", sparsity, 65536, 4096, 16).name == "run_length"
