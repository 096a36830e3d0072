# SPDX-License-Identifier: Apache-2.0
"""Fit the fused MoE kernels of serving engines to public tables and print them as YAML for hw_models/kernels.

``python tests/validation/fit_gpu_moe.py FOLDER``: FOLDER holds tables of ai-dynamo/aiconfigurator at commit
095f58a51c4c as CSV (docs/howto/validate.md names the files); they are not part of this project. Half of the rows of
each table were at hand. Without FOLDER: the framework's grouped GEMM, fitted to our own measurements. Prints the error
in sample and over five folds that leave whole layers (hidden size, expert size, top_k, experts) out. Least squares of
log(model / measured), with a weak pull towards the start values, so that what a table does not determine stays there.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from simsparse.config.parts.gpu_moe import GpuGroupedGemm
from simsparse.devices.gpu_card import Card
from simsparse.devices.gpu_grouped import ExpertCounts, GroupedShapes
from simsparse.devices.gpu_moe import MoeShapes, fused_seconds, grouped_gemm_seconds
from simsparse.validate.measurement import Measurement
from simsparse.validate.tables import read_table
from simsparse.validate.tables.moe import moe_layers

ROOT = Path(__file__).resolve().parents[2]
Floats = NDArray[np.float64]
PULL, FOLDS = 0.05, 5


@dataclass(frozen=True)
class Fit:
    """A table's rows of one type of weights, and the library and card that they are of."""

    table: str
    kind: str
    dtype: str
    library: str
    architecture: str
    card: Card
    flops: float
    tiles: str
    weight_bits: float
    quantizes: bool = False
    shared: float = 227 * 1024
    warps: float = 64


HOPPER, FP8 = 989.4e12, 1978.9e12


def card(sms: int, clock_hz: float, memory_bytes_per_s: float, l2_bytes: float) -> Card:
    """A card of which the model reads these numbers only."""
    return Card(sms, clock_hz, 0, memory_bytes_per_s, 0, 0, 0, 0, l2_bytes, 0, 0, 0, 0)


H200 = card(132, 1.83e9, 4.8e12, 60 * 2**20)
H100 = card(132, 1.83e9, 3.35e12, 50 * 2**20)
A100 = card(108, 1.41e9, 2.039e12, 40 * 2**20)
L40S = card(142, 2.52e9, 0.864e12, 96 * 2**20)
FITS = (
    Fit("aic_moe_h200_power", "bfloat16", "bf16", "vllm-0.22", "hopper", H200, HOPPER, "vllm", 16),
    Fit("aic_moe_h200_power", "fp8", "fp8", "vllm-0.22", "hopper", H200, FP8, "vllm-fp8", 8, True),
    Fit("aic_moe_h200_power", "fp8_block", "fp8-block", "vllm-0.22", "hopper", H200, FP8, "vllm-fp8-block", 8, True),
    Fit("aic_moe_h100_bf16", "bfloat16", "bf16", "vllm-0.24", "hopper", H100, HOPPER, "vllm", 16),
    Fit("aic_moe_l40s_bf16", "bfloat16", "bf16", "vllm-0.24", "ada", L40S, 362e12, "vllm", 16, shared=100 * 1024,
        warps=48),
    Fit("aic_moe_a100_bf16", "bfloat16", "bf16", "sglang-0.5.10", "ampere", A100, 312e12, "sglang", 16,
        shared=164 * 1024),
    Fit("aic_moe_h200_w4a16mxfp4", "w4a16_mxfp4", "mxfp4", "trtllm-1.2", "hopper", H200, HOPPER, "triton-kernels",
        4.25),
)  # fmt: skip
START = {  # start, least, most
    "launch": (17e-6, 1e-6, 60e-6), "few": (12e-6, 1e-6, 60e-6), "sort": (3e-10, 1e-11, 5e-9),
    "quantize": (3e-6, 1e-6, 9e-6), "activation": (0.5, 0.05, 1), "combine": (0.4, 0.05, 1),
    "block": (3600, 200, 4e4), "latency": (1300, 60, 1e4), "port": (36, 5, 200), "tensor_16": (0.3, 0.05, 1),
    "tensor_32": (0.4, 0.05, 1), "tensor_64": (0.55, 0.05, 1), "tensor_128": (0.6, 0.05, 1),
    "memory": (0.92, 0.4, 0.96), "resident": (0.3, 0.02, 1.2), "join": (3, 1.2, 8), "unaligned": (12, 1, 50),
    "unaligned_16": (8, 1, 50),
    "empty": (1, 0.1, 20),
}  # fmt: skip
OUTER = ("launch", "few", "sort", "quantize", "activation", "combine")
UNITS = {"launch": "us", "few": "us", "quantize": "us", "sort": "ps"}
SCALE = {"us": 1e6, "ps": 1e12, "": 1.0}


