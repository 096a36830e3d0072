# SPDX-License-Identifier: Apache-2.0
"""Fit the kernels that are no GEMM and no attention, and write them into hw_models/kernels/pytorch-2.11/hopper.yaml.

``python tests/validation/fit_gpu_kernels.py [CLASS ...] [--write]`` prints the errors of each class in
sample and cross-validated (whole shapes left out), then its YAML. The rows lie under
tests/validation/data/gpu: kernels_h200_sxm5_141gb.jsonl, the copies and sums of probe_*.jsonl, and
launched_h200_sxm5_141gb.jsonl, the kernels of layers of Hugging Face models with durations by the
profiler. A class starts from ``PRIORS``, which a fit may leave by a factor of e ** 0.3 at the price of an
error of 5 %: most classes have fewer rows than would fix every parameter.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from simsparse.config.hardware import load_hardware
from simsparse.devices.gpu_card import Card
from simsparse.devices.gpu_conv import conv_kernels, conv_times
from simsparse.devices.gpu_launched import (
    Gather,
    LaunchedKernel,
    NormRows,
    Reduce,
    SoftmaxRows,
    Sort,
    Stream,
    Topk,
    launched_times,
)
from simsparse.devices.gpu_norm import Norm
from simsparse.devices.gpu_spmm import BsrKernels, CsrKernels, bsr_times, csr_times
from simsparse.devices.gpu_stream import Form, Function
from simsparse.devices.gpu_zerocopy import zerocopy_seconds
from simsparse.validate.kernel_rows import conv_op, launched_seconds
from simsparse.validate.measurement import Measurement, read_measurements

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/validation/data/gpu"
LIBRARY = ROOT / "hw_models/kernels/pytorch-2.11/hopper.yaml"
ASSUMED = ("ampere", "ada", "turing")
MEASURED = "source: kernel-fit, basis: measured"
AS_HOPPER = 'source: null, basis: assumed, note: "as hopper"'
FOLDS, RIDGE, SPREAD = 12, 0.05, 0.3
Floats = NDArray[np.float64]
Values = dict[str, float]

PRIORS: dict[str, Values] = {
    "stream": {
        "start": 0.25e-6, "functions": 0.11e-6, "addresses": 0.45e-6, "pieces": 0.8e-6, "strided": 79, "widening": 86,
        "concatenated": 136, "compiled": 62, "silu": 9.7, "gelu": 31, "overlap": 2.3,
    },
    "reduce": {
        "start": 0.56e-6, "level": 0.045e-6, "shared": 4.2e-6, "cache_latency": 0.01e-6, "memory_latency": 0.3e-6,
        "sum": 5.5, "max": 22, "argmax": 36, "thread": 220, "port": 18, "vector_port": 64,
    },
    "norm": {
        "start": 0.6e-6, "row_latency": 0.19e-6, "cache_latency": 0.26e-6, "memory_latency": 0.56e-6,
        "rms_chain": 0.1e-6, "layer_chain": 0.32e-6, "rms": 9.2, "layer": 27, "row": 290,
    },
    "softmax": {
        "start": 0.3e-6, "row_latency": 0.8e-6, "step_latency": 0.29e-6, "warp_latency": 0.15e-6,
        "lane_latency": 0.08e-6, "warp": 29, "warp_row": 2400,
        "warp_width": 0.017, "registers": 95, "passes": 68,
    },
    "gather": {
        "start": 0.29e-6, "cache_latency": 0.11e-6, "memory_latency": 0.61e-6, "row_latency": 0.52e-6, "block": 143,
        "addition": 2.0, "random": 0.9,
    },
    "topk": {
        "block": 4.5e-6, "drawn": 0.4, "warp": 0.23e-6, "multi_launch": 50e-6, "passes": 0.4, "sort_unit": 10e-6,
        "sort": 2.4e-6, "block_sort": 27e-6, "sort_pass": 7.3e-6,
    },
    "conv": {
        "launch": 3.0e-6, "dense_launch": 0.7e-6, "tensor": 0.91, "sustained": 0.74, "unaligned": 0.034, "port": 120,
        "store": 55, "step": 165, "tile": 1300, "spread": 0.3, "depthwise_launch": 1.75e-6,
        "depthwise_latency": 1.6e-6, "depthwise_output": 19, "depthwise_tap": 4.1,
    },
    "csr": {"dispatch": 32e-6, "launch": 14e-6, "rate": 7.6, "row": 7.2, "half_piece": 0.92},
    "bsr": {
        "dispatch": 0.28e-3, "launch": 2.0e-6, "step_16": 72, "step_32": 176, "step_64": 470, "step_128": 3800,
        "start_16": 95, "start_32": 330, "start_64": 1400, "start_128": 3000, "wait_32": 700, "wait_64": 1200,
        "alone": 1800, "spilled": 270,
    },
    "zerocopy": {"row": 8.57e-9, "link": 0.8},
}  # fmt: skip
GAP_S = 0.2e-6
"""What lies between two kernels of a graph and outside the time that a profiler gives to either."""
LATENCIES = 1e-3
"""Below, a value is seconds; ratios are larger."""


@dataclass(frozen=True)
class Rows:
    """Measured rows of one card."""

    card: Card
    rows: tuple[Measurement, ...]

    @property
    def seconds(self) -> Floats:
        return np.array([row.number("s") for row in self.rows])

    def take(self, keep: Callable[[Measurement], bool]) -> Rows:
        return replace(self, rows=tuple(row for row in self.rows if keep(row)))


def library_of(name: str, values: Values, fixed: dict[str, Any]) -> Any:
    """A library that has the section ``name`` with ``values``, beside sections fitted before."""
    section = SimpleNamespace(**{key: SimpleNamespace(si=value) for key, value in values.items()})
    return SimpleNamespace(**{**fixed, name: section})


def predicted(name: str, library: Any, rows: Rows) -> Floats:
    """Seconds of each row by the model of class ``name``."""
    own, card = rows.rows, rows.card
    if own and own[0].section == "launched":
        return launched_times(card, library, [launched_kernel(row) for row in own]).latency_s - GAP_S
    if name == "conv":
        ops = [conv_op(row) for row in own]
        peak = np.full(len(ops), load_hardware("gpu/h200-sxm5-141gb").compute.tensor["bf16"].si)  # type: ignore[attr-defined]
        return conv_times(card, library.conv, conv_kernels(ops), peak).latency_s
    column = lambda key: np.array([row.fields[key] for row in own], np.float64)  # noqa: E731
    if name == "csr":
        return csr_times(card, library.csr, CsrKernels(column("m"), column("n"), column("nnz"))).latency_s
    if name == "bsr":
        shapes = BsrKernels(column("m"), column("n"), column("k"), column("block"), column("nnzb"))
        return bsr_times(card, library.bsr, shapes).latency_s
    if name == "zerocopy":
        link = load_hardware("link/pcie5-x16").bandwidth.si  # type: ignore[attr-defined]
        return zerocopy_seconds(library.zerocopy, link, column("rows"), column("row_bytes"), column("offset"))
    return launched_seconds(card, library, own)


def launched_kernel(row: Measurement) -> LaunchedKernel:
    """The kernel of a row of section ``launched``; what it reads, the kernel before wrote."""
    rows, columns, size = row.whole("rows"), row.whole("cols"), row.dtype().bits / 8
    elements, moved = rows * columns, rows * columns * size
    one, two = (Stream(elements, reads * moved, moved, fresh=moved) for reads in (1, 2))
    strided, silu = {"form": Form.STRIDED}, {"function": Function.SILU}
    kernels: dict[str, LaunchedKernel] = {
        "pow": one, "to_bf16": one._replace(write=moved / 2),
        "to_fp32": one._replace(write=2 * moved, form=Form.WIDENING), "silu": one._replace(**silu),
        "silu_strided": one._replace(**strided, **silu), "repeat_kv": Stream(elements, moved / 4, moved, Form.STRIDED),
        "cat_halves": one._replace(form=Form.CONCATENATED, fresh=moved / 2), "add": two, "mul": two,
        **dict.fromkeys(("mul_column", "mul_weight", "neg_half", "masked_fill"), one._replace(**strided)),
        **dict.fromkeys(("add_strided", "mul_strided"), two._replace(**strided)),
        "mean_last": Reduce(rows, columns, size, fresh=moved), "softmax": SoftmaxRows(rows, columns, size, fresh=moved),
        "layer_norm": NormRows(Norm.LAYER, rows, columns, size, fresh=moved),
        "gather_rows": Gather(rows, columns * size, size, fresh=moved),
        "topk": Topk(rows, columns, row.fields.get("k", 1), size), "sort": Sort(rows, columns, size),
    }  # fmt: skip
    return kernels[row.text("op")]


def fit(name: str, sets: Sequence[Rows], fixed: dict[str, Any], start: Floats | None = None) -> tuple[Values, Floats]:
    """Values that minimise the robust squared log error plus the pull towards the priors."""
    prior = PRIORS[name]

    def values(moved: Floats) -> Values:
        return {key: value * float(np.exp(step)) for (key, value), step in zip(prior.items(), moved, strict=True)}

    def residuals(moved: Floats) -> Floats:
        library = library_of(name, values(moved), fixed)
        left = [np.log(predicted(name, library, rows) / rows.seconds) * weight(rows) for rows in sets]
        return np.concatenate([*left, RIDGE / SPREAD * moved])

    found = least_squares(residuals, np.zeros(len(prior)) if start is None else start, loss="soft_l1", f_scale=0.08)
    return values(found.x), found.x


def weight(rows: Rows) -> Floats:
    """Copies and sums of whole buffers and kernels of a few models' layers are many rows of few shapes: less weight."""
    return np.array([{"mem": 0.5, "launched": 0.4}.get(row.section, 1.0) for row in rows.rows])


