# SPDX-License-Identifier: Apache-2.0
"""Text becomes SI numbers, seconds become engine ticks."""

from __future__ import annotations

import contextlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simsparse.units import FS_PER_SECOND, fs_to_seconds, parse_quantity, seconds_to_fs


@pytest.mark.parametrize(
    ("text", "unit", "si"),
    [
        ("3.35 TB/s", "byte/second", 3.35e12),
        ("80 GiB", "byte", 80 * 2**30),
        ("80 GB", "byte", 80e9),
        ("1 kB", "byte", 1000),
        ("32 byte", "byte", 32),
        ("400 Gbit/s", "byte/second", 50e9),
        ("989.4 TFLOPS", "flop/second", 989.4e12),
        ("5 Gflop/s", "flop/second", 5e9),
        ("0.32 pJ", "joule", 0.32e-12),
        ("1.625 pJ/byte", "joule/byte", 1.625e-12),
        ("4.4 pJ/bit", "joule/byte", 35.2e-12),
        ("814 mm**2", "millimeter**2", 814),
        ("8.14 cm**2", "millimeter**2", 814),
        ("2.8 us", "second", 2.8e-6),
        ("2.8 µs", "second", 2.8e-6),
        ("1.3 GHz", "hertz", 1.3e9),
        ("3 J/s", "watt", 3),
        (" 1e3  ns ", "second", 1e-6),
        ("0 W", "watt", 0),
    ],
)
def test_quantities(text: str, unit: str, si: float) -> None:
    assert parse_quantity(text, unit) == pytest.approx(si, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("3", "byte"), ("3 GB", "second"), ("1 GB/s", "hertz"), ("1 GHz", "byte/second"), ("GB", "byte"), ("", "byte"),
        ("nan GB", "byte"), ("inf GB", "byte"), ("1,5 GB", "byte"), ("1 GB/", "byte"), ("1 (GB", "byte"),
        ("1 xyz", "byte"),        ("9**9**9**9 byte", "byte"), ("1 byte**99999999", "byte"), ("1 __import__", "byte"),
        ("1e99999 B", "byte"),
        ("1 degC", "kelvin"), ("1 mac", "flop"), ("\x00", "byte"), ("1 B" + " " * 200, "byte"), ("１ byte", "byte"),
    ],
)  # fmt: skip
def test_what_is_no_quantity_is_refused(text: str, unit: str) -> None:
    with pytest.raises(ValueError, match="is not a quantity in"):
        parse_quantity(text, unit)


@given(st.text(max_size=120))
def test_any_text_is_a_number_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(parse_quantity(text, "byte"), float)


@given(st.floats(0, 1e12), st.sampled_from([("kB", 10**3), ("MiB", 2**20), ("TB", 10**12), ("bit", Fraction(1, 8))]))
def test_prefixes_are_exact_factors(value: float, unit: tuple[str, int | Fraction]) -> None:
    name, factor = unit
    assert parse_quantity(f"{value!r} {name}", "byte") == pytest.approx(float(Fraction(value) * factor), rel=1e-12)


@given(st.floats(0, 1e6))
def test_ticks_cover_the_seconds(seconds: float) -> None:
    ticks = seconds_to_fs(seconds)
    assert ticks >= seconds * FS_PER_SECOND > ticks - 1
    assert fs_to_seconds(ticks) == pytest.approx(seconds, rel=1e-9, abs=1e-15)