@dataclass(frozen=True)
class Data:
    """Layers of a table, the row of each, and seconds of the rows."""

    rows: list[Measurement]
    shapes: MoeShapes
    owner: NDArray[np.int64]
    seconds: Floats

    @classmethod
    def of(cls, fit: Fit, rows: list[Measurement]) -> Data:
        shapes, owner = moe_layers(rows, fit.library, fit.flops)
        return cls(rows, shapes, owner, np.array([row.number("s") for row in rows]))

    def modelled(self, fit: Fit, model: Any) -> Floats:
        times = fused_seconds(self.shapes, model, fit.card).latency_s
        return np.bincount(self.owner, times, len(self.rows)) / np.bincount(self.owner, minlength=len(self.rows))


def model_of(fit: Fit, values: dict[str, float]) -> Any:
    """The model's parameters as its code reads them."""

    def quantity(value: float) -> Any:
        return SimpleNamespace(si=value)

    gemm = {key: quantity(value) for key, value in values.items() if key not in OUTER}
    outer = {key: quantity(value) for key, value in values.items() if key in OUTER}
    if not fit.quantizes:
        outer["quantize"] = quantity(0.0)
    return SimpleNamespace(
        tiles=fit.tiles, weight_bits=quantity(fit.weight_bits), **outer,
        gemm=SimpleNamespace(**gemm, shared=quantity(fit.shared), warps=quantity(fit.warps), stream=None),
    )  # fmt: skip


def fitted(fit: Fit, data: Data) -> dict[str, float]:
    """Parameters of least squared log error, pulled weakly towards the start."""
    names = [name for name in START if name != "quantize" or fit.quantizes]
    start, least, most = (np.log([START[name][i] for name in names]) for i in range(3))
    pull = PULL * np.sqrt(len(data.rows) / 1000)

    def residuals(point: Floats) -> Floats:
        values = dict(zip(names, np.exp(point), strict=True))
        off = np.log(data.modelled(fit, model_of(fit, values)) / data.seconds)
        return np.concatenate([off, pull * (point - start)])

    found = least_squares(residuals, start, loss="soft_l1", f_scale=0.1, bounds=(least, most), max_nfev=40)
    return dict(zip(names, np.exp(found.x), strict=True))


def error(fit: Fit, data: Data, values: dict[str, float]) -> Floats:
    """Relative error of each row."""
    return data.modelled(fit, model_of(fit, values)) / data.seconds - 1


def folds(rows: list[Measurement]) -> NDArray[np.int64]:
    """Fold of each row; a layer's rows are in one."""
    keys = [tuple(row.whole(k) for k in ("hidden_size", "inter_size", "topk", "num_experts")) for row in rows]
    order = {key: i % FOLDS for i, key in enumerate(sorted(set(keys)))}
    return np.array([order[key] for key in keys])


def thinned(rows: list[Measurement], most: int, seed: int = 0) -> list[Measurement]:
    """At most ``most`` of the rows, drawn evenly."""
    if len(rows) <= most:
        return rows
    chosen = np.random.default_rng(seed).permutation(len(rows))[:most]
    return [rows[i] for i in sorted(chosen)]


def yaml_lines(fit: Fit, values: dict[str, float]) -> str:
    """The ``fused`` entry of the library's YAML."""

    def line(key: str, indent: int) -> str:
        unit = UNITS.get(key, "")
        value = f"{values[key] * SCALE[unit]:.4g}" + (f" {unit}" if unit else "")
        return f"{' ' * indent}{key}: {{value: {value}, source: moe-fit, basis: measured}}\n"

    text = f"    {fit.dtype}:\n      tiles: {fit.tiles}\n"
    text += f"      weight_bits: {{value: {fit.weight_bits}, source: {fit.library}, basis: standard}}\n"
    unused = f'{{value: 0 us, source: {fit.library}, basis: standard, note: "activations stay as they are"}}'
    for key in OUTER:
        text += line(key, 6) if key in values else f"      {key}: {unused}\n"
    text += "      gemm:\n" + "".join(line(key, 8) for key in GpuGroupedGemm.model_fields if key in values)
    text += f"        shared: {{value: {fit.shared / 1024:.0f} KiB, source: cuda-guide, basis: standard}}\n"
    return text + f"        warps: {{value: {fit.warps:.0f}, source: cuda-guide, basis: standard}}\n"


