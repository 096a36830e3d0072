# SPDX-License-Identifier: Apache-2.0
"""Runs inside the simulator: driver, sink and monitor round one streaming block.

What to play comes in the file that the environment's ASKED names; what was seen goes to the one of ANSWER, and is
checked outside, for a simulator process that imports no models starts in half the time.
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
from cocotb.types import LogicArray
from numpy.typing import NDArray

from simsparse.rtl.stream import DrivenStream, HandshakeState, Observed, Play
from simsparse.rtl.vectors import Beats, Channel, Field, pack, unpack, words
from tests.rtl.plays import CUT_OFF, Answer, Asked


def asked() -> Asked:
    """What pytest prepared for this block."""
    with Path(os.environ["ASKED"]).open("rb") as file:
        found: Asked = pickle.load(file)
    return found


def as_ints(field: Field, beats: Beats, count: int) -> list[int]:
    """One unsigned integer a beat."""
    return [int.from_bytes(row.tobytes(), "little") for row in pack((field,), beats, count)]


def as_numbers(field: Field, ints: list[int]) -> NDArray[np.int64]:
    """The lanes of unsigned integers, one row a beat."""
    count = words((field,))
    raw = b"".join(number.to_bytes(4 * count, "little") for number in ints)
    return unpack((field,), np.frombuffer(raw, np.uint32).reshape(-1, count))[field.name]


class Port:
    """An input of the block; what it has already is not written again."""

    def __init__(self, handle: SimHandleBase) -> None:
        self.handle = handle
        self.held: int | LogicArray | None = None

    def put(self, value: int | LogicArray) -> None:
        if value is not self.held and value != self.held:
            self.handle.value = self.held = value


class Driver:
    """Offers the beats of one stream as its pattern says, and whenever nothing is offered data that must not matter:
    unknown bits where the simulator has them, so that a handshake that depends on them is unknown too, else inverted.
    """

    def __init__(self, dut: SimHandleBase, channel: Channel, stream: DrivenStream, offers: NDArray[np.bool_]) -> None:
        self.valid, self.count = Port(getattr(dut, f"{channel.prefix}valid_i")), stream.count_of(channel)
        self.offers = offers.tolist()
        self.ports = [(Port(getattr(dut, f"{field.name}_i")), (1 << field.width) - 1) for field in channel.fields]
        self.unknown = [LogicArray("X" * field.width) for field in channel.fields if "Icarus" in cocotb.SIM_NAME]
        self.beats = list(zip(*(as_ints(field, stream.beats, self.count) for field in channel.fields), strict=True))
        self.next, self.offering = 0, False

    def drive(self, cycle: int) -> None:
        more = self.next < self.count
        self.offering |= more and self.offers[cycle % len(self.offers)]
        self.valid.put(int(self.offering))
        values = self.beats[self.next] if more else self.beats[0]
        for place, ((port, ones), value) in enumerate(zip(self.ports, values, strict=True)):
            blank = self.unknown[place] if self.unknown else value ^ ones
            port.put(value if self.offering else blank)

    def taken(self) -> None:
        self.next, self.offering = self.next + 1, False


class Sink:
    """Is ready as its pattern says, whatever the block does."""

    def __init__(self, dut: SimHandleBase, channel: Channel, pattern: NDArray[np.bool_]) -> None:
        self.ready, self.pattern = Port(getattr(dut, f"{channel.prefix}ready_i")), pattern.astype(int).tolist()

    def drive(self, cycle: int) -> None:
        self.ready.put(self.pattern[cycle % len(self.pattern)])


class Watch:
    """Notes every handshake of one stream with its cycle and state, and outputs that change while they wait."""

    def __init__(self, dut: SimHandleBase, channel: Channel, way: str) -> None:
        back = "o" if way == "i" else "i"
        self.valid = getattr(dut, f"{channel.prefix}valid_{way}")
        self.ready = getattr(dut, f"{channel.prefix}ready_{back}")
        self.fields = channel.fields if way == "o" else ()
        self.ports = [getattr(dut, f"{field.name}_o") for field in self.fields]
        self.at: list[int] = []
        self.beats: list[tuple[int, ...]] = []
        self.states: set[tuple[int, int]] = set()
        self.waiting: tuple[int, ...] | None = None
        self.faults, self.state = 0, (0, 0)

    def sample(self, cycle: int) -> bool:
        """Note this cycle; whether a beat moved. A value that is unknown while valid raises ValueError."""
        self.state = valid, ready = int(self.valid.value), int(self.ready.value)
        self.states.add(self.state)
        data = tuple(int(port.value) for port in self.ports) if valid else None
        self.faults += self.waiting is not None and data != self.waiting
        self.waiting = None if ready or not self.ports else data
        if valid and ready:
            self.at.append(cycle)
            self.beats.append(data or ())
        return bool(valid and ready)

    def values(self) -> Beats:
        return {
            field.name: as_numbers(field, [beat[place] for beat in self.beats])
            for place, field in enumerate(self.fields)
        }


class Monitor:
    """Watches all streams of a block."""

    def __init__(self, dut: SimHandleBase, block: Asked) -> None:
        self.ins = [Watch(dut, channel, "i") for channel in block.channels_in]
        self.outs = [Watch(dut, channel, "o") for channel in block.channels_out]
        self.states: set[HandshakeState] = set()

    def sample(self, cycle: int) -> list[bool]:
        """Note this cycle; of which streams in a beat was taken."""
        taken = [watch.sample(cycle) for watch in self.ins]
        for watch in self.outs:
            watch.sample(cycle)
        self.states.add((*self.ins[0].state, *self.outs[0].state))
        return taken

    def observed(self, cycles: int) -> Observed:
        outputs = {name: rows for watch in self.outs for name, rows in watch.values().items()}
        ins, outs = ([np.array(watch.at, np.int64) for watch in watches] for watches in (self.ins, self.outs))
        sides = tuple(frozenset(watch.states) for watch in (*self.ins[1:], *self.outs[1:]))
        faults = sum(watch.faults for watch in self.outs)
        return Observed(
            outputs, ins[0], outs[0], cycles, faults, frozenset(self.states), tuple(ins[1:]), tuple(outs[1:]), sides
        )


async def reset(dut: SimHandleBase, block: Asked) -> None:
    """Reset without a clock edge, whatever was going on; no output may be valid from then on."""
    dut.rst_ni.value = 0
    for channel in block.channels_in:
        getattr(dut, f"{channel.prefix}valid_i").value = 0
    for channel in block.channels_out:
        getattr(dut, f"{channel.prefix}ready_i").value = 0
    await Timer(1, "ns")
    assert not any(int(getattr(dut, f"{channel.prefix}valid_o").value) for channel in block.channels_out)
    dut.rst_ni.value = 1


async def run(dut: SimHandleBase, block: Asked, play: Play, cycles: int | None = None) -> Observed:
    """``play`` from just after a falling edge on, until all of it came out or ``cycles`` have passed."""
    stream = play.stream
    offers, accepts = (stream.offers, *stream.side_offers), (stream.accepts, *stream.side_accepts)
    drivers = [Driver(dut, channel, stream, row) for channel, row in zip(block.channels_in, offers, strict=True)]
    sinks = [Sink(dut, channel, row) for channel, row in zip(block.channels_out, accepts, strict=True)]
    monitor, cycle = Monitor(dut, block), 0

    def unfinished() -> bool:
        wanted = zip(monitor.outs, play.outputs, strict=True)
        return any(driver.next < driver.count for driver in drivers) or any(len(w.at) < count for w, count in wanted)

    while cycle < (play.longest if cycles is None else cycles) and unfinished():
        for side in (*drivers, *sinks):
            side.drive(cycle)
        await RisingEdge(dut.clk_i)
        for driver, taken in zip(drivers, monitor.sample(cycle), strict=True):
            if taken:
                driver.taken()
        await FallingEdge(dut.clk_i)
        cycle += 1
    return monitor.observed(cycle)


@cocotb.test()
async def streams_and_resets(dut: SimHandleBase) -> None:
    """The random stream and the directed one, then both again and again with a reset in the middle of the first."""
    block = asked()
    Clock(dut.clk_i, 10, unit="ns").start()
    for port in block.tied:
        getattr(dut, port).value = 0
    await FallingEdge(dut.clk_i)
    await reset(dut, block)
    random = await run(dut, block, block.random)
    await reset(dut, block)
    directed = [await run(dut, block, block.directed)]
    for cycles in CUT_OFF:
        await reset(dut, block)
        await run(dut, block, block.random, cycles)
        await reset(dut, block)
        directed.append(await run(dut, block, block.directed))
    Path(os.environ["ANSWER"]).write_bytes(pickle.dumps(Answer(random, tuple(directed))))