def cross_validated(name: str, sets: Sequence[Rows], fixed: dict[str, Any], start: Floats) -> list[Floats]:
    """Relative errors of rows whose shape was left out of the fit."""
    shapes = sorted({shape_of(row) for rows in sets for row in rows.rows})
    fold_of = {shape: i % FOLDS for i, shape in enumerate(np.random.default_rng(0).permutation(shapes))}
    errors = [np.zeros(len(rows.rows)) for rows in sets]
    for fold in range(min(FOLDS, len(shapes))):
        train = [rows.take(lambda row, fold=fold: fold_of[shape_of(row)] != fold) for rows in sets]  # type: ignore[misc]
        library = library_of(name, fit(name, train, fixed, start)[0], fixed)
        for error, rows in zip(errors, sets, strict=True):
            held = np.array([fold_of[shape_of(row)] == fold for row in rows.rows])
            error[held] = (predicted(name, library, rows) / rows.seconds - 1)[held]
    return errors


def shape_of(row: Measurement) -> str:
    """What tells one shape from another; a benchmarked convolution is the same shape."""
    skip = {"s", "calls", "copies", "cudnn_benchmark"}
    return json.dumps({key: value for key, value in row.fields.items() if key not in skip}, sort_keys=True)


def load() -> dict[str, list[Rows]]:
    """The rows of each class."""
    h200, h100 = (Card.of(load_hardware(name)) for name in ("gpu/h200-sxm5-141gb", "gpu/h100-sxm5-80gb"))  # type: ignore[arg-type]
    own = Rows(h200, tuple(read_measurements(DATA / "kernels_h200_sxm5_141gb.jsonl")))
    probe = [
        Rows(replace(card, rivals=1.0), tuple(read_measurements(DATA / f"probe_{name}.jsonl"))).take(in_kernels)
        for card, name in ((h200, "h200_sxm5_141gb"), (h100, "h100_sxm5_80gb"))
    ]
    layers = Rows(h200, tuple(read_measurements(DATA / "launched_h200_sxm5_141gb.jsonl")))
    op = lambda *names: lambda row: row.fields.get("op") in names  # noqa: E731
    section = lambda *names: lambda row: row.section in names and row.fields["op"] not in ("topk", "rms_norm_hf")  # noqa: E731
    classes = ("mean_last", "softmax", "layer_norm", "gather_rows", "topk", "sort", "cumsum")
    return {
        "reduce": [own.take(section("reduce")), layers.take(op("mean_last")),
                   *(rows.take(op("reduce_read")) for rows in probe)],
        "stream": [own.take(lambda row: row.section == "elementwise" or row.fields["op"] == "rms_norm_hf"),
                   layers.take(lambda row: row.fields["op"] not in classes),
                   *(rows.take(op("d2d_copy")) for rows in probe)],
        "norm": [own.take(section("norm")), layers.take(op("layer_norm"))],
        "softmax": [own.take(section("softmax")), layers.take(op("softmax"))],
        "gather": [own.take(section("gather")), layers.take(op("gather_rows"))],
        "topk": [own.take(op("topk")), layers.take(op("topk", "sort"))],
        "conv": [own.take(lambda row: row.section == "conv2d")], "csr": [own.take(op("spmm_csr"))],
        "bsr": [own.take(lambda row: row.fields["op"] == "spmm_bsr" and row.fields["mode"] == "graph")],
        "zerocopy": [own.take(op("zerocopy_gather"))],
    }  # fmt: skip


