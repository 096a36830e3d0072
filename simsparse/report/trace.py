# SPDX-License-Identifier: Apache-2.0
"""Figures of a trace: intensity, sparsity of weights and inputs, load and reuse of experts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from simsparse.core import Trace
from simsparse.report.plot import Plot, save_plot
from simsparse.report.style import figure_style
from simsparse.report.trace_experts import expert_load_plot, expert_reuse_plot
from simsparse.report.trace_intensity import intensity_plot
from simsparse.report.trace_sparsity import conformity_plot, density_plot, input_plot

if TYPE_CHECKING:
    Draw = Callable[[Trace], Plot | None]

PLOTS: Sequence[Draw] = (
    intensity_plot, density_plot, conformity_plot, input_plot, expert_load_plot, expert_reuse_plot,
)  # fmt: skip


def trace_plots(trace: Trace) -> list[Plot]:
    """The figures that ``trace`` has data for."""
    with figure_style():
        return [plot for draw in PLOTS if (plot := draw(trace)) is not None]


def write_plots(trace: Trace, folder: Path, formats: Sequence[str] = ("png", "svg")) -> list[Path]:
    """Write every figure of ``trace`` into ``folder``, once a format; returns the files."""
    return [path for plot in trace_plots(trace) for path in save_plot(plot, folder, formats)]
