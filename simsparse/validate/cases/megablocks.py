# SPDX-License-Identifier: Apache-2.0
"""MegaBlocks and SMaT: padding of real routing, and blocks of clustered rows, beside the papers' headline ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from simsparse.config.hardware import load_hardware
from simsparse.core import Sparsity
from simsparse.dataflow.blocks import blocked, clustered, expanded, expert_topology, reordered
from simsparse.dataflow.sparse_engine import Work
from simsparse.devices.sparse_engine import SparseEngineDevice
from simsparse.sparsity.nonzeros import NonZeros
from simsparse.validate.case import CASES, VARIED, CasePoint, CaseReport, CaseTable, Sensitivity, Varied, case_rows

D_MODEL, D_FF, SELECTIONS, COUNTED = 1024, 3584, 8192, 524288
"""A quarter of Mixtral's widths; selections of a batch, and those that were counted for each layer."""
PART = "accel/block-mma"
POINT = "fullest expert against blocks of 128, worst layer"
MOVED = (("engine.feed", "64"), ("engine.stages", "1"), ("engine.fill", "200"))


@CASES.register("megablocks")
def megablocks() -> CaseReport:
    """Each layer's experts with tokens padded to blocks of 128, against all experts padded to the fullest."""
    layers = [_counts(row) for row in case_rows("block_sparse", "mixtral_experts.csv")]
    gains = [_gain(counts) for counts in layers]
    worst = layers[int(np.argmax(gains))]
    return CaseReport(
        "megablocks",
        "MoE layers as block-sparse products",
        "Gale et al., MegaBlocks, MLSys 2023, abstract: up to 40 % faster training than with Tutel, which pads every "
        "expert to the fullest one. Counts of Mixtral-8x7B's experts on C4: MC-MoE.",
        "MoE layers on accel/block-mma (A100): tokens of each expert padded to 128 and walked as blocks, against the "
        "same engine with all experts padded to the fullest. 8,192 selections, as the layers' experts were chosen.",
        [CasePoint(POINT, 1.4, max(gains), "x")],
        tolerance=None,
        deviation="Another model, another routing and one layer's forward pass instead of training: Mixtral's experts "
        "are evenly used over many tokens, so that the fullest has little more than the mean, while the paper's models "
        "of 64 experts were less even and Tutel also moved more memory. The ratio follows the ratio of padded rows "
        "where the last wave of tiles is full.",
        assumed=("a quarter of Mixtral's widths", "the split of 524,288 selections holds for 8,192"),
        sensitivity=[Sensitivity(POINT, name, value, _gain(worst, {name: value})) for name, value in MOVED],
        tables=[_padding(layers), _clustering()],
    )


def _counts(row: Mapping[str, str]) -> list[int]:
    return [int(row[f"count_e{expert}"]) * SELECTIONS // COUNTED for expert in range(8)]


def _varied(overrides: Mapping[str, str]) -> dict[str, float]:
    rows = case_rows("block_sparse", "mixtral_experts.csv")
    return {POINT: max(_gain(_counts(row), overrides) for row in rows)}


VARIED.register("megablocks")(Varied(PART, _varied))


def _layer(counts: Sequence[int], overrides: Mapping[str, str] | None = None) -> Work:
    device = SparseEngineDevice(load_hardware(PART, overrides))
    return cast(Work, device.engine.experts(counts, D_MODEL, D_FF, True, device.machine("bf16")))


def _gain(counts: Sequence[int], overrides: Mapping[str, str] | None = None) -> float:
    full = [max(counts)] * len(counts)
    return _layer(full, overrides).cycles / _layer(counts, overrides).cycles


def _padding(layers: Sequence[Sequence[int]]) -> CaseTable:
    rows = []
    for at in range(0, len(layers), 8):
        counts = layers[at]
        blocks = expert_topology(counts, D_FF, 128).shape[0]
        over = [100 * (128 * blocks / sum(counts) - 1), 100 * (max(counts) * len(counts) / sum(counts) - 1)]
        rows.append([str(at), str(blocks), *(f"{share:.1f}" for share in over), f"{_gain(counts):.2f}"])
    columns = ["layer", "rows of blocks", "padding to 128, %", "padding to the fullest, %", "gain, x"]
    return CaseTable("Padding of some layers", columns, rows)


def _clustering() -> CaseTable:
    """Blocks of 16 x 16 and cycles on accel/smat-a100 as rows come, clustered, and as they were made."""
    made = expanded(Sparsity.parse("unstructured:0.05").draw(64, 64, 3), 16, 16)
    noise = np.random.default_rng(4).random(made.shape) < 0.5
    planted = NonZeros.of(made.mask() & noise)
    shuffled = reordered(planted, np.random.default_rng(5).permutation(1024))
    found = reordered(shuffled, clustered(shuffled, 16, 16))
    device = SparseEngineDevice(load_hardware("accel/smat-a100"))
    rows = []
    for label, pattern in (("shuffled rows", shuffled), ("clustered", found), ("as planted", planted)):
        work = device.engine.run(pattern, NonZeros.dense(64, 1024), device.machine("fp16"))
        rows.append([label, str(pattern.nnz), str(blocked(pattern, 16, 16).nnz), str(work.cycles)])
    return CaseTable(
        "Clustering of rows (SMaT) on planted blocks, half full", ["rows", "non-zeros", "blocks", "cycles"], rows
    )
