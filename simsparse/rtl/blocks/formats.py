# SPDX-License-Identifier: Apache-2.0
"""Floating-point formats by their fields, and the bit patterns at which hardware goes wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.int64]

_CORNER_SHARE = 0.3


@dataclass(frozen=True)
class FloatFormat:
    """A sign, ``exponent`` bits and ``mantissa`` bits; all-ones exponents are infinities and NaN where ``infinite``,
    else only all ones is a NaN (fp8 e4m3 as PyTorch's float8_e4m3fn).
    """

    name: str
    exponent: int
    mantissa: int
    infinite: bool = True

    @property
    def bits(self) -> int:
        """Bits of a number."""
        return 1 + self.exponent + self.mantissa

    @property
    def sign(self) -> int:
        """The sign bit."""
        return 1 << (self.bits - 1)

    @property
    def infinity(self) -> int:
        """Exponent of all ones; with ``infinite`` the bits of infinity."""
        return ((1 << self.exponent) - 1) << self.mantissa

    @property
    def corners(self) -> dict[str, int]:
        """Bits by kind: both zeros, subnormals, the least normal, units, the largest, infinities and NaN."""
        one = ((1 << (self.exponent - 1)) - 1) << self.mantissa
        most = self.sign - 2 if not self.infinite else self.infinity - 1
        finite = {
            "0": 0, "-0": self.sign, "least": 1, "-subnormal": self.sign | ((1 << self.mantissa) - 1),
            "normal": 1 << self.mantissa, "1": one, "-1": self.sign | one, "largest": most,
            "-largest": self.sign | most,
        }  # fmt: skip
        if not self.infinite:
            return finite | {"nan": self.sign - 1, "-nan": 2 * self.sign - 1}
        quiet = self.infinity | 1 << (self.mantissa - 1)
        return finite | {
            "inf": self.infinity, "-inf": self.sign | self.infinity, "nan": quiet,
            "signalling nan": self.sign | self.infinity | 1,
        }  # fmt: skip

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Bits:
        """Bits of random numbers: corners three times in ten, else any bits."""
        anything = rng.integers(0, 1 << self.bits, shape)
        return np.where(rng.random(shape) < _CORNER_SHARE, rng.choice(list(self.corners.values()), shape), anything)

    def zero(self, numbers: Bits) -> NDArray[np.bool_]:
        """Which bits are those of a zero of either sign."""
        found: NDArray[np.bool_] = (numbers & (self.sign - 1)) == 0
        return found

    def bins(self, name: str, lanes: int) -> set[str]:
        """Every corner in every lane of a field."""
        return {f"{name}[{lane}]={kind}" for lane in range(lanes) for kind in self.corners}

    def covered(self, name: str, numbers: Bits) -> set[str]:
        """The bins that ``numbers`` (beats, lanes) meet."""
        return {
            f"{name}[{lane}]={kind}"
            for kind, bits in self.corners.items() for lane in np.flatnonzero((numbers == bits).any(axis=0))
        }  # fmt: skip


FP16 = FloatFormat("fp16", 5, 10)
BF16 = FloatFormat("bf16", 8, 7)
FP32 = FloatFormat("fp32", 8, 23)
FP8_E4M3 = FloatFormat("fp8_e4m3", 4, 3, infinite=False)
FP8_E5M2 = FloatFormat("fp8_e5m2", 5, 2)
FORMATS = {each.name: each for each in (FP16, BF16, FP32, FP8_E4M3, FP8_E5M2)}
