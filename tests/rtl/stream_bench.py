"""Runs inside the simulator: driver, sink, monitor and checker round one streaming block.

The block, its streams, and what must come out and when, come in the file that the environment's SCENES names.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.handle import SimHandleBase
from cocotb.triggers import FallingEdge, RisingEdge, Timer
from numpy.typing import NDArray

from simsparse.rtl.block import Block
from simsparse.rtl.compare import Verdict, compare
from simsparse.rtl.run import Observed, State, Stream
from simsparse.rtl.vectors import Beats, Field, pack, unpack, words
from tests.rtl.scenes import Scene, Scenes


def loaded() -> Scenes:
    """What pytest prepared for this block."""
    with Path(os.environ["SCENES"]).open("rb") as file:
        scenes: Scenes = pickle.load(file)
    return scenes


def as_ints(field: Field, beats: Beats, count: int) -> list[int]:
    """One unsigned integer a beat."""
    return [int.from_bytes(row.tobytes(), "little") for row in pack((field,), beats, count)]


def as_numbers(field: Field, ints: list[int]) -> NDArray[np.int64]:
    """The lanes of unsigned integers, one row a beat."""
    count = words((field,))
    raw = b"".join(number.to_bytes(4 * count, "little") for number in ints)
    return unpack((field,), np.frombuffer(raw, np.uint32).reshape(-1, count))[field.name]


class Driver:
    """Offers beats as the stream says, and inverted data whenever nothing is offered."""

    def __init__(self, dut: SimHandleBase, block: Block, stream: Stream) -> None:
        self.dut, self.stream = dut, stream
        self.ports = [(getattr(dut, f"{field.name}_i"), (1 << field.width) - 1) for field in block.inputs]
        self.beats = list(zip(*(as_ints(field, stream.beats, stream.count) for field in block.inputs), strict=True))
        self.next, self.offering = 0, False

    def drive(self, cycle: int) -> None:
        more = self.next < self.stream.count
        self.offering |= more and bool(self.stream.offers[cycle % self.stream.offers.size])
        self.dut.valid_i.value = int(self.offering)
        for (port, ones), value in zip(self.ports, self.beats[self.next] if more else self.beats[0], strict=True):
            port.value = value if self.offering else value ^ ones

    def taken(self) -> None:
        self.next, self.offering = self.next + 1, False


class Sink:
    """Is ready as the stream says, whatever the block does."""

    def __init__(self, dut: SimHandleBase, stream: Stream) -> None:
        self.dut, self.pattern = dut, stream.accepts

    def drive(self, cycle: int) -> None:
        self.dut.ready_i.value = int(self.pattern[cycle % self.pattern.size])


class Monitor:
    """Notes every handshake with its cycle, and outputs that change while they wait."""

    def __init__(self, dut: SimHandleBase, block: Block) -> None:
        self.dut, self.block = dut, block
        self.ports = [getattr(dut, f"{field.name}_o") for field in block.outputs]
        self.given_beats: list[tuple[int, ...]] = []
        self.taken: list[int] = []
        self.given: list[int] = []
        self.states: set[State] = set()
        self.waiting: tuple[int, ...] | None = None
        self.faults = 0

    def sample(self, cycle: int) -> bool:
        """Note this cycle; whether a beat was taken. A value that is unknown while valid raises ValueError."""
        state = tuple(int(getattr(self.dut, name).value) for name in ("valid_i", "ready_o", "valid_o", "ready_i"))
        valid_in, ready_out, valid_out, ready_in = state
        self.states.add(state)
        data = tuple(int(port.value) for port in self.ports) if valid_out else None
        self.faults += self.waiting is not None and data != self.waiting
        self.waiting = None if ready_in else data
        if data is not None and ready_in:
            self.given.append(cycle)
            self.given_beats.append(data)
        if valid_in and ready_out:
            self.taken.append(cycle)
        return bool(valid_in and ready_out)

    def observed(self, cycles: int) -> Observed:
        outputs = {
            field.name: as_numbers(field, [beat[place] for beat in self.given_beats])
            for place, field in enumerate(self.block.outputs)
        }
        at = (np.array(cycles_of, np.int64) for cycles_of in (self.taken, self.given))
        return Observed(outputs, *at, cycles, self.faults, frozenset(self.states))


async def reset(dut: SimHandleBase) -> None:
    """Reset in the middle of a cycle, whatever was going on; no output may be valid from then on."""
    dut.rst_ni.value = 0
    dut.valid_i.value = 0
    dut.ready_i.value = 0
    await Timer(1, "ns")
    assert int(dut.valid_o.value) == 0
    await RisingEdge(dut.clk_i)
    await FallingEdge(dut.clk_i)
    dut.rst_ni.value = 1


async def play(dut: SimHandleBase, block: Block, stream: Stream, outputs: int, longest: int) -> Observed:
    """``stream`` through the block, from just after a falling edge on."""
    driver, sink, monitor = Driver(dut, block, stream), Sink(dut, stream), Monitor(dut, block)
    cycle = 0
    while cycle < longest and (driver.next < stream.count or len(monitor.given) < outputs):
        driver.drive(cycle)
        sink.drive(cycle)
        await RisingEdge(dut.clk_i)
        if monitor.sample(cycle):
            driver.taken()
        await FallingEdge(dut.clk_i)
        cycle += 1
    return monitor.observed(cycle)


async def checked(dut: SimHandleBase, block: Block, scene: Scene) -> Verdict:
    predicted = scene.predicted
    observed = await play(dut, block, scene.stream, predicted.given.size, predicted.longest)
    return compare(block, scene.stream, observed, predicted)


async def start(dut: SimHandleBase) -> None:
    Clock(dut.clk_i, 10, unit="ns").start()
    await FallingEdge(dut.clk_i)
    await reset(dut)


@cocotb.test()
async def random_stream_with_random_stalls(dut: SimHandleBase) -> None:
    """Values, cycles and coverage of some hundred tiles."""
    scenes = loaded()
    await start(dut)
    verdict = await checked(dut, scenes.block, scenes.random)
    assert not verdict.differences, verdict.differences
    assert not verdict.missed, verdict.missed


@cocotb.test()
async def directed_beats_at_full_speed(dut: SimHandleBase) -> None:
    """Hand-picked beats back to back, with the answers by hand where there are some."""
    scenes = loaded()
    await start(dut)
    verdict = await checked(dut, scenes.block, scenes.directed)
    assert not verdict.differences, verdict.differences


@cocotb.test()
async def reset_in_the_middle_forgets_everything(dut: SimHandleBase) -> None:
    """A stream cut off by reset leaves nothing behind for the next one."""
    scenes = loaded()
    await start(dut)
    for cycles in (1, 2, 3, 5, 8, 13, 21, 34, 55):
        await play(dut, scenes.block, scenes.random.stream, scenes.random.stream.count, cycles)
        await reset(dut)
        verdict = await checked(dut, scenes.block, scenes.directed)
        assert not verdict.differences, verdict.differences
        await reset(dut)
