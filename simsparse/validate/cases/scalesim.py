# SPDX-License-Identifier: Apache-2.0
"""Systolic arrays against SCALE-Sim 3.0.0: cycles, stalls, its free 2:4; and against STONNE's mesh."""

from __future__ import annotations

from collections.abc import Mapping
from typing import SupportsFloat

import numpy as np

from simsparse.dataflow import DATAFLOWS, Buffers, Gemms, PeArray
from simsparse.dataflow.folds.dma import Interface
from simsparse.dataflow.folds.schedule import FoldGemm, FoldSchedule, Scratchpad, schedule
from simsparse.sparsity.statement import Sparsity
from simsparse.validate.case import CASES, CasePoint, CaseReport, CaseTable, case_rows
from simsparse.validate.reference.scalesim_scratchpad import RELEASE, Changes, ScaleSimSetup, scalesim_run

RunRow = Mapping[str, str]
NAMES = ("input", "weight", "output")
RESNET18 = (
    (12544, 64, 147), *[(3136, 64, 576)] * 4, (784, 128, 576), (784, 128, 64), *[(784, 128, 1152)] * 3,
    (196, 256, 1152), (196, 256, 128), *[(196, 256, 2304)] * 3,
    (49, 512, 2304), (49, 512, 256), *[(49, 512, 4608)] * 3,
)  # fmt: skip
"""M, N, K of its convolutions on 224 x 224 pixels, batch 1, as im2col products."""
WORKLOADS = {
    "gemm512": ((512, 512, 512),),
    "gemm1024": ((1024, 1024, 1024),),
    "bert": (*[(128, 768, 768)] * 4, (128, 3072, 768), (128, 768, 3072)),
    "resnet18": RESNET18,
}
SOURCE = "Runs of SCALE-Sim 3.0.0 (PyPI package, numpy 1.26.4), 2026"
DRAWN = 3
"""Of the runs with stalls every third is a point of a case, so that plots stay readable; tests have all."""
UNSTALLED = Scratchpad(Buffers(1 << 26, 1 << 26, 1 << 26), Interface(shared=float(1 << 20)))


@CASES.register("scalesim-cycles")
def scalesim_cycles() -> CaseReport:
    """16 runs of whole networks and large products: equal."""
    return CaseReport(
        "scalesim-cycles",
        "Systolic arrays: SCALE-Sim's cycles",
        f"{SOURCE}: total cycles, layers summed; operands on chip. It prints the index of the last cycle, so a layer "
        "takes one cycle more than printed; one is taken off ours.",
        "Dense layers: the fold schedule (level 2) with a memory that never stalls. 2:4 layers: closed form of packed "
        "weights, which is how SCALE-Sim has them.",
        [
            CasePoint(" ".join(list(row.values())[:4]), float(row["cycles"]), _cycles(row), "cycles")
            for row in case_rows("peers", "scalesim_3.0.0.csv")
        ],
        tolerance=0,
    )  # fmt: skip


@CASES.register("scalesim-stalls")
def scalesim_stalls() -> CaseReport:
    """69 runs whose memories stall: SCALE-Sim's mechanism reproduced, equal."""
    rows = case_rows("scalesim", "runs.csv")
    runs = [scalesim_run(_setup(row)) for row in rows]
    stalls = [[_label(row), f"{int(row['stalls']):,}", f"{run.stalls:,}"] for row, run in zip(rows, runs, strict=True)]
    points = [
        CasePoint(_label(row), float(row["cycles_with_prefetch"]), run.cycles_with_prefetch, "cycles")
        for row, run in zip(rows[::DRAWN], runs[::DRAWN], strict=True)
    ]
    return CaseReport(
        "scalesim-stalls",
        "Scratchpads that stall: SCALE-Sim's own mechanism",
        f"{SOURCE}: GEMMs on small arrays with buffers of 1 to 32 KiB and 1 to 8 words a cycle on each channel. "
        "Cycles with prefetch of every third run; the table has the stalls of all.",
        "simsparse.validate.reference.scalesim_scratchpad: its sliding windows, waits and write-back, line by line. It "
        "is not how our parts work; it is there to take differences apart.",
        points,
        tolerance=0,
        tables=[CaseTable("Stall cycles", ["run", "SCALE-Sim", "mechanism reproduced"], stalls)],
    )  # fmt: skip


