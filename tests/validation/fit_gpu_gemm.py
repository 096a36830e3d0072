# SPDX-License-Identifier: Apache-2.0
"""Fit the parameters of the GPU's GEMM model to the probe's GEMMs and write them into hw_models/gpu.

``python tests/validation/fit_gpu_gemm.py [--second FILE] [--write]`` prints errors in sample and cross-validated
(8 folds, whole weight shapes (n, k) left out), then the YAML. H100 and H200 share all parameters but
the L2 rate of the 2:4 path. The reference files (h100_sxm5_80gb.jsonl, ...) are never read. FILE: random shapes of an
H200, for the 2:4 path, which are not part of this project. Dense kernels that a library describes have a
script of their own, fit_gpu_gemm_tiles.py; what this one fits for them goes into files of cards without such kernels.
``probe_*`` files: 40 weight shapes and 17 token counts; ``probe_shapes_*``: 60 further weight shapes, half of
them random, ten random token counts each, measured with the probe's functions on the same days.

Least squares of log(model / measured), robust to the library's odd choices; then, for the 2:4 path, a derating grid
by ridge regression on what is left.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from simsparse.config.hardware import load_hardware
from simsparse.config.parts.gpu import GpuPart
from simsparse.config.parts.gpu_gemm import SECTIONS
from simsparse.config.yaml import read_yaml
from simsparse.devices.gpu_gemm import vector_seconds
from simsparse.devices.gpu_gemm_sparse24 import sparse24_seconds
from simsparse.devices.gpu_gemm_tiles import TensorCard, dense_seconds
from simsparse.devices.gpu_gemm_types import (
    Derating,
    GemmMachine,
    GemmShapes,
    Sparse24Parameters,
    TensorParameters,
    VectorParameters,
)
from simsparse.units import parse_quantity

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/validation/data/gpu"
PARTS = {"h100": "h100-sxm5-80gb", "h200": "h200-sxm5-141gb"}
ASSUMED = ("a100-sxm4-40gb", "a100-sxm4-80gb", "a40", "b200-sxm-180gb", "rtx4090", "t4")
FOLDS = 8
Floats = NDArray[np.float64]

TENSOR = {  # start, least, most
    "launch": (3e-6, 1e-6, 5e-6), "overhead": (2.5, 0, 30), "tensor": (1.08, 1.079, 1.081),
    "sustained": (0.78, 0.3, 1.08), "port": (44, 15, 200), "memory": (0.87, 0.6, 0.95), "stream": (40, 15, 200),
    "split_launch": (3e-6, 0, 6e-6), "clustered": (0.91, 0.909, 0.911), "spread": (0.03, 0.005, 0.08),
}  # fmt: skip
SPARSE24 = {
    "launch": (5.5e-6, 3e-6, 7e-6), "tensor": (0.73, 0.6, 0.9), "sustained": (0.65, 0.3, 1),
    "cache_h100": (37, 20, 100), "cache_h200": (44, 20, 100), "sharing": (1.5, 0, 10), "concurrency": (0.8, 0.3, 1.2),
    "padding_0": (20, 0, 60), "padding_64": (17, 0, 60), "padding_128": (13, 0, 60), "padding_192": (7, 0, 60),
    "padding_concurrency": (0.4, 0.1, 1.2), "padding_share": (0.6, 0.1, 1.2), "memory": (0.85, 0.6, 0.95),
    "pad_launch": (2.4e-6, 1e-6, 4e-6), "pad_memory": (0.9, 0.3, 2), "schedule_launch": (2e-6, 0, 5e-6),
    "split_launch": (2.5e-6, 0, 6e-6), "reduce_launch": (6e-6, 0, 1e-5),
}  # fmt: skip
VECTOR = {
    "vector_launch": (2.5e-6, 1e-6, 5e-6), "stream": (0.85, 0.4, 0.95), "launch": (6e-6, 2e-6, 12e-6),
    "step": (4e-9, 1e-9, 1e-8), "memory": (0.7, 0.3, 0.95), "arithmetic": (0.7, 0.3, 1.08),
}  # fmt: skip
FREE = {
    "fp8": ("launch", "overhead", "sustained", "memory", "port"),
    "int8": ("launch", "overhead", "tensor", "sustained", "memory", "port", "stream"),
}
GRID_M = np.array([1, 32, 128, 512, 2048, 8192], dtype=np.float64)
GRID_NK = np.array([512, 2048, 8192, 32768], dtype=np.float64)
RIDGE, CLIP = 5.0, 0.2
RANDOM = 2.0
"""How often a row of random shapes counts."""
TILES = "gemm-tiles"
"""Source of what fit_gpu_gemm_tiles.py fits."""


@dataclass(frozen=True)
class Rows:
    """Measured GEMMs of one machine; each counts ``weight`` times."""

    name: str
    weight: float
    card: str
    machine: GemmMachine
    shapes: GemmShapes
    seconds: Floats
    group: NDArray[np.str_]

    def take(self, chosen: NDArray[np.bool_]) -> Rows:
        return replace(self, shapes=self.shapes.take(chosen), seconds=self.seconds[chosen], group=self.group[chosen])


def machine_of(card: str) -> GemmMachine:
    data = read_yaml(ROOT / f"hw_models/gpu/{PARTS[card]}.yaml").data

    def value(section: str, key: str, unit: str) -> float:
        return parse_quantity(str(data[section][key]["value"]), unit)

    tensor = {name: parse_quantity(str(q["value"]), "flop/s") for name, q in data["compute"]["tensor"].items()}
    flops = (tensor["fp16"], tensor["fp8"], value("compute", "vector", "flop/s"), tensor["int8"])
    return GemmMachine(
        int(data["compute"]["sms"]["value"]), value("compute", "clock", "Hz"), flops,
        value("memory", "bandwidth", "byte/s"), value("l2", "capacity", "byte"), None,  # type: ignore[arg-type]
    )  # fmt: skip


def load(card: str, files: tuple[str, ...], section: tuple[str, ...], dtype: tuple[str, ...]) -> Rows:
    """Rows of a section and dtype; operands count as L2-resident when all copies fit."""
    part = PARTS[card].replace("-", "_")
    return read(card, card, 1.0, [DATA / f"{name}_{part}.jsonl" for name in files], section, dtype)


def read(
    name: str, card: str, weight: float, files: Sequence[Path], section: tuple[str, ...], dtype: tuple[str, ...]
) -> Rows:
    """Rows of a section and dtype in ``files``."""
    lines = [line for path in files for line in path.read_text().splitlines()]
    rows = [
        row
        for row in map(json.loads, lines)
        if row["section"] in section and str(row["dtype"]).removeprefix("torch.") in dtype
    ]
    machine = machine_of(card)
    m, n, k, copies = (np.array([row[key] for row in rows], dtype=np.int64) for key in ("m", "n", "k", "copies"))
    size = {"bfloat16": 2.0, "fp32": 4.0}.get(dtype[0], 1.0)
    sparse = section == ("gemm_sparse24",)
    resident = copies * n * k * size * (0.5625 if sparse else 1.0) < machine.l2_bytes
    shapes = GemmShapes(m, n, k, np.zeros_like(m), np.full(len(m), size), np.full(len(m), sparse), resident,
                        np.ones_like(m))  # fmt: skip
    group = np.array([f"{row['n']}x{row['k']}" for row in rows])
    return Rows(name, weight, card, machine, shapes, np.array([row["s"] for row in rows]), group)


def tensor_of(values: dict[str, float]) -> TensorParameters:
    return TensorParameters(**values)


def sparse24_of(values: dict[str, float], card: str) -> Sparse24Parameters:
    plain = {name: value for name, value in values.items() if not name.startswith("cache_")}
    return Sparse24Parameters(cache=values[f"cache_{card}"], **plain)


def modelled(kind: str, values: dict[str, float], rows: Rows) -> Floats:
    flops = rows.machine.flops
    if kind == "sparse24":
        return sparse24_seconds(rows.shapes, rows.machine, sparse24_of(values, rows.card), 2 * flops[0]).latency_s
    if kind == "vector":
        return vector_seconds(rows.shapes, rows.machine, VectorParameters(**values), flops[2]).latency_s
    peak = flops[0] if kind == "half" else flops[1]
    card = TensorCard(rows.machine, tensor_of(values), peak)
    return dense_seconds(rows.shapes, card, card).latency_s


def fit(
    kind: str, sets: list[Rows], bounds: dict[str, tuple[float, float, float]], steps: int = 40
) -> dict[str, float]:
    """Parameters that minimise the robust squared log error over all rows."""
    names = list(bounds)
    scale = np.array([bounds[name][0] for name in names])

    def residuals(scaled: Floats) -> Floats:
        values = dict(zip(names, scaled * scale, strict=True))
        return np.concatenate([rows.weight * np.log(modelled(kind, values, rows) / rows.seconds) for rows in sets])

    low, high = (np.array([bounds[name][i] for name in names]) / scale for i in (1, 2))
    found = least_squares(
        residuals, np.ones(len(names)), bounds=(low, high), loss="soft_l1", f_scale=0.08, diff_step=1e-3, max_nfev=steps
    )
    return {name: float(f"{value:.4g}") for name, value in zip(names, found.x * scale, strict=True)}


def corner_weights(rows: Rows) -> Floats:
    """Weight of every grid corner in every row: (rows, corners)."""
    shape = (len(GRID_M), len(GRID_NK), len(GRID_NK))
    columns = []
    for corner in np.ndindex(shape):
        one = np.zeros(shape)
        one[corner] = 1.0
        columns.append(Derating(GRID_M, GRID_NK, GRID_NK, one).at(rows.shapes.m, rows.shapes.n, rows.shapes.k))
    return np.stack(columns, axis=1)


def derating(kind: str, values: dict[str, float], sets: list[Rows]) -> Derating:
    """The grid of measured over modelled time, drawn towards 1 where there is little data."""
    left = np.concatenate([np.clip(np.log(r.seconds / modelled(kind, values, r)), -CLIP, CLIP) for r in sets])
    weights = np.concatenate([corner_weights(rows) for rows in sets])
    solved = np.linalg.solve(weights.T @ weights + RIDGE * np.eye(weights.shape[1]), weights.T @ left)
    factor = np.asarray(np.round(np.exp(solved), 3), np.float64).reshape(len(GRID_M), len(GRID_NK), len(GRID_NK))
    return Derating(GRID_M, GRID_NK, GRID_NK, factor)


def relative_error(kind: str, values: dict[str, float], grid: Derating | None, rows: Rows) -> Floats:
    factor = 1.0 if grid is None else grid.at(rows.shapes.m, rows.shapes.n, rows.shapes.k)
    return modelled(kind, values, rows) * factor / rows.seconds - 1.0


def report(name: str, error: Floats) -> None:
    size = np.abs(error)
    print(f"{name:34} mean {size.mean():6.1%} median {np.median(size):6.1%} p95 {np.quantile(size, 0.95):6.1%}"
          f" worst {size.max():6.1%} bias {error.mean():+6.1%} ({len(size)})", flush=True)  # fmt: skip


def cross_validate(kind: str, sets: list[Rows], bounds: dict[str, tuple[float, float, float]]) -> None:
    """Print errors of rows whose weight shape was left out of the fit."""
    groups = np.unique(np.concatenate([rows.group for rows in sets]))
    fold_of = dict(zip(np.random.default_rng(0).permutation(groups), np.arange(len(groups)) % FOLDS, strict=True))
    errors: dict[str, list[Floats]] = {}
    tokens: dict[str, list[NDArray[np.int64]]] = {}
    for fold in range(FOLDS):
        held = [np.array([fold_of[group] == fold for group in rows.group]) for rows in sets]
        train = [rows.take(~mask) for rows, mask in zip(sets, held, strict=True)]
        values = fit(kind, train, bounds, steps=12)
        grid = derating(kind, values, train)
        for rows, mask in zip(sets, held, strict=True):
            own = rows.take(mask)
            errors.setdefault(rows.name, []).append(relative_error(kind, values, grid, own))
            tokens.setdefault(rows.name, []).append(own.shapes.m)
    for card, parts in errors.items():
        error, m = np.concatenate(parts), np.concatenate(tokens[card])
        report(f"{kind} {card} cross-validated", error)
        for low, high in ((1, 16), (17, 64), (65, 256), (257, 1024), (1025, 8192)):
            if ((m >= low) & (m <= high)).any():
                report(f"    m {low}..{high}", error[(m >= low) & (m <= high)])


def fit_and_report(
    kind: str, sets: list[Rows], bounds: dict[str, tuple[float, float, float]], fitted: dict[str, dict[str, float]]
) -> None:
    """Fit a kind without derating and print its errors in sample."""
    fitted[kind] = fit(kind, sets, bounds)
    print(fitted[kind])
    for rows in sets:
        report(f"{kind} {rows.name} in sample", relative_error(kind, fitted[kind], None, rows))


def number(name: str, value: float, assumed: bool) -> str:
    """One YAML quantity."""
    text = f"{value * 1e9:.4g} ns" if name == "step" else f"{value * 1e6:.3g} us" if value < 1e-4 else f"{value:.4g}"
    origin = 'source: null, basis: assumed, note: "as H100"' if assumed else "source: gemm-fit, basis: measured"
    return f"{{value: {text}, {origin}}}"


def grid_yaml(name: str, grid: Derating) -> list[str]:
    def row(values: Floats) -> str:
        return "[" + ", ".join(f"{value:g}" for value in values) + "]"

    planes = [f"      - [{', '.join(row(line) for line in plane)}]" for plane in grid.factor]
    return [
        f"  {name}_derating:",
        f"    m: {row(grid.m)}",
        f"    n: {row(grid.n)}",
        f"    k: {row(grid.k)}",
        "    source: gemm-fit",
        "    basis: measured",
        "    factor:  # one line an m; a row an n; k along it",
        *planes,
    ]


def due(part: str) -> dict[str, set[str]]:
    """The numbers that a part's own file states: those that kernels read and that a part which it extends has not."""
    loaded = load_hardware(f"gpu/{part}")
    assert isinstance(loaded, GpuPart)
    stated = {path for path, _ in loaded.quantities()}
    base = read_yaml(ROOT / f"hw_models/gpu/{part}.yaml").data.get("extends")
    if base is not None:
        stated -= {path for path, _ in load_hardware(base).quantities()}
    paths = [path.split(".") for path in stated if path.startswith("gemm.")]
    return {kind: {path[2] for path in paths if path[1] == kind} for kind in (*SECTIONS, "sparse24")}


