# SPDX-License-Identifier: Apache-2.0
"""What the floating-point RTL is held to: numpy's sums and products against exact fractions, rounded by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from simsparse.dataflow.handshake.stream import through_cycles
from simsparse.rtl.blocks.floating import bits_of, halves, pairwise_sum, singles

FINITE = st.integers(0, 0x7F7FFFFF).flatmap(lambda bits: st.sampled_from((bits, bits | 1 << 31)))
ULP_LEAST = Fraction(1, 1 << 149)


def exact(bits: int) -> Fraction:
    exponent, fraction = bits >> 23 & 0xFF, bits & 0x7FFFFF
    significand = fraction + (1 << 23 if exponent else 0)
    magnitude = significand * ULP_LEAST * (1 << max(exponent, 1) - 1)
    return -magnitude if bits >> 31 else magnitude


def rounded(number: Fraction) -> int:
    """Bits of the fp32 number nearest to a positive one, ties to even: in units of the least, 24 bits at most."""
    units, scale = number / ULP_LEAST, 0
    while units >= 1 << 24:
        units, scale = units / 2, scale + 1
    whole, rest = divmod(units, 1)
    whole += rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole % 2)
    return int(min((scale << 23) + whole, 0x7F800000))


@settings(max_examples=300)
@given(FINITE, FINITE)
def test_sums_are_exact_ones_rounded_to_nearest_even(a: int, b: int) -> None:
    with np.errstate(all="ignore"):
        total = int(bits_of(singles(np.array([a])) + singles(np.array([b])))[0])
    want = exact(a) + exact(b)
    assert total & 0x7FFFFFFF == rounded(abs(want))
    assert total >> 31 == (want < 0 or (want == 0 and a >> 31 and b >> 31))


@given(st.integers(0, 0x7BFF), st.integers(0, 0x7BFF))
def test_products_of_halves_are_exact(a: int, b: int) -> None:
    x, y = (float(np.array(bits, np.uint16).view(np.float16)) for bits in (a, b))
    product = halves(np.array([a])) * halves(np.array([b]))
    assert Fraction(float(product[0])) == Fraction(x) * Fraction(y)


def test_lanes_are_added_pairwise_and_an_odd_one_waits() -> None:
    """(2**24 + 1) + (1 + 1) + 1: one after the other would stay at 2**24."""
    terms = np.array([[1 << 24, 1, 1, 1, 1]], np.float32)
    assert pairwise_sum(terms)[0] == np.float32(np.float32((1 << 24) + 2) + np.float32(1))
    assert pairwise_sum(terms[:, :3])[0] == 1 << 24


def test_a_wire_moves_when_both_sides_do() -> None:
    offers, accepts = np.array([True, False, True]), np.array([False, True])
    assert through_cycles(offers, accepts, 4).tolist() == [1, 3, 5, 7]