@CASES.register("scalesim-schedule")
def scalesim_schedule() -> CaseReport:
    """The same runs on our schedule: reported, each difference by its cause."""
    rows = case_rows("scalesim", "runs.csv")
    points = [
        CasePoint(_label(row), float(row["cycles_with_prefetch"]), ours.cycles, "cycles")
        for row, ours in ((row, ours_of(row)) for row in rows[::DRAWN])
    ]
    return CaseReport(
        "scalesim-schedule",
        "Scratchpads that stall: our schedule beside SCALE-Sim's",
        f"{SOURCE}: cycles with prefetch of the runs of scalesim-stalls, every third drawn.",
        "The fold schedule (level 2) with the same array, buffers and channels, read buffers half filled before the "
        "array starts as SCALE-Sim does, and the same order of folds; the output buffer holds at least the partial "
        "sums of two streams, which SCALE-Sim sends to DRAM instead.",
        points,
        tolerance=None,
        deviation=(
            "Compute cycles are equal in all runs; the rest is memory. SCALE-Sim slides one window over a fixed order "
            "of the operand, and an element just behind the window costs a way round the whole operand: tiles that "
            "straddle a window's edge and are loaded last row first, or slabs that are used again, do so all the time. "
            "It writes the partial sums of every fold of k to DRAM and never reads them back. A wait is added twice. "
            "The table undoes these one by one; what then remains is its fetching half a buffer at a time, and that an "
            "operand stays when both halves together hold it, where ours asks for one half."
        ),
        tables=[_composition(rows)],
    )


STEPS = (
    ("as released", RELEASE),
    ("waits once", Changes(counted_once=True)),
    ("both halves readable", Changes(counted_once=True, halves_stay=True)),
    ("results written once", Changes(counted_once=True, halves_stay=True, results_once=True)),
)


def _composition(rows: list[RunRow]) -> CaseTable:
    chosen = [row for row in rows if row["input_words"] in "12" and int(row["stalls"]) > 1000]
    body = []
    for row in chosen:
        steps = [scalesim_run(_setup(row), changes).stalls for _, changes in STEPS]
        ours = ours_of(row)
        body.append([_label(row), *(f"{stalls:,}" for stalls in steps), f"{ours.stall:,}"])
    return CaseTable("Stall cycles, SCALE-Sim's mechanism changed step by step, and ours",
                 ["run", *(name for name, _ in STEPS), "ours"], body)  # fmt: skip


@CASES.register("scalesim-2to4")
def scalesim_2to4() -> CaseReport:
    """What SCALE-Sim gives away with 2:4 weights."""
    rows = {(r["workload"], r["array"], r["dataflow"], r["sparsity"]): float(r["cycles"])
            for r in case_rows("peers", "scalesim_3.0.0.csv")}  # fmt: skip
    theirs = (rows["gemm512", "32x32", "ws", "dense"] + 1) / (rows["gemm512", "32x32", "ws", "2:4"] + 1)
    steps = two_of_four_steps()
    return CaseReport(
        "scalesim-2to4",
        "2:4 weights: what SCALE-Sim's 2.000x leaves out",
        f"{SOURCE}: a 512^3 product, weight-stationary on 32 x 32 PEs, dense cycles over 2:4 cycles; its report gives "
        "169 % utilization for such runs, since dense operations are divided by sparse cycles.",
        "The same product on an array whose PEs hold two weights either way, step by step: one cycle a fold to select "
        "operands; weights, two index bits each, inputs and results over 64 bits of DRAM a cycle; masks "
        "that are 50 % dense but not 2:4.",
        [CasePoint(name, theirs, ours, "x") for name, ours in steps],
        tolerance=None,
        deviation=(
            "SCALE-Sim packs the kept weights and drops metadata, selection and imbalance. Packed like that, ours is "
            "the same 2.000x. PEs that select among four inputs keep every cost of a dense fold but half the steps of "
            "the stream, and inputs and results cross the memory in full, whatever the weights; with a random mask "
            "of the same density the fullest PE of a fold holds four of four, and nothing is gained."
        ),
        assumed=("one cycle a fold for operand selection (accel/systolic-ws-32x32)",),
    )


