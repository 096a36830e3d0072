# SPDX-License-Identifier: Apache-2.0
"""Where things lie in the two flat arrays of the core: what never changes (``t``), and one channel's state (``s``).

One array each keeps a call cheap: numba passes an array by its descriptor and a tuple of arrays field by field.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
NEVER = 1 << 62
CLOSED, HALF_OPEN = -1, -2
"""Rows of a bank that is closed, and of one whose activation is half done."""
COLUMN, ROW, ANY = 1, 2, 3
"""Buses of a command, as bits."""


class TableWord(IntEnum):
    """First words of ``t``: numbers, and where tables begin. ``B`` banks, ``L`` levels, ``K`` commands, ``R`` rules."""

    BANKS = 0
    POOL = 1
    """Entries of a channel."""
    WINDOW = 2
    """Longest window."""
    HALF_TICKS = 3
    BUSES = 4
    """Commands that may go in one tick."""
    READ_LATENCY = 5
    SCOPE_BANKS = 6
    """Banks that an all-bank command and a power state cover."""
    BANK_NUMBERS = 7
    """Banks of a bank group."""
    PAIRING_BANKS = 8
    """Banks of a scope in which a close must not pair with the row command of the edge before."""
    WCK_READ = 9
    """Ticks that a read keeps the data clock running; -1: it always runs."""
    WCK_WRITE = 10
    ACTIVATE = 11
    """Ticks within which the second half of an activation follows the first."""
    HIT_CAP = 12
    """0: none."""
    CLOSE_AFTER = 13
    """0: rows stay open."""
    READ_QUEUE = 14
    WRITE_QUEUE = 15
    DRAIN_ABOVE = 16
    """Writes are drained when more wait."""
    DRAIN_BELOW = 17
    """Draining ends when fewer wait."""
    REFRESH = 18
    """Refresh command, -1 for none."""
    INTERVAL = 19
    SPLIT = 20
    """1 when an activation takes two commands."""
    QUEUE_ROOM = 21
    FIRST = 22
    """(K + 1,) first rule of a preceding command."""
    RULES = 23
    """(R, 11) see ``RuleWord``."""
    COMMANDS = 24
    """(K, 4) see ``CommandWord``."""
    NUMBER = 25
    """Command of each kind, -1 where the device has none."""
    READY = 26
    """Sections of ``s``. (K, B) first tick at which the constraints allow a command to a bank; for an all-bank command
    the word of the first bank of a scope counts."""
    HISTORY = 27
    """(histories, B, window + 1) ticks of the last commands of a rule with a window, under the first bank of its node;
    the last word is the place of the oldest."""
    ROWS = 28
    """(B, 5) see ``BankWord``."""
    ORDER = 29
    """(4, pool) entries of a buffer, in order."""
    ENTRIES = 30
    """(pool, 7) see ``EntryWord``."""
    FREE = 31
    """(pool,) stack of free entries."""
    QUEUE = 32
    """(room, 2) refreshes and closes that wait: command and first bank of its scope."""
    ISSUED = 33
    """(K,) commands issued."""
    POWER = 34
    """(scopes, 3) banks that are open, tick since which some are, ticks with an open bank before."""
    END = 35
    """Length of ``s``."""
    NODE = 36
    """In ``t``: (L, B) first bank of the node of a level that a bank lies in."""
    SCOPE_NODE = 37
    """In ``t``: (B,) number of the scope that a bank lies in."""


class RuleWord(IntEnum):
    """A preceding and a following command of a constraint."""

    READY = 0
    """Where the ready times of the following command begin, from ``TableWord.READY`` on."""
    STEP = 1
    """Banks from one word that counts to the next: 1, or those of a scope for an all-bank command."""
    NODE = 2
    """Where ``TableWord.NODE`` has the row of the rule's level."""
    SPAN = 3
    """Banks of a node of the level."""
    PARENT = 4
    """Where it has the row of the level above, for a rule about siblings; else -1."""
    PARENT_SPAN = 5
    TICKS = 6
    HISTORY = 7
    """Its history, -1 for a window of 1."""
    WINDOW = 8
    WITHIN = 9
    """1 where the level lies below the scope of all-bank commands."""
    BANK = 10
    """1 where the level is that of banks."""


class CommandWord(IntEnum):
    """What the core knows of a command."""

    KIND = 0
    BUS = 1
    CLOSES = 2
    COVER = 3
    """0: one bank; 1: all banks of a scope; 2: those of one number in every bank group of a scope."""


class BankWord(IntEnum):
    """State of a bank."""

    ROW = 0
    """Open row, CLOSED or HALF_OPEN."""
    WAITING = 1
    """Requests whose row was opened for them and that were not served yet."""
    SERVED = 2
    """Column commands since it was opened."""
    ASKED = 3
    """Whether the close of a row that served enough waits."""
    DEADLINE = 4
    """Last tick of the second half of its activation."""


class EntryWord(IntEnum):
    """A request in a channel."""

    BANK = 0
    ROW = 1
    COLUMN = 2
    ARRIVED = 3
    FINAL = 4
    ADDRESS = 5
    COUNTED = 6


class ChoiceWord(IntEnum):
    """What goes next over a bus."""

    TICK = 0
    """When, NEVER for nothing."""
    BUFFER = 1
    """-1: the refresh or close that waits longest."""
    PLACE = 2
    COMMAND = 3


class StateWord(IntEnum):
    """First words of ``s``."""

    NEXT = 0
    """Tick at which something can happen next."""
    WRITING = 1
    STALE = 2
    """1 when the choices have to be made anew."""
    NEXT_REFRESH = 3
    REFRESH_BANK = 4
    QUEUE_FIRST = 5
    QUEUE_LENGTH = 6
    PAIR_TICK = 7
    PAIR_SCOPE = 8
    PAIR_BANK = 9
    WCK_UNTIL = 10
    SYNCED = 11
    """Entry whose sync command was the last one, -1 for none."""
    SYNCED_BUFFER = 12
    FREE = 13
    """Free entries."""
    LENGTH = 14
    """(4,) entries in a buffer."""
    CHOICE = 18
    """(2, 4) see ``ChoiceWord``: over the column bus, or the only one, and over the row bus."""
    HITS = 26
    MISSES = 27
    CONFLICTS = 28
    READS = 29
    WRITES = 30
    FORWARDED = 31
    COALESCED = 32
    LATENCY = 33
    LAST_READ = 34
    LAST_WRITE = 35
    SECTIONS = 36


READING, WRITING, OPENED, OPENING = 0, 1, 2, 3
"""Buffers: reads and writes that wait, requests whose row was opened, and whose activation is half done."""
