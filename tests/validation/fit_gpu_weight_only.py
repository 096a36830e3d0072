# SPDX-License-Identifier: Apache-2.0
"""Fit kernels of 16-bit inputs with int8 and int4 weights that have no tiles, and print their numbers.

``python tests/validation/fit_gpu_weight_only.py FILE``: FILE has rows of section ``quant`` measured on an H200, to
which PyTorch's packed products are fitted, or is the table of TensorRT-LLM's layers (docs/howto/validate.md), whose
rows of up to four tokens are fitted; neither is part of this project. Least squares of log(model / measured); prints
the error in sample and with each row, or fifths of the weight shapes, left out, and of the table how often the parts
say rightly whether narrow weights pay.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from simsparse.config.hardware import load_hardware
from simsparse.devices.gpu import Gpu
from simsparse.devices.gpu_rates import gemm_machine
from simsparse.devices.gpu_vector_kernels import vector_kernel_seconds
from simsparse.devices.gpu_weight_only import row_kernel_seconds
from simsparse.validate.comparison import Prediction
from simsparse.validate.gemms import gemm_shapes
from simsparse.validate.measurement import Measurement, read_measurements
from simsparse.validate.tables import read_table
from simsparse.validate.tables.gemm import (
    PROFILED_S,
    SECTION,
    WIDENED_SECTION,
    predict_gemm_table,
    predict_widened_table,
    table_shapes,
)

KERNELS = {"int8": ("torch._weight_int8pack_mm", 1.0), "int4": ("torch._weight_int4pack_mm", 0.53125)}
"""Kernel and bytes of a weight, scales included, by type of the weights."""
START = {"launch": 3e-6, "step": 10.0, "outputs": 100.0, "sharpness": 2.0, "memory": 0.5}
MOST_MEMORY = 0.95
Floats = NDArray[np.float64]


def off(logs: Floats, rows: list[Measurement], weight_bytes: float) -> Floats:
    """log(model / measured) of each row."""
    values = {name: float(value) for name, value in zip(START, np.exp(logs), strict=True)}
    values["memory"] = min(values["memory"], MOST_MEMORY)
    part = SimpleNamespace(**{name: SimpleNamespace(si=value) for name, value in values.items()},
                           weight_bytes=SimpleNamespace(si=weight_bytes))  # fmt: skip
    machine = gemm_machine(load_hardware("gpu/h200-sxm5-141gb"))  # type: ignore[arg-type]
    seconds = row_kernel_seconds(gemm_shapes(rows), machine, part).latency_s  # type: ignore[arg-type]
    return np.log(seconds / np.array([row.number("s") for row in rows]))


def fitted(rows: list[Measurement], weight_bytes: float, start: Floats) -> Floats:
    return least_squares(off, start, args=(rows, weight_bytes), loss="soft_l1", f_scale=0.1).x


VECTOR_START = {"launch": 3e-6, "block": 1.0, "issue": 0.015, "memory": 0.85}
FEW_TOKENS, FOLDS = 4, 5
"""Tokens up to which the matrix-vector kernel runs for certain; parts of the weight shapes, left out in turn."""
CARDS = {"h200": "gpu/h200-sxm5-141gb", "a100": "gpu/a100-sxm4-80gb", "l40s": "gpu/l40s-48gb"}


def vector_off(logs: Floats, rows: list[Measurement], card: str) -> Floats:
    """log(model / measured) of each row of a table of ``card``."""
    values = {name: float(value) for name, value in zip(VECTOR_START, np.exp(logs), strict=True)}
    values["memory"] = min(values["memory"], MOST_MEMORY)
    part = SimpleNamespace(**{name: SimpleNamespace(si=value) for name, value in values.items()})
    machine = gemm_machine(load_hardware(CARDS[card]))  # type: ignore[arg-type]
    seconds = vector_kernel_seconds(table_shapes(rows), machine, part).latency_s + PROFILED_S[card]  # type: ignore[arg-type]
    return np.log(seconds / np.array([row.number("s") for row in rows]))


def vector_fitted(rows: list[Measurement], card: str, start: Floats) -> Floats:
    return least_squares(vector_off, start, args=(rows, card), loss="soft_l1", f_scale=0.05).x


def fit_vectors(every: list[Measurement]) -> None:
    for card in CARDS:
        for name in KERNELS:
            rows = [row for row in every if row.fields["gpu"] == card and row.whole("m") <= FEW_TOKENS
                    and row.fields["gemm_dtype"] == f"{name}_wo"]  # fmt: skip
            fold = np.array([(row.whole("n") * 7 + row.whole("k")) // 128 % FOLDS for row in rows])
            found = vector_fitted(rows, card, np.log(list(VECTOR_START.values())))
            left = np.empty(len(rows))
            for own in range(FOLDS):
                kept, out = ([row for row, place in zip(rows, fold, strict=True) if (place == own) == held]
                             for held in (False, True))  # fmt: skip
                left[fold == own] = vector_off(vector_fitted(kept, card, found), out, card)
            inside = np.abs(np.expm1(vector_off(found, rows, card))).mean()
            print(f"{card} {name}: {len(rows)} rows, in sample {inside:.1%}, shapes left out "
                  f"{np.abs(np.expm1(left)).mean():.1%}")  # fmt: skip
            print({key: float(f"{value:.4g}") for key, value in zip(VECTOR_START, np.exp(found), strict=True)})


def print_signs(every: list[Measurement]) -> None:
    """How often the parts as they are say rightly whether narrow weights beat 16-bit ones of the same table."""
    for card, part in CARDS.items():
        own, gpu = [row for row in every if row.fields["gpu"] == card], Gpu(load_hardware(part))
        found: dict[tuple[object, ...], Prediction] = {}
        for predict, section in ((predict_gemm_table, SECTION), (predict_widened_table, WIDENED_SECTION)):
            rows = [row for row in own if row.section == section]
            found |= {_key(each.row): each for each in predict(gpu, rows) if isinstance(each, Prediction)}
        for name in KERNELS:
            pairs = [(each, found["bfloat16", *key[1:]]) for key, each in found.items()
                     if key[0] == f"{name}_wo" and ("bfloat16", *key[1:]) in found]  # fmt: skip
            right = [(a.measured < b.measured) == (a.predicted < b.predicted) for a, b in pairs]
            print(f"{card} {name}: sign right in {np.mean(right):.1%} of {len(pairs)} rows")


def _key(row: Measurement) -> tuple[object, ...]:
    return tuple(row.fields[name] for name in ("gemm_dtype", "m", "n", "k"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    path = parser.parse_args().file
    if ".csv" in path.suffixes:
        fit_vectors(read_table(path))
        print_signs(read_table(path))
    else:
        fit_packed([row for row in read_measurements(path) if row.section == "quant"])


def fit_packed(every: list[Measurement]) -> None:
    for name, (kernel, weight_bytes) in KERNELS.items():
        rows = [row for row in every if row.fields.get("kernel") == kernel]
        found = fitted(rows, weight_bytes, np.log(list(START.values())))
        left = [off(fitted(rows[:i] + rows[i + 1 :], weight_bytes, found), [row], weight_bytes)[0]
                for i, row in enumerate(rows)]  # fmt: skip
        inside = np.abs(np.expm1(off(found, rows, weight_bytes))).mean()
        print(f"{name}: {len(rows)} rows, in sample {inside:.1%}, each left out {np.abs(np.expm1(left)).mean():.1%}")
        print({key: float(f"{value:.4g}") for key, value in zip(START, np.exp(found), strict=True)})


if __name__ == "__main__":
    main()
