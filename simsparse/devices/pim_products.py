# SPDX-License-Identifier: Apache-2.0
"""Products with a weight in PIM stacks as a program of commands: inputs in, columns read, sums out.

Outputs spread over the channels and over the units that a command reaches. Every input vector goes to the buffers of
every channel first; a column is read again for each further group of tokens that the units can't serve at once; the
sums of every 16 outputs of a unit are moved while it goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from simsparse.devices.pim_layout import SUMS_MOVED, UnitLayout
from simsparse.dram.device import DramDevice
from simsparse.dram.layout import Ints
from simsparse.dram.program import Program


def dense_columns(layout: UnitLayout, outputs: int, inputs: int) -> list[Ints]:
    """Columns of each group of ``outputs`` that the units do together, sums of ``inputs`` elements."""
    each = np.arange(layout.columns(inputs))
    return [group * len(each) + each for group in range(-(-outputs // layout.places))]


def product_steps(
    device: DramDevice, command: str, columns: Sequence[Ints], inputs: int, element_bytes: float, tokens: int,
    repeats: int,
) -> Ints:  # fmt: skip
    """(N, 4) the program of one channel, that reads ``columns`` of each group of outputs, of each ``repeats`` times.

    The ``inputs`` elements of every token come first.
    """
    layout, program, counts = UnitLayout(device, command, element_bytes), Program(device), Counter[str]()
    if device.inputs is not None:
        layout.moves(device.inputs, 1, layout.input_places(layout.columns(inputs)) * tokens).whole.write(
            program, counts
        )
        program.barrier()
    results = layout.moves(device.results, 1, layout.result_places() * tokens) if device.results else None
    for first in range(0, len(columns), SUMS_MOVED):
        number = np.concatenate(columns[first : first + SUMS_MOVED])
        layout.macs(0, number, 1, repeats).whole.write(program, counts)
        if results is not None:
            if first:
                results.whole.write(program, counts)
            program.barrier()
    if results is not None:
        results.whole.write(program, counts)
    return program.steps()
