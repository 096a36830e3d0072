# SPDX-License-Identifier: Apache-2.0
"""Weights of few bits on CPUs: T-MAC's tables in decode steps, and BitNet's 2-bit products."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from simsparse.config.hardware import load_hardware
from simsparse.config.parts.cpu import CpuPart
from simsparse.core import Op, ops
from simsparse.devices.cpu import Cpu
from simsparse.validate.case import CASES, CasePoint, CaseReport, CaseTable, Sensitivity

NARROW = ("int2", "int4")
TABLES, PLAIN = "table_lookup", "unpack_dot"
MOVED = (("threads.bandwidth", "45 GB/s"), ("threads.bandwidth", "180 GB/s"), ("threads.fork", "10 us"),
         ("threads.fork", "40 us"), ("compute.efficiency", "0.4"), ("core.dispatch", "2.5 us"))  # fmt: skip


class _Model(NamedTuple):
    """A decoder: layers, width, width of the FFN, words."""

    layers: int
    d_model: int
    d_ff: int
    words: int

    def step(self, weight_dtype: str) -> list[tuple[int, Op]]:
        """Products of one token, each with how often it runs; the last layer's weights in 8 bits."""
        wide, inner = self.d_model, self.d_ff

        def product(n: int, k: int, held: str) -> Op:
            return ops.linear(1, n, k, "int8", weight_dtype=held, output_dtype="fp32")

        return [
            (4 * self.layers, product(wide, wide, weight_dtype)), (2 * self.layers, product(inner, wide, weight_dtype)),
            (self.layers, product(wide, inner, weight_dtype)), (1, product(self.words, wide, "int8")),
        ]  # fmt: skip


MODELS = {"BitNet-3B": _Model(26, 3200, 8640, 32002), "Llama-2-7B": _Model(32, 4096, 11008, 32000)}
"""1bitLLM/bitnet_b1_58-3B and meta-llama/Llama-2-7b, config.json."""


class _Row(NamedTuple):
    """A published row: model, type of its weights, threads, tokens per second of llama.cpp and of T-MAC."""

    model: str
    weights: str
    threads: int
    plain: float
    tables: float

    @property
    def label(self) -> str:
        return f"{self.model}, {self.weights[3:]} bits, {self.threads} thread{'s' * (self.threads > 1)}"


ROWS = (
    _Row("BitNet-3B", "int2", 1, 6.49, 22.08), _Row("BitNet-3B", "int2", 4, 22.09, 54.46),
    _Row("Llama-2-7B", "int2", 8, 22.06, 51.01), _Row("Llama-2-7B", "int4", 1, 5.65, 8.97),
    _Row("Llama-2-7B", "int4", 8, 31.57, 35.65),
)  # fmt: skip
"""microsoft/T-MAC, commit 7042f8f7, README.md: the rows of an M2 Ultra."""


@CASES.register("t-mac")
def t_mac() -> CaseReport:
    """Tokens per second of decode steps with table look-up on an M2 Ultra."""
    part = "cpu/apple-m2-ultra"
    found = [_tokens_per_s(part, row, TABLES) for row in ROWS]
    points = [CasePoint(row.label, row.tables, value, "token/s") for row, value in zip(ROWS, found, strict=True)]
    ratios = tuple(
        (row.label, f"{row.tables / row.plain:.2f}", f"{value / _tokens_per_s(part, row, PLAIN):.2f}")
        for row, value in zip(ROWS, found, strict=True)
    )
    return CaseReport(
        "t-mac",
        "Decode steps by table look-up on an M2 Ultra",
        "Wei et al., T-MAC (arXiv 2407.00088): tokens per second of its README.",
        f"Products of one token with weights of 2 and 4 bits by {TABLES} on {part}, weights from DRAM at each step; "
        "the last layer in 8 bits. Attention, norms, scales of weights and the sampling of tokens are left out.",
        points,
        tolerance=0.35,
        assumed=("bandwidth of one core and of the caches", "threads sleep between operators", "instructions by hand"),
        sensitivity=[
            Sensitivity(row.label, name, value, _tokens_per_s(part, row, TABLES, {name: value}))
            for row in (ROWS[0], ROWS[2]) for name, value in MOVED
        ],
        tables=[CaseTable(
            f"Table look-up over weights unpacked to bytes ({PLAIN}); the published ones are over llama.cpp, whose "
            "formats scale groups of 16 and 32 weights", ("row", "published", "simsparse"), ratios,
        )],
    )  # fmt: skip


