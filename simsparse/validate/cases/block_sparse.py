# SPDX-License-Identifier: Apache-2.0
"""Block-sparse times dense on an H200: the walked queue of tiles beside measured times."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import cast

import numpy as np

from simsparse.config.hardware import load_hardware
from simsparse.config.parts.accel import AccelPart
from simsparse.dataflow.engines.block_mma import BlockMma
from simsparse.devices.sparse_engine import SparseEngineDevice
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.validate.case import CASES, CasePoint, CaseReport, CaseTable, Sensitivity, case_rows

PART, SIZE = "accel/bsr-h200", 4096
RESIDENT = {32: "6", 64: "3", 128: "1"}
"""Tiles that an SM holds: three stages of both operands and the sums of 4, 4 and 8 warps."""
ASSUMED = (("engine.fill", "300"), ("engine.fill", "800"), ("engine.stages", "2"), ("engine.feed", "64"))
WATCHED = (("64", "random", "1.0"), ("64", "random", "0.1"), ("64", "first", "0.05"), ("128", "random", "0.25"))
DEVIATION = (
    "The walk orders all three blocks and all ways of placing them as measured, with one set of assumptions; what is "
    "left has four likely causes. (1) An SM's share of the L2 cache: 42.56 bytes a cycle come from dense products; "
    "dense blocks of 64 reach more, since neighbouring tiles share inputs in the first-level cache, and 64 bytes a "
    "cycle would give their time. (2) With blocks of 32 the kernel can't use the warp-group instruction of 64 rows "
    "that the part describes, and spends instructions on addresses: all its points take longer. (3) At densities of "
    "0.05 to 0.1 tiles have few steps, and the measured kernel pays for its start (pointers of the row, sums set to "
    "zero) beyond the one wait that is simulated. (4) Where the "
    "first rows hold all blocks, where heavy tiles land depends on how the hardware fills its SMs at first, which is "
    "simulated as one tile on each SM in turn."
)


@CASES.register("block-sparse-h200")
def block_sparse() -> CaseReport:
    """Three blocks, three ways to place them, five densities."""
    rows = case_rows("block_sparse", "h200_bsr.csv")
    points = [CasePoint(_label(row), 1e6 * float(row["seconds"]), _micros(row)[0], "us") for row in rows]
    watched = [row for row in rows if (row["block"], row["kind"], row["density"]) in WATCHED]
    return CaseReport(
        "block-sparse-h200",
        "Block-sparse times dense on an H200",
        "Measured with PyTorch's own Triton kernel (bsr_dense_addmm, bfloat16, 4096 x 4096 times 4096 x 4096) on one "
        "H200 SXM5, in CUDA graphs: tests/validation/data/block_sparse/README.md.",
        "Cycle core of accel/bsr-h200 on the same numbers of blocks in the same way of placing them: tiles of one row "
        "of blocks times 128 columns go to the SM that has room; a step is one block. No parameter is fitted to these "
        "times; the bytes a cycle of an SM come from fits to dense products.",
        points,
        tolerance=0.5,
        deviation=DEVIATION,
        assumed=(
            "500 cycles from a request to the first byte, index and block", "operands of a block are not loaded ahead",
            "6, 3 and 1 tiles on an SM for blocks of 32, 64 and 128", "1830 MHz whatever the load",
        ),
        sensitivity=[
            Sensitivity(_label(row), name, value, _micros(row, name, value)[0])
            for row in watched for name, value in ASSUMED
        ],
        tables=[_composition(watched)],
    )  # fmt: skip


def _label(row: Mapping[str, str]) -> str:
    return f"{row['block']}, {row['kind']}, {row['density']}"


@cache
def _blocks(side: int, kind: str, count: int) -> NonZeros:
    """Places of ``count`` blocks, as the measurement chose them (its own draw of the random ones)."""
    rng = np.random.default_rng(0)
    if kind == "even":
        order = rng.random((side, side)).argsort(axis=1).argsort(axis=1)
        return NonZeros.of(order < count // side)
    places = rng.permutation(side * side) if kind == "random" else np.arange(side * side)
    mask = np.zeros(side * side, np.bool_)
    mask[places[:count]] = True
    return NonZeros.of(mask.reshape(side, side))


def _micros(row: Mapping[str, str], name: str = "", value: str = "") -> tuple[float, Mapping[str, int]]:
    """(microseconds with the launch of a kernel, causes in cycles) of a measured point."""
    block = int(row["block"])
    settings = {"engine.block_n": row["block"], "engine.block_k": row["block"], "engine.resident": RESIDENT[block]}
    part = cast(AccelPart, load_hardware(PART, {**settings, **({name: value} if name else {})}))
    device = SparseEngineDevice(part)
    engine, machine = cast(BlockMma, device.engine), device.machine("bf16")
    weights = _blocks(SIZE // block, row["kind"], int(row["blocks"]))
    inputs = NonZeros.dense(SIZE // machine.whole("tile_m"), SIZE // block)
    work = engine.run_blocks(weights, inputs, (SIZE, SIZE, SIZE), weights.nnz * block * block * SIZE, machine)
    return 1e6 * (work.cycles / part.array.clock.si + part.vector.launch.si), work.causes


def _composition(rows: list[Mapping[str, str]]) -> CaseTable:
    names = ("compute", "feed", "drain", "imbalance", "latency", "dram")
    body = []
    for row in rows:
        _, causes = _micros(row)
        body.append([_label(row), *(f"{100 * causes[name] / sum(causes.values()):.1f}" for name in names)])
    return CaseTable("Where the cycles go, %", ["block, places, density", *names], body)