def two_of_four_steps() -> list[tuple[str, float]]:
    """(what is charged, speed-up of 2:4 over dense) of a 512^3 product on 32 x 32 weight-stationary PEs."""
    size, plain, picking = 512, PeArray(32, 32), PeArray(32, 32, decode=1)
    ws, packed = DATAFLOWS.get("ws"), DATAFLOWS.get("ws_gather")

    def gain(dense: SupportsFloat, sparse: SupportsFloat) -> float:
        return float(dense) / float(sparse)

    single, pair, two_four = (Gemms.of(size, size, size, keep, group) for keep, group in ((1, 1), (2, 2), (2, 4)))
    steps = [("packed weights, as SCALE-Sim has them", gain(ws.cycles(single, plain), packed.cycles(two_four, plain)))]
    steps.append(("PEs that select, on chip", gain(ws.cycles(pair, plain), ws.cycles(two_four, plain))))
    steps.append(("and a cycle to select", gain(ws.cycles(pair, plain), ws.cycles(two_four, picking))))
    cells, pad = size * size, Scratchpad(Buffers(1 << 19, 1 << 19, 1 << 19), Interface(shared=64.0))
    dense = FoldGemm(size, size, size, 8 * cells, 8 * cells, 8 * cells, 2, 2)
    sparse = FoldGemm(size, size, size, 8 * cells, cells // 2 * 10, 8 * cells, 2, 4)
    moved = [schedule("ws", product, picking, pad).cycles for product in (dense, sparse)]
    steps.append(("and DRAM, metadata included", gain(*moved)))
    for name, text in (
        ("2:4 mask walked, on chip", "2:4"),
        ("50 % unstructured mask walked, on chip", "unstructured:0.5"),
    ):
        mask = np.asarray(Sparsity.parse(text).draw(size, size, 0).mask())
        steps.append((name, gain(ws.cycles(pair, plain), ws.cycles_with_masks(mask, size, picking, 4).cycles)))
    return steps


@CASES.register("stonne-mesh")
def stonne_mesh() -> CaseReport:
    """STONNE's output-stationary mesh: equal."""
    points = []
    for row in case_rows("peers", "stonne_mesh.csv"):
        m, n, k, side = (int(text) for text in (row["m"], row["n"], row["k"], row["array"].split("x")[0]))
        walk = schedule("os", FoldGemm.dense(m, n, k, 8), PeArray(side, side, stages=5), UNSTALLED)
        points.append(CasePoint(f"{m} x {n} x {k} on {row['array']}", float(row["cycles"]), walk.compute, "cycles"))
    return CaseReport(
        "stonne-mesh",
        "STONNE's output-stationary mesh",
        "Runs of STONNE (commit 22634b8b), TPU_OS_DENSE, 2026; operands on chip, full tiles.",
        "os with five further stages a fold: K + R + C + 3 = K + (R + C - 2) + 5. Its memory controller spends a cycle "
        "on configuring each tile and starts the next one only when all results of the last are back; we take the "
        "other four for registers between memory, mesh, accumulators and memory. The number comes from the runs, the "
        "form from the mesh.",
        points,
        tolerance=0,
    )


def ours_of(row: RunRow) -> FoldSchedule:
    """Our schedule of a run of runs.csv."""
    setup = _setup(row)
    words = [8.0 * rate for rate in setup.words_a_cycle]
    inputs, weights, results = setup.buffer_words
    stream = 2 * setup.cols * max(setup.m, setup.n)
    pad = Scratchpad(Buffers(inputs, weights, max(results, stream), 1), Interface(None, *words), prefill=True)
    array, product = PeArray(setup.rows, setup.cols), FoldGemm.dense(setup.m, setup.n, setup.k, 8)
    return schedule(setup.dataflow, product, array, pad, "inputs" if setup.dataflow == "is" else "weights")


def _setup(row: RunRow) -> ScaleSimSetup:
    rows, cols, m, n, k = (int(row[name]) for name in ("rows", "cols", "m", "n", "k"))
    words = [1024 * int(row[f"{name}_kib"]) for name in NAMES]
    rates = [int(row[f"{name}_words"]) for name in NAMES]
    buffers, channels = (words[0], words[1], words[2]), (rates[0], rates[1], rates[2])
    return ScaleSimSetup(row["dataflow"], rows, cols, m, n, k, buffers, channels)


def _label(row: RunRow) -> str:
    kib, words = ("/".join(row[f"{name}_{what}"] for name in NAMES) for what in ("kib", "words"))
    size = f"{row['m']}x{row['n']}x{row['k']}"
    return f"{row['dataflow']} {row['rows']}x{row['cols']}, {size}, {kib} KiB, {words} words"


def _cycles(row: RunRow) -> float:
    rows, cols = map(int, row["array"].split("x"))
    array, layers = PeArray(rows, cols), WORKLOADS[row["workload"]]
    if row["sparsity"] == "2:4":
        m, n, k = np.array(layers).T
        return float((DATAFLOWS.get("ws_gather").cycles(Gemms.of(m, n, k, 2, 4), array) - 1).sum())
    walks = [schedule(row["dataflow"], FoldGemm.dense(*layer, 8), array, UNSTALLED, "weights") for layer in layers]
    return float(sum(walk.compute - 1 for walk in walks))