def _tokens_per_s(part: str, row: _Row, kernel: str, moved: Mapping[str, str] | None = None) -> float:
    device = Cpu(_with_kernel(part, kernel, {"threads.count": str(row.threads), **(moved or {})}))
    times, products = zip(*MODELS[row.model].step(row.weights), strict=True)
    costs = device.costs(list(products))
    return 1 / math.fsum(count * cost.latency_s for count, cost in zip(times, costs, strict=True))


def _with_kernel(part: str, kernel: str, overrides: Mapping[str, str]) -> CpuPart:
    """``part`` that runs ``kernel`` for weights of 2 and 4 bits."""
    held = load_hardware(part, overrides)
    assert isinstance(held, CpuPart) and held.core is not None
    return held.model_copy(update={"core": held.core.model_copy(update={"narrow": dict.fromkeys(NARROW, kernel)})})


class _Products(NamedTuple):
    """Tokens, outputs, inputs, and published milliseconds by kernel."""

    m: int
    n: int
    k: int
    milliseconds: Mapping[str, float]


def _products(m: int, k: int, n: int, *milliseconds: float) -> _Products:
    return _Products(m, n, k, dict(zip(("unpack_dot", "unpack_dot_rows", "unpack_dot_tokens"), milliseconds,
                                       strict=True)))  # fmt: skip


PRODUCTS = (
    _products(1, 2048, 2048, 0.075, 0.058, 0.076), _products(32, 2048, 2048, 2.400, 1.599, 1.202),
    _products(128, 2048, 2048, 10.820, 6.458, 5.805), _products(512, 2048, 2048, 43.257, 25.680, 23.342),
    _products(2048, 2048, 2048, 173.175, 103.112, 93.276), _products(128, 2048, 8192, 43.345, 25.541, 23.528),
    _products(128, 8192, 2048, 38.085, 23.866, 22.569),
)  # fmt: skip
"""microsoft/BitNet, commit 16da220a, src/README.md: one thread of an EPYC 7V13."""
CLOCK = "3.5 GHz"
"""One busy core runs at its largest clock; the part states the base clock."""


@CASES.register("bitnet-cpu")
def bitnet_cpu() -> CaseReport:
    """Milliseconds of products with 2-bit weights on one thread, by three kernels."""
    points = [
        CasePoint(f"{row.m} x {row.n} x {row.k}, {kernel}", published, _milliseconds(row, kernel), "ms")
        for row in PRODUCTS for kernel, published in row.milliseconds.items()
    ]  # fmt: skip
    moved = (("core.clock", "2.45 GHz"), ("core.fma_ports", "4"), ("core.load_ports", "3"))
    return CaseReport(
        "bitnet-cpu",
        "Products with 2-bit weights on one core of an EPYC",
        "microsoft/BitNet: table of its CPU kernels for one thread of an EPYC 7V13.",
        f"Weights unpacked to bytes on cpu/epyc-7763 (the same cores), one thread at {CLOCK}, weights in the caches: "
        "plain, with four rows that share inputs, and with four tokens that share unpacked weights.",
        points,
        tolerance=None,
        deviation="30 % was asked of every point before the first run. The plain kernel keeps it from 32 tokens on "
        "(within 12 %), with shared tokens from 128 on (22 %); one token carries the 20 us of a framework's call that "
        "the part states, which a bare kernel has not. Shared rows are 64 to 77 % too slow: the model saves loads "
        "there, which are not what bounds it, and the source does not say what else its kernel saves.",
        assumed=("the largest clock is that of the EPYC 7763", "integer vectors run on the ports of multiply-adds"),
        sensitivity=[
            Sensitivity(points[place].label, name, value, _milliseconds(PRODUCTS[1], kernel, {name: value}))
            for place, kernel in ((3, "unpack_dot"), (5, "unpack_dot_tokens")) for name, value in moved
        ],
    )  # fmt: skip


def _milliseconds(row: _Products, kernel: str, moved: Mapping[str, str] | None = None) -> float:
    part = _with_kernel("cpu/epyc-7763", kernel, {"threads.count": "1", "core.clock": CLOCK, **(moved or {})})
    op = ops.linear(row.m, row.n, row.k, "int8", weight_dtype="int2", output_dtype="fp32")
    return 1e3 * Cpu(part, resident=True).costs([op])[0].latency_s
