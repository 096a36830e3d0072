# SPDX-License-Identifier: Apache-2.0
"""SMASH: row-wise product by many threads that add into a hash table in scratchpad memory, as on a core of PIUMA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numba import njit

from simsparse.dataflow.base import Ints, ceil_div
from simsparse.dataflow.fibers import POINTER, Fibers, entry_bytes, outputs_of
from simsparse.dataflow.sparse_engine import ENGINES, PeConfig, SparseEngine, Work, same_k
from simsparse.dataflow.typical import DRAWS, SAMPLE, draws_of, mean_work, typical_part
from simsparse.errors import SpecError
from simsparse.sparsity.nonzeros import Columns, NonZeros, effectual_macs
from simsparse.sparsity.statement import Sparsity

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: the multiplier of multiplicative hashing (Knuth, volume 3, 6.4)."""


class Smash(SparseEngine):
    """Input rows are taken in windows whose results fit the scratchpad's hash table (the output buffer).

    A pipeline issues one instruction a cycle for its ``threads``; a thread has one access under way. A product is
    hashed to a slot and goes on from there, slot by slot, to its own; the walk of the slots is exact. A window lasts as
    long as its busiest pipeline, its slowest thread or its DRAM traffic, whichever is most.

    Version 1 gives whole rows round to threads and hashes by high-order bits of a multiple of (row, column), with
    probing of the next slot; a window may fill half of the table, which threads then scan and write back. Version 2
    hands tokens, one an input's non-zero, to the thread that is free first; a window has as many rows as there are
    slots for all their columns, so that the low-order bits are a perfect hash, and threads write the results that they
    listed. Version 3 has DMA engines bring fibers to the scratchpad, add products to their slots, and write the half of
    the table that is done, while the next window fills the other; its products take instructions of their own number,
    and none to look at slots.

    A denser operand may be faster: it moves the first version's windows and with them where hashes meet.
    Source: Shivdikar, SMASH, 2021 (arXiv 2105.14156); what the versions do is recalled. Left out: the sort of a row's
    results, contention for one slot, other cores.
    """

    name: ClassVar[str] = "smash"
    settings: ClassVar[dict[str, str]] = {
        "version": "1, 2 or 3",
        "threads": "threads of a pipeline",
        "index_bits": "bits of a coordinate beside each value",
        "slot_bytes": "bytes of a slot of the hash table",
        "dram_cycles": "cycles from a load of the DRAM to its data",
        "spad_cycles": "cycles of an access to the scratchpad",
        "product_instructions": "instructions of a product: two loads, multiply, hash, loop",
        "dma_product_instructions": "instructions of a product that DMA engines feed and add: version 3",
        "probe_instructions": "instructions to look at a slot and add to it or go on",
        "token_instructions": "instructions to take up an input's non-zero: loads, pointers, a token or DMA",
        "write_instructions": "instructions to look at a slot of the table, or at a listed result, and write it back",
    }
    tolerance: ClassVar[float] = 0.3
    denser_is_slower: ClassVar[bool] = False

    def run(self, weights: NonZeros, inputs: NonZeros, machine: PeConfig) -> Work:
        m, n, _ = same_k(weights, inputs)
        fibers, slots = weights.transposed, _slots(machine)
        products = _by_row(inputs, fibers.row_counts)
        if n > slots // 2:
            raise SpecError(f"a table of {slots} slots can't hold a row of {n} columns", key="buffers.output")
        if machine.whole("version") == 1:
            window = _windows(np.minimum(products, n), slots // 2)
            probes, made = _probe(inputs.pointers, inputs.columns, fibers.pointers, fibers.columns, window, n, slots)
        else:
            window, probes = np.arange(m) // (slots // n), fibers.row_counts[inputs.columns]
            made = outputs_of(inputs.pointers, inputs.columns, *Fibers.of(fibers).parts)[1]
        costs = _Costs.of(machine)
        tokens = fibers.row_counts[inputs.columns]
        issue = costs.issue(1, tokens, probes)
        serial = issue + costs.wait(1, tokens, probes)
        row_of = np.repeat(np.arange(m), inputs.row_counts)
        busy, threads = _threads(row_of, issue, serial, window, machine.rows * machine.cols, machine.whole("threads"),
                                 machine.whole("version") > 1)  # fmt: skip
        count = int(window[-1]) + 1 if m else 0
        sums = [np.bincount(window[row_of], each, count).astype(np.int64) for each in (tokens, issue, serial)]
        rows = np.bincount(window, minlength=count).astype(np.int64)
        entries = np.bincount(window[row_of], minlength=count).astype(np.int64)
        loads = (entries + sums[0]) * entry_bytes(machine) + (rows + 2 * entries) * POINTER
        results = np.bincount(window, made, count).astype(np.int64)
        stores = results * entry_bytes(machine) + rows * POINTER
        phases = _Phases(np.maximum(busy, threads), sums[1], sums[2], results, loads, stores)
        return _work(machine, effectual_macs(weights, inputs), phases, int(probes.sum()))

    def expect(self, shape: tuple[int, int, int], weights: Sparsity, inputs: Sparsity, machine: PeConfig) -> Work:
        m, n, k = shape
        if max(m, n) * k <= SAMPLE:
            works: list[Work] = []
            for draw in draws_of(works, max(m, n), k):
                parts = typical_part(weights, n, k, draw), typical_part(inputs, m, k, DRAWS + draw)
                works.append(self.run(*parts, machine))
            return mean_work(works)
        dense_x, dense_w = inputs.nonzeros(m, k) / (m * k), weights.nonzeros(n, k) / (n * k)
        slots, pipelines, threads = _slots(machine), machine.rows * machine.cols, machine.whole("threads")
        row_products, entry = k * dense_x * n * dense_w, entry_bytes(machine)
        first = machine.whole("version") == 1
        per_window = max(1, min(m, int(slots // 2 // max(1.0, min(row_products, n))) if first else slots // n))
        count = -(-m // per_window)
        rows = m / count
        made = n * (1 - (1 - dense_x * dense_w) ** k)
        load = rows * made / slots if first and rows * n > slots else 0.0
        probes = row_products * (1 + load / (2 * (1 - min(load, 0.95))))
        costs = _Costs.of(machine)
        issue = rows * costs.issue(k * dense_x, row_products, probes)
        serial = issue + rows * costs.wait(k * dense_x, row_products, probes)
        units = rows if first else rows * k * dense_x
        slowest = serial / max(units, 1e-9) * np.ceil(units / (pipelines * threads))
        busy = issue / max(units, 1e-9) * np.ceil(units / pipelines)
        loads = rows * ((k * dense_x + row_products) * entry + (1 + 2 * k * dense_x) * POINTER)
        stores = rows * (made * entry + POINTER)
        each = [
            np.full(count, round(value), np.int64)
            for value in (max(busy, slowest), issue, serial, rows * made, loads, stores)
        ]
        return _work(machine, round(m * row_products), _Phases(*each), round(m * probes))


@dataclass(frozen=True)
class _Costs:
    """Instructions and waiting cycles of a thread for taking up tokens, for products and for probes."""

    token: int
    product: int
    probe: int
    token_wait: int
    product_wait: int
    probe_wait: int

    @classmethod
    def of(cls, machine: PeConfig) -> _Costs:
        dram, spad = machine.whole("dram_cycles"), machine.whole("spad_cycles")
        if machine.whole("version") > 2:
            product = machine.whole("dma_product_instructions")
            return cls(machine.whole("token_instructions"), product, 0, 2 * spad, spad, 0)
        return cls(
            machine.whole("token_instructions"), machine.whole("product_instructions"),
            machine.whole("probe_instructions"), 2 * dram, dram, spad,
        )  # fmt: skip

    def issue(self, tokens: Any, products: Any, probes: Any) -> Any:
        return tokens * self.token + products * self.product + probes * self.probe

    def wait(self, tokens: Any, products: Any, probes: Any) -> Any:
        return tokens * self.token_wait + products * self.product_wait + probes * self.probe_wait


@dataclass(frozen=True)
class _Phases:
    """Of each window: cycles of its threads, instructions, instructions and waits, results, bytes loaded and stored."""

    threads: Ints
    issue: Ints
    serial: Ints
    made: Ints
    loads: Ints
    stores: Ints


def _work(machine: PeConfig, macs: int, phases: _Phases, probes: int) -> Work:
    pipelines, ahead = machine.rows * machine.cols, machine.whole("version") > 2
    rate = machine.dram_bytes
    looked = (
        phases.made if machine.whole("version") == 2 else np.full_like(phases.made, 0 if ahead else _slots(machine))
    )
    scan = -(-looked * machine.whole("write_instructions") // pipelines)
    store = np.maximum(np.ceil(phases.stores / rate).astype(np.int64), scan)
    load = np.ceil(phases.loads / rate).astype(np.int64)
    if ahead:
        fed = np.maximum(phases.threads, load + np.concatenate([[0], store[:-1]]))
        total, write = int(fed.sum() + store[-1:].sum()), int(store[-1:].sum())
    else:
        fed, write = np.maximum(phases.threads, load), int(store.sum())
        total = int(fed.sum()) + write
    compute = -(-macs // machine.peak_macs)
    even = ceil_div(phases.issue, pipelines)
    hidden = np.minimum(phases.threads, np.maximum(even, ceil_div(phases.serial, pipelines * machine.whole("threads"))))
    causes = {
        "compute": compute, "instructions": int(even.sum()) - compute, "latency": int((hidden - even).sum()),
        "imbalance": int((phases.threads - hidden).sum()), "dram": int((fed - phases.threads).sum()), "write": write,
    }  # fmt: skip
    reads, writes = int(phases.loads.sum()), int(phases.stores.sum())
    slot = machine.whole("slot_bytes")
    return Work(total, macs, causes, reads, writes, reads + writes + probes * slot, {"probes": probes})


def _slots(machine: PeConfig) -> int:
    """Slots of the table that one window fills, a power of two."""
    room = machine.buffers.output // machine.whole("slot_bytes") // (2 if machine.whole("version") > 2 else 1)
    if room < 1:
        raise SpecError(f"{machine.buffers.output} bytes hold no table", key="buffers.output")
    return 1 << (room.bit_length() - 1)


def _by_row(inputs: NonZeros, lengths: Ints) -> Ints:
    """Products of each input row with fibers of these lengths."""
    upto = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths[inputs.columns])])
    products: Ints = upto[inputs.pointers[1:]] - upto[inputs.pointers[:-1]]
    return products


@njit(cache=True)  # type: ignore[untyped-decorator]
def _windows(bound: Ints, slots: int) -> Ints:
    """The window of each row: as many rows as have ``slots`` results at most."""
    window, held = np.zeros(bound.size, np.int64), 0
    for row in range(bound.size):
        fresh = row > 0 and held + bound[row] > slots
        window[row] = (window[row - 1] if row else 0) + fresh
        held = bound[row] + (0 if fresh else held)
    return window


@njit(cache=True)  # type: ignore[untyped-decorator]
def _probe(
    x_pointers: Ints, x_columns: Columns, pointers: Ints, columns: Columns, window: Ints, n: int, slots: int
) -> tuple[Ints, Ints]:
    """(slots looked at by each input's non-zero, results of each row), row by row, with linear probing."""
    rows = x_pointers.size - 1
    probes, made = np.zeros(x_columns.size, np.int64), np.zeros(rows, np.int64)
    tags, owner = np.zeros(slots, np.int64), np.full(slots, -1, np.int64)
    shift, first = np.uint64(64 - int(np.round(np.log2(slots)))), 0
    for row in range(rows):
        if row and window[row] != window[row - 1]:
            first = row
        for at in range(x_pointers[row], x_pointers[row + 1]):
            k = x_columns[at]
            for entry in range(pointers[k], pointers[k + 1]):
                tag = (row - first) * n + columns[entry]
                slot = np.int64((np.uint64(tag) * GOLDEN) >> shift)
                probes[at] += 1
                while owner[slot] == window[row] and tags[slot] != tag:
                    slot = (slot + 1) & (slots - 1)
                    probes[at] += 1
                made[row] += owner[slot] != window[row]
                owner[slot], tags[slot] = window[row], tag
    return probes, made


@njit(cache=True)  # type: ignore[untyped-decorator]
def _threads(
    row_of: Ints, issue: Ints, serial: Ints, window: Ints, pipelines: int, threads: int, tokens: bool
) -> tuple[Ints, Ints]:
    """Of each window: (instructions of its busiest pipeline, cycles of its slowest thread).

    Thread t runs on pipeline t mod ``pipelines``; ``tokens`` go to the thread that is free first, else rows round.
    """
    count = window[-1] + 1 if window.size else 0
    busy, slowest = np.zeros(count, np.int64), np.zeros(count, np.int64)
    issued, free = np.zeros(pipelines, np.int64), np.zeros(pipelines * threads, np.int64)
    now = -1
    for at in range(row_of.size):
        if window[row_of[at]] != now:
            now = window[row_of[at]]
            issued[:], free[:] = 0, 0
        thread = free.argmin() if tokens else row_of[at] % free.size
        free[thread] += serial[at]
        issued[thread % pipelines] += issue[at]
        busy[now] = max(busy[now], issued[thread % pipelines])
        slowest[now] = max(slowest[now], free[thread])
    return busy, slowest


ENGINES.register("smash")(Smash())
