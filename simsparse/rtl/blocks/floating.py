# SPDX-License-Identifier: Apache-2.0
"""fp16_mul, fp32_add, nm_dot_pe_fp16: floating point, compared with numpy's, which rounds to nearest even as well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from simsparse.dataflow.handshake.stream import Stage
from simsparse.rtl.block import BLOCKS, Expected, RtlBlock, covered_patterns, pattern_bins
from simsparse.rtl.blocks.select import MODE_BINS, covered_modes, selected
from simsparse.rtl.stimulus import positions
from simsparse.rtl.vectors import Beats, Field
from simsparse.sparsity.formats.bits import index_bits

Singles = NDArray[np.float32]
Bits = NDArray[np.int64]

LONGEST = 8
"""Beats of the longest random sum."""
PAIRS = 8
"""Pairs of operands that a tile of an arithmetic cell holds."""
NAN = 0x7FC00000
"""The one NaN that the hardware gives."""
HALVES = {
    "0": 0x0000, "-0": 0x8000, "least": 0x0001, "-subnormal": 0x83FF, "normal": 0x0400, "1": 0x3C00, "-1": 0xBC00,
    "largest": 0x7BFF, "inf": 0x7C00, "-inf": 0xFC00, "nan": 0x7E00, "signalling nan": 0xFD00,
}  # fmt: skip
SINGLES = {
    "0": 0x00000000, "-0": 0x80000000, "least": 0x00000001, "-subnormal": 0x807FFFFF, "normal": 0x00800000,
    "1": 0x3F800000, "-1": 0xBF800000, "largest": 0x7F7FFFFF, "-largest": 0xFF7FFFFF, "inf": 0x7F800000,
    "-inf": 0xFF800000, "nan": 0x7FC00000, "signalling nan": 0xFFA00000,
}  # fmt: skip


def halves(bits: Bits) -> Singles:
    """fp16 numbers by their bits, as fp32."""
    return bits.astype(np.uint16).view(np.float16).astype(np.float32)


def singles(bits: Bits) -> Singles:
    """fp32 numbers by their bits."""
    return bits.astype(np.uint32).view(np.float32)


def bits_of(numbers: Singles) -> Bits:
    """Bits of fp32 numbers, every NaN the same."""
    return np.where(np.isnan(numbers), NAN, np.ascontiguousarray(numbers).view(np.uint32).astype(np.int64))


def pairwise_sum(terms: Singles) -> Singles:
    """Sum over the last axis (beats, n): neighbours, then neighbours of sums, an odd one out passing on."""
    with np.errstate(all="ignore"):
        while terms.shape[1] > 1:
            even = terms.shape[1] // 2 * 2
            terms = np.concatenate([terms[:, 0:even:2] + terms[:, 1:even:2], terms[:, even:]], axis=1)
    return terms[:, 0]


def _kinds(name: str, numbers: Bits, corners: Mapping[str, int]) -> set[str]:
    return {f"{name}={kind}" for kind, bits in corners.items() if (numbers == bits).any()}


def _outcomes(sums: Singles) -> set[str]:
    normal = np.finfo(np.float32).tiny
    kinds = {
        "nan": np.isnan(sums), "inf": np.isposinf(sums), "-inf": np.isneginf(sums),
        "0": (sums == 0) & ~np.signbit(sums), "-0": (sums == 0) & np.signbit(sums),
        "subnormal": (sums != 0) & (np.abs(sums) < normal),
    }  # fmt: skip
    return {f"gives {kind}" for kind, where in kinds.items() if where.any()}


@dataclass(frozen=True)
class Arithmetic(RtlBlock):
    """A combinational function of two numbers."""

    combinational: ClassVar[bool] = True
    bits: ClassVar[int]
    output: ClassVar[str]
    corners: ClassVar[Mapping[str, int]]

    @property
    def parameters(self) -> Mapping[str, int]:
        return {}

    @property
    def inputs(self) -> tuple[Field, ...]:
        return (Field("a", self.bits), Field("b", self.bits))

    @property
    def outputs(self) -> tuple[Field, ...]:
        return (Field(self.output, 32),)

    def stimulus(self, rng: np.random.Generator, tiles: int) -> dict[str, NDArray[np.int64]]:
        """Any bits; corners; a pair that nearly cancels; exponents close together."""
        count = tiles * PAIRS
        a, b = (self._numbers(rng, count) for _ in range(2))
        sign = 1 << (self.bits - 1)
        near = np.clip((a & (sign - 1)) + rng.integers(-9, 10, count), 0, sign - 1) | ((a & sign) ^ sign)
        shift = 10 if self.bits == 16 else 23
        close = np.clip((a & (sign - 1)) + (rng.integers(-28, 29, count) << shift), 0, sign - 1)
        close = (close & ~((1 << shift) - 1)) | (b & ((sign) | ((1 << shift) - 1)))
        return {"a": a[:, None], "b": np.choose(rng.integers(0, 4, count), (b, b, near, close))[:, None]}

    def expected(self, beats: Beats) -> Expected:
        return Expected({self.output: bits_of(self._results(beats))}, np.ones(len(beats["a"]), np.bool_))

    @property
    def bins(self) -> frozenset[str]:
        return frozenset(f"{name}={kind}" for name in ("a", "b") for kind in self.corners) | self._result_bins

    def covered(self, beats: Beats) -> set[str]:
        operands = _kinds("a", beats["a"], self.corners) | _kinds("b", beats["b"], self.corners)
        return operands | _outcomes(self._results(beats))

    def _numbers(self, rng: np.random.Generator, count: int) -> Bits:
        chosen = rng.choice(list(self.corners.values()), count)
        return np.where(rng.random(count) < 0.2, chosen, rng.integers(0, 1 << self.bits, count))

    @property
    def _result_bins(self) -> frozenset[str]:
        raise NotImplementedError

    def _results(self, beats: Beats) -> Singles:
        raise NotImplementedError


@dataclass(frozen=True)
class Fp16Mul(Arithmetic):
    """rtl/fp16_mul.sv"""

    module: ClassVar[str] = "fp16_mul"
    bits: ClassVar[int] = 16
    output: ClassVar[str] = "product"
    corners: ClassVar[Mapping[str, int]] = HALVES

    @property
    def _result_bins(self) -> frozenset[str]:
        return frozenset(f"gives {kind}" for kind in ("nan", "inf", "-inf", "0", "-0"))

    def _results(self, beats: Beats) -> Singles:
        with np.errstate(all="ignore"):
            return halves(beats["a"]) * halves(beats["b"])


@dataclass(frozen=True)
class Fp32Add(Arithmetic):
    """rtl/fp32_add.sv"""

    module: ClassVar[str] = "fp32_add"
    bits: ClassVar[int] = 32
    output: ClassVar[str] = "sum"
    corners: ClassVar[Mapping[str, int]] = SINGLES

    @property
    def _result_bins(self) -> frozenset[str]:
        outcomes = {f"gives {kind}" for kind in ("nan", "inf", "-inf", "0", "-0", "subnormal")}
        return frozenset(outcomes | {"exact", "rounds up", "rounds down", "tie up", "tie down", "rounds to infinity"})

    def _results(self, beats: Beats) -> Singles:
        with np.errstate(all="ignore"):
            return singles(beats["a"]) + singles(beats["b"])

    def covered(self, beats: Beats) -> set[str]:
        return super().covered(beats) | self._roundings(beats)

    def _roundings(self, beats: Beats) -> set[str]:
        """How sums rounded of which fp64 holds the exact value: exponents no more than 28 apart."""
        with np.errstate(all="ignore"):
            a, b = singles(beats["a"]).astype(np.float64), singles(beats["b"]).astype(np.float64)
            rounded = self._results(beats)
            sound = np.isfinite(a) & np.isfinite(b) & (np.abs(np.frexp(a)[1] - np.frexp(b)[1]) <= 28)
            error = np.abs(rounded.astype(np.float64)) - np.abs(a + b)
            half = np.abs(error) * 2 == np.spacing(np.abs(rounded)).astype(np.float64)
            finite = sound & np.isfinite(rounded)
        kinds = {
            "exact": finite & (error == 0), "rounds up": finite & (error > 0) & ~half,
            "rounds down": finite & (error < 0) & ~half, "tie up": finite & (error > 0) & half,
            "tie down": finite & (error < 0) & half, "rounds to infinity": sound & np.isinf(rounded),
        }  # fmt: skip
        return {kind for kind, where in kinds.items() if where.any()}


@dataclass(frozen=True)
class NMDotPEFp16(RtlBlock):
    """rtl/nm_dot_pe_fp16.sv"""

    n: int
    m: int
    module: ClassVar[str] = "nm_dot_pe_fp16"

    @property
    def parameters(self) -> Mapping[str, int]:
        return {"N": self.n, "M": self.m}

    @property
    def timing(self) -> tuple[Stage, ...]:
        """Select, products, the levels of the tree, accumulation."""
        return (Stage(),) * (3 + (self.n - 1).bit_length())

    @property
    def inputs(self) -> tuple[Field, ...]:
        return (
            Field("dense", 1), Field("last", 1), Field("activation", 16, self.m), Field("weight", 16, self.n),
            Field("index", index_bits(self.m), self.n),
        )  # fmt: skip

    @property
    def outputs(self) -> tuple[Field, ...]:
        return (Field("sum", 32),)

    def stimulus(self, rng: np.random.Generator, tiles: int) -> dict[str, NDArray[np.int64]]:
        """Sums of numbers round 1; of any finite bits; with corners, infinities and NaN among them; of 0, -0, 1, -1."""
        lengths = rng.integers(1, LONGEST + 1, tiles)
        count = int(lengths.sum())
        kind = np.repeat(rng.choice(4, tiles, p=(0.4, 0.2, 0.2, 0.2)), lengths)[:, None]
        last = np.zeros((count, 1), np.int64)
        last[np.cumsum(lengths) - 1] = 1
        return {
            "dense": rng.integers(0, 2, (count, 1)), "last": last,
            "activation": self._numbers(rng, kind, self.m), "weight": self._numbers(rng, kind, self.n),
            "index": positions(rng, count, self.n, self.m),
        }  # fmt: skip

    def expected(self, beats: Beats) -> Expected:
        return Expected({"sum": bits_of(self._sums(beats))[:, None]}, beats["last"][:, 0] == 1)

    @property
    def bins(self) -> frozenset[str]:
        kinds = {
            f"{name}[{lane}]={kind}"
            for name, lanes in (("activation", self.m), ("weight", self.n)) for lane in range(lanes) for kind in HALVES
        }  # fmt: skip
        outcomes = {f"gives {kind}" for kind in ("nan", "inf", "-inf", "0")}
        lengths = {f"beats={length}" for length in range(1, LONGEST + 1)}
        return frozenset(kinds | outcomes | lengths | pattern_bins(self.n, self.m)) | MODE_BINS

    def covered(self, beats: Beats) -> set[str]:
        lanes = {f"{name}[{lane}]": beats[name][:, lane] for name in ("activation", "weight")
                 for lane in range(beats[name].shape[1])}  # fmt: skip
        kinds = {kind for name, numbers in lanes.items() for kind in _kinds(name, numbers, HALVES)}
        ends = np.flatnonzero(beats["last"][:, 0])
        lengths = {f"beats={length}" for length in np.unique(np.diff(ends, prepend=-1))}
        patterns = covered_patterns(beats["index"][beats["dense"][:, 0] == 0], self.m)
        return kinds | lengths | patterns | covered_modes(beats["dense"]) | _outcomes(self._sums(beats))

    def _numbers(self, rng: np.random.Generator, kind: Bits, lanes: int) -> Bits:
        shape = (len(kind), lanes)
        near_one = rng.standard_normal(shape).astype(np.float16).view(np.uint16).astype(np.int64)
        finite = rng.integers(0, 0x7C00, shape) | (rng.integers(0, 2, shape) << 15)
        corners = np.where(rng.random(shape) < 0.15, rng.choice(list(HALVES.values()), shape), near_one)
        units = rng.choice([HALVES[name] for name in ("0", "-0", "1", "-1")], shape)
        return np.choose(kind, (near_one, finite, corners, units))

    def _sums(self, beats: Beats) -> Singles:
        """Sums that end: products exact in fp32, lanes pairwise, beats one after the other from +0."""
        ends = np.flatnonzero(beats["last"][:, 0])
        starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])
        with np.errstate(all="ignore"):
            dots = pairwise_sum(halves(selected(beats, self.n)) * halves(beats["weight"]))
            sums = np.zeros(ends.size, np.float32)
            for step in range(int((ends - starts).max(initial=0)) + 1):
                going = starts + step <= ends
                sums[going] += dots[starts[going] + step]
        return sums


BLOCKS.register("fp16_mul")((Fp16Mul(),))
BLOCKS.register("fp32_add")((Fp32Add(),))
BLOCKS.register("nm_dot_pe_fp16")(tuple(NMDotPEFp16(n, m) for n, m in ((1, 4), (2, 4), (4, 8), (3, 16))))
