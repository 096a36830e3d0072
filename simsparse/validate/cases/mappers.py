# SPDX-License-Identifier: Apache-2.0
"""Latency and energy of dense layers beside ZigZag's and AccelForge's: same arrays, memories, access energies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from simsparse.dataflow import Buffers, PeArray
from simsparse.dataflow.folds.dma import Interface
from simsparse.dataflow.folds.schedule import FoldGemm, FoldSchedule, Scratchpad, schedule
from simsparse.validate.case import CASES, CasePoint, CaseReport, CaseTable, case_rows
from simsparse.validate.cases.scalesim import WORKLOADS

RunRow = Mapping[str, str]
PAD = Scratchpad(Buffers(1 << 20, 1 << 19, 1 << 19, partial_sum=2), Interface(shared=64.0))
"""2 MiB of SRAM, of which theirs is one piece; 64 bits of DRAM a cycle; 16-bit partial sums."""
PICOJOULES = {"dram_read": 700 / 64, "dram_write": 750 / 64, "sram_read": 416 / 2048, "sram_write": 378 / 2048}
"""A bit's; from ZigZag 3.9.1's tpu_like.yaml, as is the MAC's 0.04 pJ."""
MAC_PICOJOULES = 0.04


@CASES.register("zigzag")
def zigzag() -> CaseReport:
    """Cycles and energy of ZigZag 3.9.1: reported."""
    return CaseReport(
        "zigzag",
        "Dense layers: ZigZag's latency and energy",
        "Runs of ZigZag 3.9.1, 2026: latency_total2 and energy of the mapping that its LOMA mapper finds, layers "
        "summed, on arrays resized from its tpu_like.yaml.",
        "The fold schedule (level 2), weight-stationary with double-buffered PEs and one fill a layer, which is "
        "closest to a model without fill and drain; its DRAM rate and access energies.",
        _points("ZigZag", 16),
        tolerance=None,
        deviation=(
            "ZigZag adds the first load of operands and the last write of results to the time, and has no fill or "
            "drain of the array; ours overlaps all loads but the first tile's and fills the array once. On 128 x 128 "
            "the memory sets the time: ours is every operand and the 16-bit results over one channel of 64 bits a "
            "cycle (512^3: 131,072 cycles); ZigZag's 73,729 is little more than the reads alone, so writes do not "
            "share it. ResNet-18 is convolutions there, whose first layer unrolls three channels over the rows (1.2 "
            "million of 3.8 million cycles on 32 x 32), and im2col products here. Its registers in the PEs cost "
            "energy, ours are in the MAC; its mapper keeps partial sums in them where ours cross the SRAM's edge in "
            "every fold of k."
        ),
        assumed=("1 MiB for inputs, 512 KiB each for weights and results; theirs is one memory of 2 MB",),
        tables=[_included()],
    )


@CASES.register("accelforge")
def accelforge() -> CaseReport:
    """Cycles and energy of AccelForge 1.0.467: reported."""
    return CaseReport(
        "accelforge",
        "Dense layers: AccelForge's latency and energy",
        "Runs of AccelForge 1.0.467, 2026: latency at 1 GHz and energy of its mapper's choice, with ZigZag's access "
        "energies copied per bit.",
        "As in the case zigzag.",
        _points("AccelForge", 8),
        tolerance=None,
        deviation=(
            "AccelForge's latency is the largest of each component's traffic over its rate: a bound that no load, "
            "fill or drain adds to. Its memory-bound layers are three operands of 8 bits at 64 bits a cycle to the "
            "cycle, so results take 8 bits here. Ours is above where loads of the first pass over an operand hold up "
            "an array that is otherwise fast enough, and where our orders of loops read an operand again that its "
            "mapper tiles. Energies differ as the register hierarchies do, and as those reads do."
        ),
        assumed=("1 MiB for inputs, 512 KiB each for weights and results; theirs is one memory of 2 MB",),
        tables=[_included()],
    )


def _points(tool: str, result_bits: int) -> list[CasePoint]:
    points = []
    for row in case_rows("peers", "zigzag_accelforge.csv"):
        if row["tool"] == tool:
            walks = walks_of(row["workload"], int(row["array"].split("x")[0]), result_bits)
            label = f"{row['workload']} on {row['array']}"
            points.append(CasePoint(f"{label}: cycles", float(row["cycles"]), sum(w.cycles for w in walks), "cycles"))
            energy = sum(picojoules(walk) for walk in walks) / 1e6
            points.append(CasePoint(f"{label}: energy", float(row["energy_uj"]), energy, "uJ"))
    return points


def walks_of(workload: str, side: int, result_bits: int) -> list[FoldSchedule]:
    """Our schedules of a workload's layers on ``side`` x ``side`` PEs, results of ``result_bits`` in DRAM."""
    array = PeArray(side, side, skew=0.0, overlap=1.0)
    layers: Sequence[tuple[int, int, int]] = WORKLOADS.get(workload, ())
    if not layers:
        m, n, k = map(int, workload.split("x"))
        layers = ((m, n, k),)
    cache = {layer: schedule("ws", _product(*layer, result_bits), array, PAD) for layer in set(layers)}
    return [cache[layer] for layer in layers]


def _product(m: int, n: int, k: int, result_bits: int) -> FoldGemm:
    """8-bit operands; a 3 x 3 convolution's input is read as pixels, not as its im2col matrix."""
    windows = {147: 49 / 4, 576: 9, 1152: 9, 2304: 9, 4608: 9}
    window = windows.get(k, 1) if m in (12544, 3136, 784, 196, 49) else 1
    return FoldGemm(m, n, k, round(8 * m * k / window), 8 * n * k, result_bits * m * n)


def picojoules(walk: FoldSchedule) -> float:
    """Energy of a schedule at ZigZag's access energies: DRAM, SRAM (array's side and DRAM's), MACs."""
    operands, results = walk.dram["input"] + walk.dram["weight"], walk.dram["output"]
    edge = walk.sram
    bits = {
        "dram_read": operands, "dram_write": results,
        "sram_read": 8 * (edge["input_read"] + edge["weight_read"]) + 16 * edge["output_read"] + results,
        "sram_write": operands + 16 * edge["output_write"],
    }  # fmt: skip
    return sum(PICOJOULES[action] * count for action, count in bits.items()) + MAC_PICOJOULES * walk.macs


def _included() -> CaseTable:
    rows = [
        ["array fill and drain", "once a layer", "no", "no", "every fold"],
        ["loads of weights into PEs", "hidden but the first", "hidden", "hidden", "every fold, shown"],
        [
            "first operands, last results",
            "first tile, last tile",
            "whole first tiles of each level",
            "no",
            "separate column",
        ],
        ["DRAM rate", "in order, double-buffered", "stalls a level", "traffic over rate", "windows, three channels"],
        ["partial edge tiles", "yes", "yes", "yes", "yes"],
        ["choice of mapping", "three loop orders", "mapper", "mapper", "fixed"],
        ["energy", "DRAM, SRAM, MACs", "and PE registers", "and PE registers", "no"],
        ["sparsity", "N:M, masks", "no", "no", "N:M, free"],
    ]
    return CaseTable("What each includes", ["", "ours", "ZigZag", "AccelForge", "SCALE-Sim"], rows)
