# SPDX-License-Identifier: Apache-2.0
"""How far 16-bit GEMMs of a card are off that is known by its data sheet and by what other cards do.

``python tests/validation/left_out_cards.py FOLDER [--write]``: FOLDER holds tables of ai-dynamo/aiconfigurator (see
fit_gpu_gemm_tiles.py), of which the rows of a card are read to be compared alone. SMs, clock, peaks, cache and power
limit of a card are its own. From other cards come, and are told apart by what they depend on:

- tiles and cycles of the kernels: those of Hopper, of which most is known, and of the architecture that multiplies in
  the same way (KIN); the prediction is the geometric mean of both;
- launches and the reduction of a split k: as many cycles of the card's clock as on the card that they were measured on,
  not as many seconds;
- the share of the memory's peak: the mean of the other cards;
- the rate under the power limit: the power that the limit leaves over what the peak would draw, whose energy per flop
  goes with the square of the clock (voltage goes with it), from the mean of the other cards; the rate goes with the
  third root, as everywhere in the model.

Prints the error of each with one architecture's kernels as they are, of the steps, and of the mean, and writes the last
into hw_models/accuracy.yaml: results on cards that nobody measured carry it.
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
from simsparse.config.parts.gpu_tile_kernels import GpuTileKernel
from simsparse.core import DType
from simsparse.devices.gpu_evidence import LEFT_OUT
from simsparse.devices.gpu_rates import gemm_times
from simsparse.validate.tables import read_table
from simsparse.validate.tables.gemm import LAUNCH_S, table_shapes

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = "pytorch-2.11"
CARDS = {
    "aic_gemm_a100_bf16": "gpu/a100-sxm4-80gb", "aic_gemm_l40s_bf16": "gpu/l40s-48gb",
    "aic_gemm_b200_bf16_power": "gpu/b200-sxm-180gb",
}  # fmt: skip
OWNERS = {
    "hopper": "gpu/h200-sxm5-141gb", "ampere": "gpu/a100-sxm4-80gb", "ada": "gpu/l40s-48gb",
    "blackwell": "gpu/b200-sxm-180gb",
}  # fmt: skip
KIN = {"ampere": ("hopper", "ada"), "ada": ("hopper", "ampere"), "blackwell": ("hopper",)}
"""Hopper and the kin of an architecture: Ampere's and Ada's warps wait for products of registers, Hopper's and
Blackwell's start products of shared memory, which copies fill on their own."""
PROCESS = {"ampere": 1 / 0.7}
"""Energy per flop that a process adds: TSMC states 30 % less power for N5, of which the others are, than for N7."""
LAUNCHES = ("launch", "cold_launch", "split_launch", "cold_split")
Floats = NDArray[np.float64]


def part_of(name: str) -> GpuPart:
    part = load_hardware(name)
    assert isinstance(part, GpuPart)
    return part


def donor(architecture: str) -> GpuPart:
    """The card that the kernels of an architecture were measured on."""
    return part_of(OWNERS[architecture])


def others(part: GpuPart) -> list[str]:
    """Architectures of cards that are not left out."""
    return [name for name in OWNERS if name != part.architecture]


def dynamic_watts(part: GpuPart) -> float:
    """Power that the limit leaves to what the card computes."""
    return part.power.limit.si - part.power.static.si


def joules_per_flop(part: GpuPart) -> float:
    """What a flop draws at full clock, over the square of the clock and the process, by the rate the limit allows."""
    full = dynamic_watts(part) / part.gemm.half.sustained.si**3
    return full / (_peak(part) * part.compute.clock.si**2 * PROCESS.get(part.architecture, 1.0))


def _peak(part: GpuPart) -> float:
    return part.compute.tensor[DType.BF16].si


