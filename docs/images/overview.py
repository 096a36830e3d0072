# SPDX-License-Identifier: Apache-2.0
"""Draws docs/images/overview.png: kernels measured and simulated, and one decode step on four machines.

``python docs/images/overview.py`` needs the checkout and no torch; about a minute.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

import simsparse as ss
from simsparse.validate import validate_references

CLASSES = {
    "GEMM": ("gemm_dense", "gemm_sparse24", "lowp"), "attention": ("attn_decode", "attn_prefill"),
    "other kernels": ("mem", "spmm", "zerocopy"), "offloaded layers": ("offload", "weight_stream"),
}  # fmt: skip
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
MARKERS = "os^D"
MACHINES = {
    "H100": "systems/h100-pcie5", "A100": "systems/a100-pcie4", "N:M array 128 x 128": "systems/systolic-ws-128x128",
    "bank-level PIM": "systems/bank-pim",
}  # fmt: skip
WEIGHTS = {"dense": "o", "2:4": "s", "1:4": "^"}


def measured_and_simulated(axes: Any) -> None:
    """Every row of the reference measurements that the models predict, in seconds."""
    reports = validate_references()
    for (name, sections), colour, marker in zip(CLASSES.items(), COLOURS, MARKERS, strict=True):
        found = [p for report in reports for part in report.sections if part.name in sections for p in part.predictions]
        error = 100 * sum(abs(p.error) for p in found) / len(found)
        axes.scatter(
            [p.measured * 1e6 for p in found], [p.predicted * 1e6 for p in found], s=9, marker=marker, color=colour,
            label=f"{name}: {len(found)} rows, {error:.1f} % off", alpha=0.7, linewidths=0,
        )  # fmt: skip
    low, high = 1, 2e6
    axes.plot([low, high], [low, high], color="0.6", linewidth=0.8, zorder=0)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    axes.set_xlabel("measured (µs)")
    axes.set_ylabel("simulated (µs)")
    axes.set_title("Kernels and layers, H100 and H200", fontsize=9)
    axes.legend(fontsize=7, frameon=False)


def decode_step(axes: Any) -> None:
    """One token for eight sequences of Llama-2-7B, by machine and sparsity of the weights."""
    trace = ss.load_trace("traces/llama2-7b-decode-b8.trace")
    for sparsity, marker in WEIGHTS.items():
        pruned = trace.with_weight_sparsity(sparsity)
        seconds = [ss.simulate(pruned, system, keep="summary").latency_s for system in MACHINES.values()]
        axes.scatter([s * 1e3 for s in seconds], range(len(MACHINES)), marker=marker, s=34, label=sparsity,
                     facecolors="none", edgecolors="#0072B2")  # fmt: skip
    axes.set_yticks(range(len(MACHINES)), list(MACHINES))
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.grid(axis="x", color="0.9", which="both", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel("milliseconds per decode step")
    axes.set_title("Llama-2-7B, batch 8, 2,048 tokens cached", fontsize=9)
    axes.legend(title="weights", fontsize=7, title_fontsize=7, frameon=False)


def main() -> None:
    """Draw both panels."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.6), layout="constrained")
    measured_and_simulated(left)
    decode_step(right)
    figure.savefig(Path(__file__).parent / "overview.png", dpi=160)


if __name__ == "__main__":
    main()
