# SPDX-License-Identifier: Apache-2.0
"""Fit what a host's threads share: linear layers and CSR products of PyTorch on 1, 4 and 16 threads.

Also what copies over the link and the work of the host share. Run from the root:
``python tests/validation/fit_host.py``. Prints ``memory.channels`` and the section ``threads`` of a part of kind cpu,
with the mean error on the rows fitted (probe_host_h200_sxm5_141gb.jsonl) and on the linear layers and CSR products left
out (host_h200_sxm5_141gb.jsonl).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from simsparse.config.hardware import load_hardware, override_part
from simsparse.config.parts.cpu import CpuPart
from simsparse.core import ops
from simsparse.devices.cpu import Cpu

DATA = Path(__file__).parent / "data/gpu"
KEYS = {"bandwidth": "GB/s", "vectors.bf16": "GB/s", "matrices.fp32": "GB/s", "serial": "", "fork": "us"}
START = (12.0, 6.0, 5.0, 0.08, 10.0)
CSR_KEYS = {"csr.nonzero": "ns", "csr.product": "ns"}
CSR_START = (1.6, 0.06)
Rows = list[dict[str, Any]]
Floats = NDArray[np.float64]


def rows_of(file: str, op: str) -> Rows:
    """The rows of one op."""
    found = [json.loads(line) for line in (DATA / file).read_text(encoding="utf-8").splitlines()]
    return [row for row in found if row["op"] == op]


def errors(point: Floats, keys: dict[str, str], rows: Rows, part: CpuPart) -> Floats:
    """Relative errors of the rows with the numbers ``point`` in the part."""
    said = {f"threads.{key}": f"{value:.6g} {unit}" for value, (key, unit) in zip(point, keys.items(), strict=True)}
    if "vectors.bf16" in keys:
        said["threads.matrices.bf16"] = said["threads.vectors.bf16"]
    found = []
    for row in rows:
        device = Cpu(override_part(part, {**said, "threads.count": str(row["threads"])}))
        fields = {"weight_sparsity": f"unstructured:{row['density']}", "weight_format": "csr"} if "nnz" in row else {}
        op = ops.linear(row["m"], row["n"], row["k"], row["dtype"], **fields)
        found.append(device.costs([op])[0].latency_s / row["s"] - 1)
    return np.array(found)


def fit(op: str, keys: dict[str, str], start: tuple[float, ...]) -> None:
    """Least mean logarithmic error, from the start values."""
    part = load_hardware("cpu/h100-host")
    assert isinstance(part, CpuPart)
    fitted, left_out = rows_of("probe_host_h200_sxm5_141gb.jsonl", op), rows_of("host_h200_sxm5_141gb.jsonl", op)

    def loss(point: Floats) -> float:
        return float(np.mean(np.abs(np.log1p(errors(np.exp(point), keys, fitted, part)))))

    point = np.exp(minimize(loss, np.log(start), method="Nelder-Mead", options={"maxiter": 200}).x)
    for (key, unit), value in zip(keys.items(), point, strict=True):
        print(f"{key}: {value:.4g} {unit}")
    for name, rows in (("fitted", fitted), ("left out", left_out)):
        print(f"{op}, {name}, {len(rows)} rows: {np.mean(np.abs(errors(point, keys, rows, part))):.1%}")


def channels(file: str) -> float:
    """Bytes per second of the channels: the median over rows of work that only streams of what copies take of them."""
    rows = [row for row in rows_of(file, "host_contention") if row["host_task"].startswith(("read", "copy"))]
    return float(np.median([row["copy_bytes"] / row["copy_s"] / (1 - row["host_s_alone"] / row["s"]) for row in rows]))


if __name__ == "__main__":
    print(f"memory.channels: {channels('probe_host_h200_sxm5_141gb.jsonl') / 1e9:.3g} GB/s")
    fit("linear", KEYS, START)
    fit("spmm_csr", CSR_KEYS, CSR_START)
