# SPDX-License-Identifier: Apache-2.0
"""How many groups of weights a PE takes on at once, and which choice is fastest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from simsparse.dataflow.base import Dataflow, Gemms, PeArray, Wholes


def modes(gemms: Gemms, registers: int, ports: int) -> Iterator[Gemms]:
    """The ways to run ``gemms`` on PEs that hold ``registers`` kept weights and see ``ports`` inputs.

    N:M weights may be taken as 2N:2M, 4N:4M, ..., since they are that too, and as dense ones; dense
    weights as 2:2, 4:4, .... More groups a PE mean fewer folds. Without this choice N:M weights
    would gain over dense ones by more than M / N, only because a PE is given more of them.
    """
    dense = replace(gemms, keep=np.ones_like(gemms.keep), group=np.ones_like(gemms.group))
    for start in (gemms, dense):
        times = 1
        while times <= max(1, registers):
            fits = (start.keep * times <= registers) & (start.group * times <= ports)
            factor: Wholes = np.where(fits, times, 1)
            yield replace(start, keep=start.keep * factor, group=start.group * factor)
            times *= 2


def fastest(
    dataflow: Dataflow, gemms: Gemms, array: PeArray, partial_sums: int, registers: int, ports: int
) -> tuple[Gemms, Wholes]:
    """The mode of each GEMM with the fewest cycles, and those cycles; the first of equals."""
    choices = list(modes(gemms, registers, ports))
    cycles = np.stack([dataflow.chunked_cycles(choice, array, partial_sums) for choice in choices])
    best = np.argmin(cycles, axis=0)[None]
    keep = np.take_along_axis(np.stack([choice.keep for choice in choices]), best, axis=0)[0]
    group = np.take_along_axis(np.stack([choice.group for choice in choices]), best, axis=0)[0]
    return replace(gemms, keep=keep, group=group), np.take_along_axis(cycles, best, axis=0)[0]
