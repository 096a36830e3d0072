# SPDX-License-Identifier: Apache-2.0
"""Products with pruned weights in PIM stacks, from their masks: what lock-step commands make of zeros.

A column command reads the same column of the same row in every bank of a set. So zeros help where all banks can do with
fewer commands, and in two ways. Units that gather have an index selector: a bank stores its kept weights and their
indexes, and picks the inputs they need; the commands for a group of outputs are those of the bank with most kept
weights, and the others read what is of no use to them. Units that do not gather store zeros too, and a column is passed
over where it is zero in all banks. With sorted outputs, those that are computed together have about as many kept
weights.

Outputs are dealt to the units of all channels in turn, the inputs of an output to its banks in equal parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from simsparse.config.parts.pim import PimSelect
from simsparse.devices.pim_layout import UnitLayout
from simsparse.devices.pim_products import dense_columns, product_steps
from simsparse.dram.device import DramDevice
from simsparse.dram.layout import Ints
from simsparse.dram.program import ProgramRun, run_steps
from simsparse.sparsity.nonzeros import NonZeros


@dataclass(frozen=True)
class SparseProduct:
    """A product's run: of the channel with most commands, and column commands of all channels.

    ``ideal`` and ``indexed`` are the commands of one channel if kept weights filled all columns, without their indexes
    and with them.
    """

    run: ProgramRun
    commands: int
    of_all: int
    ideal: float
    indexed: float


def run_sparse(
    device: DramDevice, unit: str, select: PimSelect | None, weights: NonZeros, bits: tuple[float, float], tokens: int,
    channels: int,
) -> SparseProduct:  # fmt: skip
    """Run the product of ``weights`` (n, k) with ``tokens`` tokens on ``channels`` channels.

    ``bits``: of a weight, and of a kept weight with its index. Without ``select`` zeros are stored and multiplied.
    """
    n, k = weights.shape
    layout = UnitLayout(device, unit, bits[0] / 8)
    lanes = 8 * device.access_bytes / bits[1]
    if select is None:
        columns = dense_columns(layout, ceil(n / channels), k)
        groups = np.full((channels, len(columns)), layout.columns(k))
    elif select.gathers:
        needed = np.ceil(_kept(weights, layout) / lanes).max(axis=1).astype(np.int64)
        groups = _dealt(needed, layout.places, channels, select.sorted).max(axis=2)
        busiest = groups[int(groups.sum(axis=1).argmax())]
        columns = [end - count + np.arange(count) for end, count in zip(busiest.cumsum(), busiest, strict=True)]
    else:
        zero_free = _dealt(_columns_used(weights, layout), layout.places, channels, select.sorted).max(axis=2)
        groups = zero_free.sum(axis=2)
        busiest = zero_free[int(groups.sum(axis=1).argmax())]
        columns = [place * layout.columns(k) + np.flatnonzero(used) for place, used in enumerate(busiest)]
    steps = product_steps(device, unit, columns, k, bits[0] / 8, tokens, tokens)
    banks = layout.places * layout.spanned("Bank") * channels
    of_all = int(groups.sum())
    return SparseProduct(
        run_steps(device, steps, refresh=False), int(groups.sum(axis=1).max()), of_all,
        weights.nnz * bits[0] / (8 * device.access_bytes * banks), weights.nnz / lanes / banks,
    )  # fmt: skip


def _parts(weights: NonZeros, size: int) -> Ints:
    """(nnz,) which of an output's pieces of ``size`` inputs a kept weight lies in, of its row too: flat (n, pieces)."""
    pieces = ceil(weights.shape[1] / size)
    rows = np.repeat(np.arange(weights.shape[0]), np.diff(weights.pointers))
    flat: Ints = rows * pieces + weights.columns // size
    return flat


def _kept(weights: NonZeros, layout: UnitLayout) -> Ints:
    """(n, banks of an output) kept weights of each bank."""
    n, k = weights.shape
    size = ceil(k / layout.spanned("Bank"))
    pieces = ceil(k / size)
    counts: Ints = np.bincount(_parts(weights, size), minlength=n * pieces).reshape(n, pieces)
    return counts


def _columns_used(weights: NonZeros, layout: UnitLayout) -> Ints:
    """(n, columns) 1 where a column holds a kept weight in any bank of an output."""
    n, k = weights.shape
    banks, columns = layout.spanned("Bank"), layout.columns(k)
    pieces = ceil(k / layout.lanes)
    used = np.zeros((n, banks * columns), np.int64)
    used[:, :pieces] = np.bincount(_parts(weights, layout.lanes), minlength=n * pieces).reshape(n, -1) > 0
    joined: Ints = used.reshape(n, banks, columns).max(axis=1)
    return joined


def _dealt(of_output: Ints, places: int, channels: int, in_order: bool) -> Ints:
    """(channels, groups, places, ...) what outputs have, dealt to groups that the units of a channel do together.

    With ``in_order`` outputs with most come first.
    """
    if in_order:
        weight = of_output.reshape(len(of_output), -1).sum(axis=1)
        of_output = of_output[np.argsort(-weight, kind="stable")]
    groups = ceil(len(of_output) / (places * channels))
    padded = np.zeros((groups * places * channels, *of_output.shape[1:]), np.int64)
    padded[: len(of_output)] = of_output
    dealt: Ints = padded.reshape(groups, channels, places, *of_output.shape[1:]).swapaxes(0, 1)
    return dealt


def cycle_causes(found: SparseProduct, interval: int) -> dict[str, int]:
    """Cycles of a run by cause, which add up: kept weights, their indexes, zeros and idle banks, rows and vectors."""
    edges: Sequence[float] = (0, found.ideal, found.indexed, found.commands)
    bounds = [min(found.run.ticks, round(edge * interval)) for edge in edges] + [found.run.ticks]
    names = ("weights", "indexes", "zeros and idle banks", "rows and vectors")
    return {name: bounds[i + 1] - bounds[i] for i, name in enumerate(names)}