def entries(
    fitted: dict[str, dict[str, float]], grids: dict[str, Derating], part: str, assumed: bool
) -> dict[str, list[str]]:
    """The lines of each entry of a part's gemm section."""
    found = {}
    card, wanted = next((card for card, name in PARTS.items() if name == part), "h100"), due(part)
    for kind, values in fitted.items():
        every = {name.replace(f"_{card}", ""): value for name, value in values.items()}
        own = {name: value for name, value in every.items() if name in wanted[kind]}
        if own:
            lines = (f"    {name}: {number(name, value, assumed)}" for name, value in own.items())
            found[kind] = [f"  {kind}:", *lines]
    if not assumed:
        found |= {f"{name}_derating": grid_yaml(name, grid) for name, grid in grids.items()}
    return found


def replaced(section: str, lines: list[str]) -> str:
    """The gemm section with one entry replaced; numbers of the tile kernels' own fit stay."""
    pattern = rf"(?m)^{lines[0]}\n(?:    .*\n)*"
    old = re.search(pattern, section)
    if old is None:
        return section + "\n".join(lines) + "\n"
    kept = {line.split(":")[0]: line for line in old.group(0).splitlines() if f"source: {TILES}" in line}
    text = "".join(f"{kept.get(line.split(':')[0], line)}\n" for line in lines)
    return re.sub(pattern, lambda _: text, section)


