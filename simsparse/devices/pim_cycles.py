# SPDX-License-Identifier: Apache-2.0
"""Cycles of lock-step commands in closed form, and the actions that they are counted as."""

from __future__ import annotations

import numpy as np

from simsparse.config.parts.pim import PimCommands
from simsparse.core import Action
from simsparse.dataflow.base import Wholes
from simsparse.devices.base import Floats

ACTIVATE: Action = ("bank", "activate")
INTERNAL: Action = ("bank", "internal_byte")
MAC: Action = ("unit", "mac")


def row_cycles(commands: PimCommands, columns: Wholes) -> Floats:
    """Cycles from one all-bank activation to the next when ``columns`` of the row are read.

    ACT, tRCD, column commands one interval apart, tRTP, PRE, tRP; at least tRAS + tRP and tRC.
    Source: derived from the command timings.
    """
    reading = commands.rcd.si + (columns - 1) * commands.interval.si + commands.rtp.si
    open_cycles = np.maximum(commands.ras.si, reading)
    cycles: Floats = np.maximum(commands.rc.si, open_cycles + commands.rp.si)
    return cycles


def stream_cycles(commands: PimCommands, columns: Wholes, repeats: Wholes | int = 1) -> Floats:
    """Cycles to read ``columns`` from each bank of a channel, each ``repeats`` times while its row
    is open; whole rows first, without refresh."""
    per_row = round(commands.row.si / commands.column.si)
    full, rest = np.divmod(columns, per_row)
    if commands.sets.si > 1:
        in_turn: Floats = commands.rcd.si + full * _turn(commands, np.asarray(per_row * repeats))
        return in_turn + np.where(rest > 0, _turn(commands, np.maximum(rest, 1) * repeats), 0.0)
    last = np.where(rest > 0, row_cycles(commands, np.maximum(rest, 1) * repeats), 0.0)
    cycles: Floats = full * row_cycles(commands, np.asarray(per_row * repeats)) + last
    return cycles


def _turn(commands: PimCommands, columns: Wholes) -> Floats:
    """Cycles that a row takes of a channel whose sets of banks take turns: its columns, or its share of a row cycle."""
    turn: Floats = np.maximum(columns * commands.interval.si, row_cycles(commands, columns) / commands.sets.si)
    return turn


def with_refresh(commands: PimCommands, cycles: Floats) -> Floats:
    """``cycles`` of commands with the refreshes that fall due meanwhile; the first after tREFI."""
    between = commands.refi.si - commands.rfc.si
    total: Floats = cycles + np.floor(cycles / between) * commands.rfc.si
    return total
