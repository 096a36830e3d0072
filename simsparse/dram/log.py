# SPDX-License-Identifier: Apache-2.0
"""Commands as they are sent, kept while there is room."""

from __future__ import annotations

import numpy as np

from simsparse.dram.compiled import hot
from simsparse.dram.layout import Ints


def new_log(rows: int) -> Ints:
    """(rows + 1, 5) an empty log; its first row holds the rows used. With ``rows`` 0 nothing is kept.

    Columns: tick, command, bank, row, column (-1 where a command has none).
    """
    return np.zeros((rows + 1, 5), np.int64)


@hot
def note(log: Ints, tick: int, command: int, bank: int, row: int, column: int) -> None:
    """Keep a command."""
    if log.shape[0] == 1:
        return
    log[0, 0] += 1
    place = log[0, 0]
    log[place, 0], log[place, 1], log[place, 2], log[place, 3], log[place, 4] = tick, command, bank, row, column