def shares(part: GpuPart) -> dict[str, float]:
    """The shares of the peaks of memory and products that other cards make likely."""
    known = [donor(name) for name in others(part)]
    flop = np.exp(np.mean([np.log(joules_per_flop(each)) for each in known]))
    drawn = flop * part.compute.clock.si**2 * PROCESS.get(part.architecture, 1.0) * _peak(part)
    return {"memory": float(np.mean([each.gemm.half.memory.si for each in known])),
            "sustained": min(1.0, float(dynamic_watts(part) / drawn) ** (1 / 3))}  # fmt: skip


def of_donor(architecture: str) -> dict[str, float]:
    """The shares of the card that the kernels of an architecture were measured on."""
    half = donor(architecture).gemm.half
    return {"memory": half.memory.si, "sustained": half.sustained.si}


def with_kernels(part: GpuPart, architecture: str, rates: dict[str, float], cycles: bool) -> GpuPart:
    """The card with the GEMM kernels of another architecture; ``cycles``: their launches take cycles, not seconds."""
    kernels = read_library(LIBRARY, architecture).gemm
    assert kernels.half is not None
    ratio = donor(architecture).compute.clock.si / part.compute.clock.si if cycles else 1.0
    kernels = kernels.model_copy(update={"half": _slower(kernels.half, ratio)})
    half = part.gemm.half.model_copy(update={
        name: getattr(part.gemm.half, name).model_copy(update={"si": value}) for name, value in rates.items()
    })  # fmt: skip
    library = part.kernels.model_copy(update={"gemm": kernels})
    return part.model_copy(update={"kernels": library, "gemm": part.gemm.model_copy(update={"half": half})})


def _slower(kernel: GpuTileKernel, ratio: float) -> GpuTileKernel:
    seconds = {name: getattr(kernel, name) for name in LAUNCHES}
    return kernel.model_copy(update={
        name: value.model_copy(update={"si": value.si * ratio}) for name, value in seconds.items()
    })  # fmt: skip


def compared(part: GpuPart, table: Path) -> Floats:
    """Errors of the card left out, and prints those of the steps."""
    rows = read_table(table)
    shapes, measured = table_shapes(rows), np.array([row.number("s") for row in rows])

    def errors(predicted: Floats) -> Floats:
        return np.asarray(predicted / measured - 1.0)

    def show(text: str, off: Floats) -> None:
        print(f"{part.name} {text}: {np.abs(off).mean():.1%}, bias {off.mean():+.1%} ({len(off)})", flush=True)

    def seconds(architecture: str, rates: dict[str, float], cycles: bool) -> Floats:
        return gemm_times(with_kernels(part, architecture, rates, cycles), shapes).latency_s + LAUNCH_S

    likely = shares(part)
    print(f"{part.name}: shares of the peaks {likely}")
    for name in others(part):
        show(f"by kernels of {name} as they are", errors(seconds(name, of_donor(name), False)))
    found = []
    for name in KIN[part.architecture]:
        show(f"by kernels of {name}, launches in cycles", errors(seconds(name, of_donor(name), True)))
        found.append(seconds(name, likely, True))
        show(f"by kernels of {name}, launches in cycles, shares of the others", errors(found[-1]))
    off = errors(np.exp(np.mean(np.log(found), axis=0)))
    show(f"by the mean of {' and '.join(KIN[part.architecture])}", off)
    return off


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", action="store_true", help="put the errors into hw_models/accuracy.yaml")
    args = parser.parse_args()
    each = [compared(part_of(card), args.folder / f"{name}.csv.gz") for name, card in CARDS.items()]
    found = np.concatenate(each)
    entry = ClassAccuracy(
        rows=len(found), error=round(float(np.mean([np.abs(own).mean() for own in each])), 4),
        worst=round(float(found[np.abs(found).argmax()]), 4), data="aic_gemm of a100, l40s, b200",
    )  # fmt: skip
    print(entry)
    if args.write:
        path = ROOT / "hw_models/accuracy.yaml"
        path.write_text(merged_text(read_accuracies(path), LEFT_OUT, {"gemm_dense": entry}))


if __name__ == "__main__":
    main()