def write(fitted: dict[str, dict[str, float]], grids: dict[str, Derating]) -> None:
    """Replace entries of all GPUs; those not measured take the H100's parameters, without derating."""
    for part in (*PARTS.values(), *ASSUMED):
        path = ROOT / f"hw_models/gpu/{part}.yaml"
        head, section, tail = re.split(r"(?m)(^gemm:.*\n(?:[ #].*\n)*)", path.read_text())
        for lines in entries(fitted, grids, part, part in ASSUMED).values():
            section = replaced(section, lines)
        path.write_text(head + section + tail)


def fit_derated(kind: str, sets: list[Rows], bounds: dict[str, tuple[float, float, float]], quick: bool,
                fitted: dict[str, dict[str, float]], grids: dict[str, Derating]) -> None:  # fmt: skip
    """Fit a kind with its derating, and print its errors in sample and cross-validated."""
    fitted[kind] = fit(kind, sets, bounds)
    grids[kind] = derating(kind, fitted[kind], sets)
    print(fitted[kind])
    for rows in sets:
        report(f"{kind} {rows.name} without derating", relative_error(kind, fitted[kind], None, rows))
        report(f"{kind} {rows.name} in sample", relative_error(kind, fitted[kind], grids[kind], rows))
    if not quick:
        cross_validate(kind, sets, bounds)