def in_kernels(row: Measurement) -> bool:
    """Copies up to 256 MiB: larger ones are no kernels in a CUDA graph."""
    return row.section == "mem" and (row.fields["op"] != "d2d_copy" or row.whole("bytes") < 1 << 29)


def report(name: str, errors: Sequence[Floats], sets: Sequence[Rows]) -> None:
    for error, rows in zip(errors, sets, strict=True):
        for section in sorted({row.section for row in rows.rows}):
            own = np.abs(error[[row.section == section for row in rows.rows]])
            print(f"{name:24} {section:12} mean {own.mean():6.1%} median {np.median(own):6.1%} worst {own.max():6.1%}"
                  f" ({len(own)})", flush=True)  # fmt: skip


def yaml_of(name: str, values: Values, moved: Floats) -> str:
    """One section of the library; a value that no row moved from its prior is assumed."""

    def text(value: float) -> str:
        if value >= LATENCIES:
            return f"{value:.4g}"
        return f"{value * 1e6:.4g} us" if value >= 1e-7 else f"{value * 1e9:.4g} ns"

    origin = [MEASURED if abs(step) > 1e-6 else 'source: null, basis: assumed, note: "no row fixes it"'
              for step in moved]  # fmt: skip
    lines = [
        f"  {key}: {{value: {text(value)}, {why}}}" for (key, value), why in zip(values.items(), origin, strict=True)
    ]
    return "\n".join([f"{name}:", *lines]) + "\n"


