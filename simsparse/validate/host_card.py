# SPDX-License-Identifier: Apache-2.0
"""A part for a CPU of one's own: what the rows of ``simsparse probe --cpu`` say, over another part that it extends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from simsparse.errors import SpecError
from simsparse.validate.card import Reading
from simsparse.validate.host_kernels import CORE_SECTION
from simsparse.validate.measurement import Measurement


class _Source(NamedTuple):
    """Where a value of the part stands, the rows that it is read off, its text, and how it was measured."""

    path: str
    rows: tuple[str, ...]
    text: Callable[..., str]
    note: str


_SOURCES = (
    _Source("threads.cores", ("threads",), lambda n: f"{n:.0f}", "processors that the probe might use"),
    _Source("threads.count", ("threads",), lambda n: f"{n:.0f}", "the same"),
    _Source("threads.fork", ("fork",), lambda s: f"{s * 1e6:.3g} us", "least of 200 calls of an empty parallel loop"),
    _Source("threads.bandwidth", ("dram_bandwidth",), lambda b: f"{b / 1e9:.4g} GB/s", "sum of an array on one thread"),
    _Source("memory.bandwidth", ("all_dram_bandwidth", "dram_bandwidth"), lambda a, b: f"{max(a, b) / 1e9:.4g} GB/s",
            "sums of arrays on all threads, no less than that of one"),
    _Source("core.clock", ("clock",), lambda hz: f"{hz / 1e9:.4g} GHz", "dependent integer squares and additions"),
    _Source("core.vector", ("vector",), lambda b: f"{b:.0f} byte", "the compiler's target"),
    _Source("core.fma_latency", ("fma_latency",), lambda c: f"{max(1, round(c))}", "dependent additions"),
    _Source("core.fma_ports", ("gemm", "clock", "vector"), lambda f, hz, b: f"{f / hz / (2 * b / 4):.3g}",
            "multiply-adds a cycle of that dense product"),
    _Source("core.load_ports", ("loads",), lambda n: f"{n:.3g}", "sum of values in the first cache, vectors a cycle"),
    _Source("core.store_ports", ("stores",), lambda n: f"{n:.3g}", "scaled sums in the first cache, vectors a cycle"),
    _Source("core.forward", ("add_in_memory", "fma_latency"), lambda a, b: f"{max(0, a - b):.3g}",
            "additions to one place in memory, less an addition"),
    _Source("core.gather", ("gather",), lambda c: f"{c:.3g}", "sum of gathered values in the first cache"),
    _Source("core.miss", ("miss",), lambda c: f"{c:.3g}", "branches at random over alternating ones"),
    _Source("core.dispatch", ("call_torch_csr", "call_torch"), lambda a, b: f"{max(0, a - b) * 1e6:.3g} us",
            "calls of torch's CSR and dense products of 8 x 8"),
    _Source("core.caches.l1", ("l1_bytes",), lambda b: f"{b:.0f} byte", "the system's own"),
    _Source("core.caches.l2.capacity", ("l2_bytes",), lambda b: f"{b:.0f} byte", "the system's own"),
    _Source("core.caches.l2.bandwidth", ("l2_bandwidth",), lambda b: f"{b / 1e9:.4g} GB/s", "sum of half of it"),
    _Source("core.caches.l3.capacity", ("l3_bytes",), lambda b: f"{b:.0f} byte", "the system's own"),
    _Source("core.caches.l3.bandwidth", ("l3_bandwidth",), lambda b: f"{b / 1e9:.4g} GB/s", "sum of half of it"),
    _Source("compute.launch", ("call_torch",), lambda s: f"{s * 1e6:.3g} us", "torch's dense product of 8 x 8"),
    _Source("compute.peak.fp32", ("gemm", "threads"), lambda f, n: f"{f * n / 1e9:.4g} GFLOPS",
            "dense product of 1024 on one thread, times the threads"),
)  # fmt: skip


def read_host(rows: Sequence[Measurement]) -> list[Reading]:
    """Values of a part that ``rows`` of the probe give. Raises SpecError when there is none."""
    known: Mapping[str, float] = {
        row.text("op"): row.number("value") for row in rows
        if row.section == CORE_SECTION and row.fields.get("value") != 0
    }  # fmt: skip
    found = [
        Reading(source.path, source.text(*(known[op] for op in source.rows)), source.note)
        for source in _SOURCES if known.keys() >= set(source.rows)
    ]  # fmt: skip
    if not found:
        raise SpecError(f"no row of section {CORE_SECTION}; expected those of simsparse probe --cpu", key="data")
    if "gemm" in known:
        found.append(Reading("compute.efficiency", "1", "the peak is already the rate reached"))
    found += [
        Reading("memory.capacity", f"{row.whole('memory')} byte", "the system's own")
        for row in rows if row.section == "env" and "memory" in row.fields
    ]  # fmt: skip
    return found
