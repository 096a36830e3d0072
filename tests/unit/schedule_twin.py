# SPDX-License-Identifier: Apache-2.0
"""Slow twin of the fold schedule: loops written out, times as fractions of a cycle, buffers as lists of blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from simsparse.dataflow import PeArray
from simsparse.dataflow.folds.schedule import FoldGemm, Scratchpad

Time = Fraction


@dataclass
class Dma:
    """Channels that serve requests in order, and buffers that take a block when older ones have left."""

    rates: dict[str, Fraction]
    shared: bool
    room: dict[str, int]
    busy: dict[str, Time] = field(default_factory=dict)
    blocks: dict[str, list[list[Time | int | None]]] = field(default_factory=lambda: {"input": [], "weight": []})
    moved: dict[str, int] = field(default_factory=lambda: {"input": 0, "weight": 0, "output": 0})

    def move(self, name: str, bits: int, earliest: Time) -> Time:
        channel = "all" if self.shared else name
        start = max(self.busy.get(channel, Time(0)), earliest)
        self.busy[channel] = start + bits / self.rates[name]
        self.moved[name] += bits
        return self.busy[channel]

    def load(self, name: str, bits: int) -> Time:
        earliest, lying = Time(0), self.blocks[name]
        while lying and sum(int(block[0] or 0) for block in lying) + bits > 2 * self.room[name]:
            left = lying.pop(0)[1]
            assert left is not None, "a block that is still in use would be overwritten"
            earliest = max(earliest, Time(left))
        lying.append([bits, None])
        return self.move(name, bits, earliest)

    def leave(self, name: str, now: int) -> None:
        self.blocks[name][-1][1] = now


def tiles(total: int, size: int) -> list[tuple[int, int]]:
    return [(at, min(size, total - at)) for at in range(0, total, size)]


def part(total: int, whole: int, before: int, size: int) -> int:
    return total * (before + size) // whole - total * before // whole


def kept(k: int, product: FoldGemm) -> int:
    return sum(1 for i in range(k) if i % product.group < product.keep)


@dataclass
class Fold:
    """What one fold needs: (name, bits, how it is held) of what stays and what streams; its results."""

    load: int
    steps: int
    still: tuple[str, int, str] | None
    moving: list[tuple[str, int, str]]
    first_k: bool
    result_bits: int
    outer: int


def folds_of(  # noqa: PLR0915
    dataflow: str, product: FoldGemm, array: PeArray, pad: Scratchpad, outer: str, cut: int = 1
) -> Iterator[Fold]:
    p, room = product, {"input": 4 * pad.buffers.input, "weight": 4 * pad.buffers.weight}
    whole_k = {"input": p.k, "weight": kept(p.k, p)}
    lines = {"input": p.m, "weight": p.n}
    bits = {"input": p.input_bits, "weight": p.weight_bits}

    def hold(name: str, is_outer: bool, uses: int, largest: int) -> str:
        if bits[name] <= room[name]:
            return "whole"
        fits = -(-bits[name] * largest // lines[name]) <= room[name]
        return "turn" if is_outer and uses > 1 and fits else "block"

    def bits_of(name: str, line: tuple[int, int], k: tuple[int, int]) -> int:
        along = (k[0], k[1]) if name == "input" else (kept(k[0], p), kept(k[0] + k[1], p) - kept(k[0], p))
        before = line[0] * whole_k[name] + line[1] * along[0]
        return part(bits[name], lines[name] * whole_k[name], before, line[1] * along[1])

    if dataflow == "os":
        span = max(1, array.macs // p.keep) * p.group
        a, b = tiles(p.m, array.rows), tiles(p.n, array.cols)
        held = {"input": hold("input", outer == "inputs", len(b), a[0][1]),
                "weight": hold("weight", outer == "weights", len(a), b[0][1])}  # fmt: skip
        order = [(i, j) for j in range(len(b)) for i in range(len(a))]
        if outer == "inputs":
            order = [(i, j) for i in range(len(a)) for j in range(len(b))]
        done = 0
        for i, j in order:
            need = {"input": j == 0 or held["input"] == "block", "weight": i == 0 or held["weight"] == "block"}
            sizes = {"input": bits_of("input", a[i], (0, p.k)), "weight": bits_of("weight", b[j], (0, p.k))}
            moving = [(name, sizes[name] * need[name], held[name]) for name in ("input", "weight")]
            count = a[i][1] * b[j][1]
            result = part(p.output_bits, p.m * p.n, done, count)
            done += count
            yield Fold(0, -(-p.k // span), None, moving, True, result, j if outer == "weights" else i)
        return
    stays, moves = ("weight", "input") if dataflow == "ws" else ("input", "weight")
    if dataflow == "ws":
        span = max(1, array.macs // p.keep) * p.group
        load = array.rows * -(-(span // p.group * p.keep) // array.macs)
    else:
        span = max(1, array.macs // p.group) * p.group
        load = array.rows * -(-span // array.macs)
    columns = tiles(lines[stays], array.cols)
    if outer == "blocked":
        yield from blocked_folds(product, array, pad, stays, moves, span, load, bits_of, cut)
        return
    fit = max(1, min(lines[moves], pad.buffers.partial_sums() // min(lines[stays], array.cols)))
    if outer == "fitted":
        fit = max(1, min(fit, room[moves] * lines[moves] // bits[moves]))
    chunks = tiles(lines[moves], -(-lines[moves] // -(-lines[moves] // fit)))
    ks = tiles(p.k, array.rows * span)
    still_outer = outer == stays + "s"
    held = {stays: hold(stays, still_outer, len(chunks), columns[0][1]),
            moves: hold(moves, not still_outer, len(columns), chunks[0][1])}  # fmt: skip
    pairs = [(c, t) for c in range(len(columns)) for t in range(len(chunks))]
    if not still_outer:
        pairs = [(c, t) for t in range(len(chunks)) for c in range(len(columns))]
    done = 0
    for c, t in pairs:
        for k in ks:
            still = bits_of(stays, columns[c], k) * (t == 0 or held[stays] == "block")
            moving_bits = bits_of(moves, chunks[t], k) * (c == 0 or held[moves] == "block")
            result = 0
            if k == ks[-1]:
                result = part(p.output_bits, p.m * p.n, done, columns[c][1] * chunks[t][1])
                done += columns[c][1] * chunks[t][1]
            yield Fold(load, chunks[t][1], (stays, still, held[stays]), [(moves, moving_bits, held[moves])],
                       k == ks[0], result, c if still_outer else t)  # fmt: skip


def blocked_folds(
    p: FoldGemm, array: PeArray, pad: Scratchpad, stays: str, moves: str, span: int, load: int,
    bits_of: Callable[[str, tuple[int, int], tuple[int, int]], int], cut: int,
) -> Iterator[Fold]:  # fmt: skip
    room = {"input": 4 * pad.buffers.input, "weight": 4 * pad.buffers.weight}
    lines, bits = {"input": p.m, "weight": p.n}, {"input": p.input_bits, "weight": p.weight_bits}
    ks, columns = tiles(p.k, array.rows * span), tiles(lines[stays], array.cols)
    width, sums = min(lines[stays], array.cols), pad.buffers.partial_sums()
    step = -(-bits[moves] * ks[0][1] // (lines[moves] * p.k))
    fit = max(1, min(lines[moves], sums // width, room[moves] // step) // cut)
    chunks = tiles(lines[moves], -(-lines[moves] // -(-lines[moves] // fit)))
    together = max(1, sums // (chunks[0][1] * width))
    held = {name: "whole" if bits[name] <= room[name] else "turn" if name == moves else "block" for name in bits}
    turn = done = 0
    for t, chunk in enumerate(chunks):
        for first in range(0, len(columns), together):
            block = columns[first : first + together]
            for k in ks:
                for c, column in enumerate(block):
                    still = bits_of(stays, column, k) * (t == 0 or held[stays] == "block")
                    need = c == 0 and (first == 0 or held[moves] == "turn")
                    result = 0
                    if k == ks[-1] and c == len(block) - 1:
                        count = sum(each[1] for each in block) * chunk[1]
                        result = part(p.output_bits, p.m * p.n, done, count)
                        done += count
                    yield Fold(load, chunk[1], (stays, still, held[stays]),
                               [(moves, bits_of(moves, chunk, k) * need, held[moves])],
                               k == ks[0] and c == 0, result, turn)  # fmt: skip
                turn += 1


def slow_schedule(  # noqa: PLR0915
    dataflow: str,
    product: FoldGemm,
    array: PeArray,
    pad: Scratchpad,
    outer: str,
    piece: int,
    interval: int,
    cut: int = 1,
) -> dict[str, int | dict[str, int] | list[int]]:
    """Cycles by kind, bits by operand, ends of folds. ``piece`` and ``interval`` are as the plan says."""
    link = pad.interface
    rate = {"input": link.shared or link.input, "weight": link.shared or link.weight,
            "output": link.shared or link.output}  # fmt: skip
    exact = {name: Fraction(value or 0).limit_denominator(1000) for name, value in rate.items()}
    dma = Dma(exact, link.shared is not None, {"input": 4 * pad.buffers.input, "weight": 4 * pad.buffers.weight})
    fill = array.fold_fill + (array.decode if product.keep < product.group else 0)
    now = hidden_limit = waited = 0
    begin: int | None = None
    turn_ends: list[int] = []
    results: list[tuple[int, int]] = []
    gone: list[Time] = []
    ends: list[int] = []
    last_outer = 0

    def get(need: tuple[str, int, str]) -> Time:
        name, bits, how = need
        if bits == 0:
            return Time(0)
        if how == "block":
            return dma.load(name, bits)
        free = turn_ends[-2] if how == "turn" and len(turn_ends) > 1 else 0
        return dma.move(name, bits, Time(free))

    for fold in folds_of(dataflow, product, array, pad, outer, cut):
        if fold.outer != last_outer:
            turn_ends.append(now)
            last_outer = fold.outer
        if fold.first_k and len(results) > len(gone) + 1:
            bits, end = results[len(gone)]
            gone.append(dma.move("output", bits, Time(end)))
        at = now
        shown = fold.load
        if fold.still:
            there = get(fold.still)
            hidden = min(math.floor(array.overlap * fold.load), hidden_limit)
            shown -= hidden
            start = max(now - hidden, math.ceil(there))
            begin = start if begin is None else begin
            at = max(now, start + fold.load)
            if fold.still[1] and fold.still[2] == "block":
                dma.leave(fold.still[0], at)
        if fold.first_k and len(results) > 1:
            at = max(at, math.ceil(gone[len(results) - 2]))
        step = 0
        while step < fold.steps:
            size = min(piece, fold.steps - step)
            needs = [(name, part(bits, fold.steps, step, size), how) for name, bits, how in fold.moving]
            for there in [get(need) for need in needs]:
                at = max(at, math.ceil(there))
            begin = at if begin is None else begin
            at += size * interval
            for name, bits, how in needs:
                if bits and how == "block":
                    dma.leave(name, at)
            step += size
        hidden_limit = fold.steps * interval + fill
        at += fill
        waited += at - now - shown - hidden_limit
        now = at
        ends.append(now)
        if fold.result_bits:
            results.append((fold.result_bits, now))
    last = Time(0)
    for bits, end in results[len(gone) :]:
        last = dma.move("output", bits, Time(end))
    begin = begin or 0
    end = now + array.once_fill
    return {"prefetch": begin, "stall": waited - begin, "compute": end - waited,
            "drain": max(0, math.ceil(last) - end), "dram": dma.moved, "ends": ends}  # fmt: skip
