# SPDX-License-Identifier: Apache-2.0
"""Fit PyTorch's products of 16-bit inputs with packed int8 and int4 weights, and print their numbers.

``python tests/validation/fit_gpu_weight_only.py FILE``: FILE has rows of section ``quant`` measured on an H200, which
are not part of this project. Least squares of log(model / measured); prints the error in sample and with each row
left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from simsparse.config.hardware import load_hardware
from simsparse.devices.gpu_rates import gemm_machine
from simsparse.devices.gpu_weight_only import row_kernel_seconds
from simsparse.validate.gemms import gemm_shapes
from simsparse.validate.measurement import Measurement, read_measurements

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    every = [row for row in read_measurements(parser.parse_args().file) if row.section == "quant"]
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