def grouped_rows(name: str) -> list[dict[str, Any]]:
    """Rows of torch._grouped_mm in a file of ours."""
    lines = (ROOT / "tests/validation/data/gpu" / name).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [row for row in rows if row["section"] == "grouped_gemm" and row["op"] == "grouped_mm"]


def grouped_shapes(rows: list[dict[str, Any]]) -> GroupedShapes:
    n, k = (np.array([float(row[key]) for row in rows]) for key in ("n", "k"))
    same = np.ones(len(rows))
    counts = ExpertCounts.of([tuple(row["counts"]) for row in rows])
    return GroupedShapes(counts, n, k, 2 * same, 2 * same, HOPPER * same, np.inf * same)


def fit_grouped() -> None:
    """Fit the framework's grouped GEMM to random shapes, and judge it on other layers."""
    names = [name for name in START if name not in OUTER and name not in ("unaligned", "unaligned_16", "empty")]
    names = ["launch", *names]
    start, least, most = (np.log([START[name][i] for name in names]) for i in range(3))
    start[names.index("block")], start[names.index("latency")] = np.log(6000), np.log(4000)
    rows, others = (grouped_rows(f"{name}_h200_sxm5_141gb.jsonl") for name in ("attn_shapes", "attention"))

    def model(point: Floats) -> Any:
        values = {**{name: START[name][0] for name in START}, **dict(zip(names, np.exp(point), strict=True))}
        gemm = {key: SimpleNamespace(si=value) for key, value in values.items() if key not in OUTER}
        gemm |= {"shared": SimpleNamespace(si=227 * 1024.0), "warps": SimpleNamespace(si=64.0), "stream": None}
        return SimpleNamespace(tiles="cutlass", launch=SimpleNamespace(si=values["launch"]),
                               gemm=SimpleNamespace(**gemm))  # fmt: skip

    def off(point: Floats, own: list[dict[str, Any]], shapes: GroupedShapes) -> Floats:
        seconds = grouped_gemm_seconds(shapes, model(point), H200).latency_s
        return np.log(seconds / np.array([row["s"] for row in own]))

    shapes = grouped_shapes(rows)
    found = least_squares(
        lambda point: np.concatenate([off(point, rows, shapes), 0.02 * (point - start)]), start, loss="soft_l1",
        f_scale=0.1, bounds=(least, most), max_nfev=60,
    ).x  # fmt: skip
    inside = np.abs(np.expm1(off(found, rows, shapes)))
    outside = np.abs(np.expm1(off(found, others, grouped_shapes(others))))
    print(f"# grouped: {len(rows)} rows, mean {inside.mean():.3f}; on {len(others)} other rows {outside.mean():.3f}")
    for name, value in zip(names, np.exp(found), strict=True):
        unit = UNITS.get(name, "")
        print(f"      {name}: {{value: {value * SCALE[unit]:.4g}{' ' + unit if unit else ''}, source: grouped-fit, "
              "basis: measured}")  # fmt: skip
    drawn = np.exp(found[names.index("memory")]) * H200.memory_bytes_per_s / (H200.sms * H200.clock_hz)
    print(f"# memory as bytes per cycle and SM (stream): {drawn:.4g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--cross", action="store_true", help="also leave layers out")
    parser.add_argument("--only", default="")
    parser.add_argument("--rows", type=int, default=4000, help="rows to fit on")
    args = parser.parse_args()
    if args.folder is None:
        fit_grouped()
        return
    for fit in FITS:
        if args.only and args.only not in f"{fit.table} {fit.dtype}":
            continue
        rows = [row for row in read_table(args.folder / f"{fit.table}.csv.gz") if row.text("moe_dtype") == fit.kind]
        some = thinned(rows, args.rows)
        values = fitted(fit, Data.of(fit, some))
        off = error(fit, Data.of(fit, rows), values)
        print(
            f"# {fit.table} {fit.dtype}: {len(rows)} rows, mean {np.abs(off).mean():.3f}, median "
            f"{np.median(np.abs(off)):.3f}, bias {off.mean():+.3f}, p90 {np.quantile(np.abs(off), 0.9):.3f}",
            flush=True,
        )
        if args.cross:
            place, held = folds(some), []
            for fold in range(FOLDS):
                train = [row for row, own in zip(some, place, strict=True) if own != fold]
                test = [row for row, own in zip(some, place, strict=True) if own == fold]
                found = fitted(fit, Data.of(fit, train))
                held.append(np.abs(error(fit, Data.of(fit, test), found)))
            print(f"# layers left out: {np.concatenate(held).mean():.3f}", flush=True)
        print(yaml_lines(fit, values), flush=True)


if __name__ == "__main__":
    main()
