# SPDX-License-Identifier: Apache-2.0
"""Products with a weight in PIM stacks as a program of commands: inputs in, columns read, sums out.

Outputs spread over the channels and over the units that a command reaches. Every input vector goes to the buffers of
every channel first; a column is read again for each further group of tokens that the units can't serve at once; the
sums of every 16 outputs of a unit are moved while it goes on.
"""

from __future__ import annotations

from collections import Counter
from math import ceil

from simsparse.devices.pim_layout import SUMS_MOVED, UnitLayout
from simsparse.dram.device import DramDevice
from simsparse.dram.layout import Ints
from simsparse.dram.program import Program


def product_steps(
    device: DramDevice, command: str, outputs: int, inputs: int, element_bytes: float, tokens: int, repeats: int
) -> Ints:
    """(N, 4) the program of one channel, for ``outputs`` of a product's outputs, sums of ``inputs`` elements each."""
    layout, program, counts = UnitLayout(device, command, element_bytes), Program(device), Counter[str]()
    columns, each = layout.columns(inputs), ceil(outputs / layout.places)
    if device.inputs is not None:
        layout.moves(device.inputs, 1, layout.input_places(columns) * tokens).whole.write(program, counts)
        program.barrier()
    results = layout.moves(device.results, 1, layout.result_places() * tokens) if device.results else None
    for first in range(0, each, SUMS_MOVED):
        number = min(each - first, SUMS_MOVED)
        layout.macs(0, first * columns, number * columns, 1, repeats).whole.write(program, counts)
        if results is not None:
            if first:
                results.whole.write(program, counts)
            program.barrier()
    if results is not None:
        results.whole.write(program, counts)
    return program.steps()
