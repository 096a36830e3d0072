# SPDX-License-Identifier: Apache-2.0
"""Speed of the DRAM core, and the memory that long runs take."""

from __future__ import annotations

import resource
import time

import pytest

import simsparse as ss

pytestmark = pytest.mark.bench
LEAST = {"seq": 1.0e6, "random": 0.5e6}
"""Requests per second of one core."""


@pytest.mark.parametrize("part", ["memory/ddr4-2400", "memory/hbm3-6400", "memory/hbm2-2000"])
@pytest.mark.parametrize("pattern", LEAST)
def test_requests_per_second(part: str, pattern: str) -> None:
    """The best of five runs of 200,000 reads, by the CPU time of the process."""
    access = ss.load_hardware(part).burst.whole
    ss.dram_stream(part, pattern, bytes=1 << 16)
    seconds = []
    for _ in range(5):
        began = time.process_time()
        run = ss.dram_stream(part, pattern, bytes=200_000 * access)
        seconds.append(time.process_time() - began)
    rate = run.requests / min(seconds)
    print(f"{part}, {pattern}: {rate / 1e6:.2f} M requests/s")
    assert rate > LEAST[pattern]


def test_memory_is_flat_over_ten_million_requests() -> None:
    """A run of ten million requests holds no more than one of a hundred thousand, to 32 MB."""
    ss.dram_stream("memory/ddr4-2400", bytes=64 * 100_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run = ss.dram_stream("memory/ddr4-2400", bytes=64 * 10_000_000)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert run.requests == 10_000_000
    assert grown < 32 << 10
