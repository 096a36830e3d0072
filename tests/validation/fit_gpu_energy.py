# SPDX-License-Identifier: Apache-2.0
"""Fit the prices of a Hopper GPU's actions and its static power to measured energies, and print them as YAML.

``python tests/validation/fit_gpu_energy.py``. The rows are those of section ``energy`` of probe_*.jsonl and
kernels_h200_sxm5_141gb.jsonl under tests/validation/data/gpu: H100 and H200 share the processor and get the
same prices. Energy is static power over the measured time plus prices times counts, no more than the power
limit allows. Errors are relative; those of the second file are also printed with each row left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from simsparse.config.hardware import load_hardware
from simsparse.core import Action
from simsparse.devices.gpu import Gpu
from simsparse.validate.kernels import full_counts
from simsparse.validate.measurement import read_measurements

DATA = Path(__file__).resolve().parent / "data/gpu"
FILES = {
    "probe_h100_sxm5_80gb": "gpu/h100-sxm5-80gb", "probe_h200_sxm5_141gb": "gpu/h200-sxm5-141gb",
    "kernels_h200_sxm5_141gb": "gpu/h200-sxm5-141gb",
}  # fmt: skip
START = {"static": 150.0, "hbm_read_byte": 100.0, "hbm_write_byte": 110.0, "tensor_mac": 2.0, "tensor24_mac": 3.3}
"""Watts, and picojoules per action."""
ACTIONS: tuple[Action, ...] = (
    ("hbm", "read_byte"), ("hbm", "write_byte"), ("tensor", "mac_bf16"), ("tensor24", "mac_bf16"),
)  # fmt: skip
SHARPNESS = 12
"""Power of the mean that takes the place of the minimum while fitting, so that rows at the limit count too."""
Floats = NDArray[np.float64]


def load(name: str) -> tuple[Floats, Floats]:
    """Features (seconds, then picocounts) and joules of a file's rows."""
    gpu = Gpu(load_hardware(FILES[name]))  # type: ignore[arg-type]
    rows = [row for row in read_measurements(DATA / f"{name}.jsonl") if row.section == "energy"]
    found = [(row, counts) for row in rows if not isinstance(counts := full_counts(gpu, row), str)]
    features = [[row.number("s"), *(1e-12 * counts.of(*action) for action in ACTIONS)] for row, counts in found]
    return np.array(features), np.array([row.number("joule") for row, _ in found])


def joules(prices: Floats, features: Floats, sharp: float) -> Floats:
    """Energies; ``sharp`` as of SHARPNESS, infinite for the minimum."""
    limit = load_hardware("gpu/h200-sxm5-141gb").power.limit.si * features[:, 0]  # type: ignore[attr-defined]
    full = features @ prices
    return np.minimum(full, limit) if np.isinf(sharp) else (full**-sharp + limit**-sharp) ** (-1 / sharp)


def fit(features: Floats, measured: Floats) -> Floats:
    start = np.array(list(START.values()))

    def residuals(prices: Floats) -> Floats:
        return np.log(joules(prices, features, SHARPNESS) / measured)

    return least_squares(residuals, start, x_scale=start, loss="soft_l1", f_scale=0.05, bounds=(0, 5 * start)).x


def report(name: str, error: Floats) -> None:
    print(f"{name:40} mean {np.abs(error).mean():.1%} worst {np.abs(error).max():.1%} ({len(error)})")


def left_out(sets: Sequence[tuple[Floats, Floats]]) -> Floats:
    """Relative errors of the last set's rows, each left out of the fit."""
    features, measured = (np.concatenate(column) for column in zip(*sets, strict=True))
    errors = []
    for i in range(len(measured) - len(sets[-1][1]), len(measured)):
        others = np.arange(len(measured)) != i
        prices = fit(features[others], measured[others])
        errors.append(joules(prices, features[i : i + 1], np.inf)[0] / measured[i] - 1)
    return np.array(errors)


def main() -> None:
    sets = [load(name) for name in FILES]
    prices = fit(*(np.concatenate(column) for column in zip(*sets, strict=True)))
    for name, (features, measured) in zip(FILES, sets, strict=True):
        report(name, joules(prices, features, np.inf) / measured - 1)
    report("second file, each row left out", left_out(sets))
    for key, price in zip(START, prices, strict=True):
        print(f"{key}: {price:.4g} {'W' if key == 'static' else 'pJ'}")


if __name__ == "__main__":
    main()
