# SPDX-License-Identifier: Apache-2.0
"""A decoder block of a Llama model on one CXL device of CENT, in the order of commands of its simulation.

Weights spread over the banks of ``devices``; keys over the same banks, each with all its heads; values over channels by
heads and over their banks by dimensions. Norms, rotary embedding, softmax and gating are element-wise products in
groups of four banks, whose operands come and go through one port, a column in each tick for all channels. Slips of the
simulation are kept: the rotary embedding multiplies all columns in every channel, and its results are written again
instead of read. Left out: rows that are opened for accesses through the port, which its queue hides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from simsparse.devices.pim_aim import AimProgram
from simsparse.dram.device import DramDevice
from simsparse.dram.program import run_steps

CentStep = tuple[Any, ...]
"""Name of a method of CentBlock, and its sizes."""
_GROUP = 4
"""Banks of an element-wise product: two of operands, one of results, one that is free."""


@dataclass(frozen=True)
class CentShape:
    """A Llama model: sizes of its vectors, and heads of ``head_dim``."""

    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    vocab: int
    head_dim: int = 128


@dataclass(frozen=True)
class CentPlan:
    """``devices`` that share the weights of a block, and of each the ``channels``; ``copies`` blocks in lock step."""

    devices: int
    channels: int
    copies: int


@dataclass(frozen=True)
class CentRun:
    """Ticks of a device, the commands of one of its channels, and the device's accesses through the port."""

    ticks: int
    commands: Counter[str]
    accesses: int

    def __add__(self, other: CentRun) -> CentRun:
        return CentRun(self.ticks + other.ticks, self.commands + other.commands, self.accesses + other.accesses)


