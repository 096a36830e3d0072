# SPDX-License-Identifier: Apache-2.0
"""Decode attention of PIM stacks as a program of commands: AttAcc's order, a head in each channel, two at a time.

Keys spread over the levels that a command spans, but for banks, over which the head's elements spread. A head's score
is: its query into the buffers (WRGB), a MAC command for each column, the sums of every 16 keys to the softmax unit
(MVSB). Its context is: probabilities into the buffers (MVGB), MACs, outputs back (MVSB). Of two heads one moves its
vectors while the other multiplies. Source: the released code of AttAcc's simulator, its slips included: the second head
of a pair repeats the context of the first, on as many channels; vectors that go in pieces beside the other head's work
lose what does not divide; the first head begins with one MAC too many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from math import ceil

import numpy as np

from simsparse.devices.pim_layout import SUMS_MOVED, CommandPiece, CommandRun, Place, UnitLayout
from simsparse.dram.device import DramDevice
from simsparse.dram.layout import Ints
from simsparse.dram.program import Program

_LONGEST = 4096
"""Keys for which AttAcc's code sets the rows of a head apart."""
_VALUES = 1 << 23
"""Byte of a bank from which values lie."""


@dataclass(frozen=True)
class AttentionShape:
    """``heads`` heads of ``head_dim`` elements of ``element_bytes`` over ``keys`` keys, on ``channels`` channels.

    ``queries`` go to a head one after another, each with a MAC of its own for a column.
    """

    heads: int
    keys: int
    head_dim: int
    element_bytes: int
    channels: int
    queries: int = 1


@dataclass(frozen=True)
class _Head:
    """The runs of one head per channel: score and context by piece of work."""

    queries: CommandRun
    scores: Sequence[CommandRun]
    sums: CommandRun
    softmax: CommandRun
    probabilities: CommandRun
    contexts: Sequence[CommandRun]
    outputs: CommandRun


class AttentionProgram:
    """Writes the program of ``shape`` with the MAC command ``command`` of ``device``."""

    def __init__(self, device: DramDevice, command: str, shape: AttentionShape) -> None:
        self._device, self._shape = device, shape
        self._layout = UnitLayout(device, command, shape.element_bytes)
        self._program, self.counts = Program(device), Counter[str]()

    def steps(self) -> Ints:
        """(N, 4) the commands of the first channel, which has the most; ``counts`` becomes those of all channels."""
        shape = self._shape
        waves = ceil(shape.heads / shape.channels)
        heads = [self._head(wave, min(shape.channels, shape.heads - wave * shape.channels)) for wave in range(waves)]
        for first, second in zip(heads[: waves // 2 * 2 : 2], heads[1::2], strict=True):
            self._pair(first, second, first is heads[0])
        if waves % 2:
            self._single(heads[-1])
        return self._program.steps()

    def _pair(self, first: _Head, second: _Head, begins: bool) -> None:
        self._write(first.queries.whole)
        if begins:
            self._write(CommandPiece(first.scores[0], 0, first.scores[0].channels))
        self._program.barrier()
        length = len(first.scores)
        self._stage(first.scores, first.sums, second.queries.pieces(length))
        self._stage(second.scores, second.sums, self._late(first.probabilities, length), first.softmax)
        beside = self._late(second.probabilities, len(first.contexts))
        self._stage(first.contexts, first.outputs, beside, second.softmax)
        self._stage(first.contexts, first.outputs, ())

    def _single(self, head: _Head) -> None:
        self._write(head.queries.whole)
        self._program.barrier()
        self._stage(head.scores, head.sums, ())
        self._write(head.softmax.whole)
        self._write(head.probabilities.whole)
        self._program.barrier()
        self._stage(head.contexts, head.outputs, ())

    def _stage(
        self,
        work: Sequence[CommandRun],
        results: CommandRun,
        beside: Sequence[CommandPiece | None],
        softmax: CommandRun | None = None,
    ) -> None:
        """MACs piece by piece, beside each the results of the piece before and a piece of the other head's vectors."""
        for number, (macs, moved) in enumerate(zip_longest(work, beside)):
            self._write(macs.whole)
            if number:
                self._write(results.whole)
            elif softmax is not None:
                self._write(softmax.whole)
            if moved is not None:
                self._write(moved)
            self._program.barrier()
        self._write(results.whole)

    @staticmethod
    def _late(run: CommandRun, length: int) -> list[CommandPiece | None]:
        """``run`` beside the second half of ``length`` pieces of work."""
        return [*[None] * (length // 2), *run.pieces(length - length // 2)]

    def _write(self, piece: CommandPiece) -> None:
        piece.write(self._program, self.counts)

    def _head(self, wave: int, channels: int) -> _Head:
        shape = self._shape
        begin = wave * ceil(_LONGEST * shape.head_dim / self._device.banks)
        layout, keys, queries = self._layout, ceil(shape.keys / self._layout.places), range(shape.queries)
        columns = layout.columns(shape.head_dim)

        def macs(first: int, count: int, start: int) -> CommandRun:
            return layout.macs(start, np.arange(first, first + count), channels, shape.queries)

        def moves(command: str, places: Sequence[Place]) -> CommandRun:
            return layout.moves(command, channels, [place for _ in queries for place in places])

        groups, ranks, banks = (range(layout.spanned(level)) for level in ("BankGroup", "Rank", "Bank"))
        buffers = range(ceil(shape.keys / (layout.places * layout.lanes)))
        return _Head(
            moves("WRGB", layout.input_places(columns)),
            [macs(first * columns, min(keys - first, SUMS_MOVED) * columns, begin)
             for first in range(0, keys, SUMS_MOVED)],
            moves("MVSB", layout.result_places()),
            moves("SFM", [(0, 0, 0)]),
            moves("MVGB", [(rank, group, 0) for rank in ranks for group in groups for _ in buffers]),
            [macs(part * keys, keys, begin + _VALUES) for part in range(columns)],
            moves("MVSB", [(rank, 0, bank) for bank in banks for rank in ranks]),
        )  # fmt: skip