def fit_others(fitted: dict[str, dict[str, float]]) -> None:
    """Fit 8-bit kernels next to the 16-bit ones, and those on CUDA cores."""
    files = ("probe", "probe_shapes")
    half = {name: (value, value * 0.999, value * 1.001) for name, value in fitted["half"].items()}
    int8 = {**TENSOR, "tensor": (0.8, 0.2, 1.081)}
    for kind, dtype, bounds in (("fp8", "fp8_e4m3", TENSOR), ("int8", "int8", int8)):
        sets = [load(card, files, ("lowp",), (dtype,)) for card in PARTS]
        fit_and_report(kind, sets, {**half, **{name: bounds[name] for name in FREE[kind]}}, fitted)
    sets = [load(card, files, ("lowp", "gemm_fp32"), ("fp32", "float32")) for card in PARTS]
    fit_and_report("vector", sets, VECTOR, fitted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="replace entries of the gemm sections of hw_models/gpu")
    parser.add_argument("--second", type=Path, help="rows of random shapes of an H200")
    parser.add_argument("--only", choices=("dense", "sparse24"), help="the dense kernels, or the 2:4 ones")
    parser.add_argument("--quick", action="store_true", help="no cross-validation")
    options = parser.parse_args()
    files = ("probe", "probe_shapes")
    fitted: dict[str, dict[str, float]] = {}
    grids: dict[str, Derating] = {}
    if options.only != "sparse24":
        sets = [load(card, files, ("gemm_dense",), ("bfloat16",)) for card in PARTS]
        fit_and_report("half", sets, TENSOR, fitted)
        fit_others(fitted)
    if options.only != "dense":
        sets = [load(card, files, ("gemm_sparse24",), ("bfloat16",)) for card in PARTS]
        if options.second is not None:
            sets.append(read("h200 random", "h200", RANDOM, [options.second], ("gemm_sparse24",), ("bfloat16",)))
        fit_derated("sparse24", sets, SPARSE24, options.quick, fitted, grids)
    if options.write:
        write(fitted, grids)


if __name__ == "__main__":
    main()
