# SPDX-License-Identifier: Apache-2.0
"""How far 16-bit GEMMs of a card are off that is known by its data sheet alone, with the kernels of another card.

``python tests/validation/left_out_cards.py FOLDER [--write]``: FOLDER holds tables of ai-dynamo/aiconfigurator (see
fit_gpu_gemm_tiles.py). Each card takes the tiled kernels of every other architecture, and that card's shares of the
peaks of memory and products; SMs, clock, peaks and cache are its own. Prints the mean error of each, and writes what
the kernels of Hopper, of which most is known, give for the three cards into hw_models/accuracy.yaml: results on cards
that nobody measured carry it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simsparse.config.accuracy import ClassAccuracy, merged_text, read_accuracies
from simsparse.config.hardware import load_hardware
from simsparse.config.parts.gpu import GpuPart
from simsparse.config.parts.gpu_kernels import read_library
from simsparse.devices.gpu_evidence import LEFT_OUT
from simsparse.devices.gpu_rates import gemm_times
from simsparse.validate.tables import read_table
from simsparse.validate.tables.gemm import LAUNCH_S, table_shapes

ROOT = Path(__file__).resolve().parents[2]
LIBRARY, USUAL = "pytorch-2.11", "hopper"
CARDS = {
    "aic_gemm_a100_bf16": "gpu/a100-sxm4-80gb", "aic_gemm_l40s_bf16": "gpu/l40s-48gb",
    "aic_gemm_b200_bf16_power": "gpu/b200-sxm-180gb",
}  # fmt: skip
OWNERS = {
    "hopper": "gpu/h200-sxm5-141gb", "ampere": "gpu/a100-sxm4-80gb", "ada": "gpu/l40s-48gb",
    "blackwell": "gpu/b200-sxm-180gb",
}  # fmt: skip
Floats = NDArray[np.float64]


def part_of(name: str) -> GpuPart:
    part = load_hardware(name)
    assert isinstance(part, GpuPart)
    return part


def with_kernels_of(part: GpuPart, architecture: str) -> GpuPart:
    """The card with the GEMM kernels of another architecture, and the shares of its peaks that its owner holds."""
    owner = part_of(OWNERS[architecture]).gemm.half
    half = part.gemm.half.model_copy(update={"memory": owner.memory, "sustained": owner.sustained})
    kernels = part.kernels.model_copy(update={"gemm": read_library(LIBRARY, architecture).gemm})
    return part.model_copy(update={"kernels": kernels, "gemm": part.gemm.model_copy(update={"half": half})})


def errors(table: Path, part: GpuPart, architecture: str) -> Floats:
    """Relative errors of the table's rows."""
    rows = read_table(table)
    seconds = gemm_times(with_kernels_of(part, architecture), table_shapes(rows)).latency_s + LAUNCH_S
    return np.asarray(seconds / np.array([row.number("s") for row in rows]) - 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", action="store_true", help="put the errors into hw_models/accuracy.yaml")
    args = parser.parse_args()
    usual: list[Floats] = []
    for name, card in CARDS.items():
        part = part_of(card)
        for architecture in OWNERS:
            if architecture == part.architecture:
                continue
            off = errors(args.folder / f"{name}.csv.gz", part, architecture)
            print(f"{card} by kernels of {architecture}: {np.abs(off).mean():.1%}, bias {off.mean():+.1%} ({len(off)})")
            if architecture == USUAL:
                usual.append(off)
    found = np.concatenate(usual)
    entry = ClassAccuracy(
        rows=len(found), error=round(float(np.mean([np.abs(own).mean() for own in usual])), 4),
        worst=round(float(found[np.abs(found).argmax()]), 4), data="aic_gemm of a100, l40s, b200",
    )  # fmt: skip
    print(entry)
    if args.write:
        path = ROOT / "hw_models/accuracy.yaml"
        path.write_text(merged_text(read_accuracies(path), LEFT_OUT, {"gemm_dense": entry}))


if __name__ == "__main__":
    main()