class CentBlock(AimProgram):
    """Writes the operators of a block of ``shape`` for the first channel of a device."""

    def __init__(self, device: DramDevice, sums: int, shape: CentShape, plan: CentPlan) -> None:
        super().__init__(device, sums, device.access_bytes // 2)
        self._shape, self._plan = shape, plan
        self._accesses, self._waited = 0, 0

    def run(self) -> CentRun:
        """Run what was written without refresh, from closed banks to closed banks."""
        ran = run_steps(self.device, self.steps(), refresh=False)
        closing = next(c.ticks for c in self.device.constraints if "PREA" in c.preceding and "ACT16" in c.following)
        ticks = ran.ticks + self._accesses + self._waited + (closing if "ACT16" in ran.commands else 0)
        return CentRun(ticks, Counter(ran.commands), self._accesses)

    def weights(self, outputs: int, inputs: int, function: bool = False) -> None:
        """A product with a weight, and the activation function of its sums if asked for."""
        self.product(ceil(outputs / (self._banks * self._plan.devices)), inputs, function)

    def norm(self, last: bool = False) -> None:
        """The sum of squares of a vector that lies twice in neighbouring banks, and two element-wise products.

        Operands of the ``last`` norm are in place but for one.
        """
        size = self._shape.hidden
        columns = self._columns(size)
        self._spread(size, 2, 0 if last else 2)
        self.sum_up(ceil(self._part(size, 2) / self.lanes), [self.next_row()])
        self._spread(size, _GROUP, 1 if last else 2)
        self._multiply(columns)
        self._copy(columns, elsewhere=True)
        self._multiply(columns, copied=True)
        self._spread(size, _GROUP, 1)
        self._wait_for_reads()

    def rotary(self) -> None:
        """Rotary embedding of a query and a key: operands in, products, results out."""
        shape, queries = self._shape, self._shape.heads // self._shape.kv_heads
        part = self._part(shape.hidden, _GROUP)
        used = ceil(shape.hidden / part)
        for _ in range(2):
            for length in (2 * part, 2 * (part // queries)):
                self._access(used * ceil(length / self.lanes))
        self._multiply(shape.hidden // self.lanes)
        self._multiply(shape.hidden // queries // self.lanes)

    def append(self) -> None:
        """A key and a value of every head added to the caches."""
        shape = self._shape
        self._access(ceil(shape.head_dim * shape.kv_heads / self.lanes))
        for _ in range(self._value_heads * ceil(shape.head_dim / self.device.banks)):
            self.send("WR16", row=self.next_row())

    def scores(self, keys: int) -> None:
        """The query of each head times all keys."""
        shape, width = self._shape, self.columns * self.lanes
        rows = ceil(shape.head_dim * shape.kv_heads / width)
        for _ in range(rows * ceil(keys / (self._banks * self._plan.devices))):
            row = self.next_row()
            for _ in range(shape.heads // shape.kv_heads):
                self.send("WRGB", self.columns)
                for _ in range(width // shape.head_dim):
                    self.sum_up(ceil(shape.head_dim / self.lanes), [row])

    def softmax(self, keys: int) -> None:
        """Scores scaled, and their exponentials: both come and go through the port."""
        accesses, width = self._shape.heads * ceil(keys / self.lanes), self.columns * self.lanes
        for _ in range(2):
            self._access(2 * accesses)
            for _ in range(ceil(self._shape.heads * _GROUP / self._banks)):
                for begin in range(0, keys, width):
                    self._multiply(ceil(min(width, keys - begin) / self.lanes))
            self._access(accesses)
            self._wait_for_reads()

    def context(self, keys: int) -> None:
        """Probabilities times values."""
        width = self.columns * self.lanes
        for _ in range(self._value_heads * self._shape.heads // self._shape.kv_heads):
            for begin in range(0, keys, width):
                columns = ceil(min(width, keys - begin) / self.lanes)
                self.send("WRGB", columns)
                for _ in range(ceil(self._shape.head_dim / self.device.banks)):
                    self.sum_up(columns, [self.next_row()])

    def gate(self) -> None:
        """The activation times its input and times the other half of the network."""
        size = self._shape.ffn
        self._spread(size, _GROUP, 2)
        self._multiply(self._columns(size))
        self._copy(self._columns(size), elsewhere=False)
        self._spread(size, _GROUP, 1)
        self._multiply(self._columns(size), copied=True)
        self._spread(size, _GROUP, 1)
        self._wait_for_reads()

    @property
    def _banks(self) -> int:
        return self._plan.channels * self.device.banks

    @property
    def _value_heads(self) -> int:
        """Heads whose values lie in one channel."""
        return ceil(self._shape.kv_heads / self._plan.channels)

    def _part(self, elements: int, ways: int) -> int:
        """Elements of a vector in each of its banks, one in ``ways``."""
        return ceil(elements / (self._banks // ways))

    def _columns(self, elements: int) -> int:
        """Columns of an element-wise product in a group of banks."""
        return ceil(self._part(elements, _GROUP) / self.lanes)

    def _spread(self, elements: int, ways: int, times: int) -> None:
        """A vector to or from one bank in ``ways``, several times."""
        part = self._part(elements, ways)
        self._access(times * ceil(elements / part) * ceil(part / self.lanes))

    def _access(self, accesses: int) -> None:
        self._accesses += accesses * self._plan.copies

    def _wait_for_reads(self) -> None:
        self._waited += self.device.read_latency

    def _multiply(self, columns: int, copied: bool = False) -> None:
        """Element-wise products of a row, the one that operands were ``copied`` to or another."""
        self.send("EWMUL16", columns, self.row if copied else self.next_row())

    def _copy(self, columns: int, elsewhere: bool) -> None:
        """Results to the operands of another product through the buffer, group after group; to another row or here."""
        row = self.row
        into = self.next_row() if elsewhere else row
        for group in range(self.device.banks // _GROUP):
            self.send("RDCP", columns, row, group * _GROUP + 2)
            self.send("WRCP", columns, into, group * _GROUP + 1)


class CentDevice:
    """Runs of operators of ``shape`` on a device whose units keep ``sums`` sums, each remembered."""

    def __init__(self, device: DramDevice, sums: int, shape: CentShape, plan: CentPlan) -> None:
        self._device, self._sums, self._shape, self._plan = device, sums, shape, plan
        self._runs: dict[CentStep, CentRun] = {}

    def run(self, steps: Sequence[CentStep]) -> CentRun:
        """Several operators one after another."""
        return sum((self._run(step) for step in steps), CentRun(0, Counter(), 0))

    def _run(self, step: CentStep) -> CentRun:
        if step not in self._runs:
            block = CentBlock(self._device, self._sums, self._shape, self._plan)
            name, *sizes = step
            getattr(block, name)(*sizes)
            self._runs[step] = block.run()
        return self._runs[step]


def block_steps(shape: CentShape, keys: int) -> list[CentStep]:
    """The operators of a block on ``keys`` keys, in order."""
    hidden, ffn, of_keys = shape.hidden, shape.ffn, shape.head_dim * shape.kv_heads
    return [
        ("norm",), ("weights", hidden, hidden), ("weights", of_keys, hidden), ("weights", of_keys, hidden), ("rotary",),
        ("append",), ("scores", keys), ("softmax", keys), ("context", keys), ("weights", hidden, hidden), ("norm",),
        ("weights", ffn, hidden, True), ("weights", ffn, hidden), ("gate",), ("weights", hidden, ffn),
    ]  # fmt: skip


def weight_steps(shape: CentShape) -> list[CentStep]:
    """Those of a block that run on the other devices that share its weights."""
    return [step for step in block_steps(shape, 1) if step[0] == "weights"]


def embedding_steps(shape: CentShape) -> list[CentStep]:
    """The embedding as a product with its table, the last norm and the head."""
    return [("weights", shape.hidden, shape.vocab), ("norm", True), ("weights", shape.vocab, shape.hidden)]