def write(sections: dict[str, str]) -> None:
    """Replace sections of the library's files; architectures that were not measured take Hopper's numbers."""
    for architecture in ("hopper", *ASSUMED):
        path = LIBRARY.with_stem(architecture)
        whole = path.read_text()
        for name, section in sections.items():
            own = section if architecture == "hopper" else section.replace(MEASURED, AS_HOPPER)
            whole = re.sub(rf"(?m)^{name}:.*\n(?: .*\n)*", lambda _, own=own: own, whole)  # type: ignore[misc]
        path.write_text(whole)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("classes", nargs="*", default=list(PRIORS), help="classes to fit; all by default")
    parser.add_argument("--write", action="store_true", help=f"replace the sections of {LIBRARY.name}")
    parser.add_argument("--quick", action="store_true", help="no cross-validation")
    options = parser.parse_args()
    fixed: dict[str, Any] = {}
    found: dict[str, str] = {}
    for name, sets in load().items():
        if name not in options.classes and name != "reduce":
            continue
        values, moved = fit(name, sets, fixed)
        library = library_of(name, values, fixed)
        fixed[name] = getattr(library, name)
        report(f"{name} in sample", [predicted(name, library, rows) / rows.seconds - 1 for rows in sets], sets)
        if not options.quick:
            report(f"{name} cross-validated", cross_validated(name, sets, fixed, moved), sets)
        found[name] = yaml_of(name, values, moved)
        print(found[name])
    if options.write:
        write(found)


if __name__ == "__main__":
    main()
