# SPDX-License-Identifier: Apache-2.0
"""Speed of serving, against what the docs promise: 10,000 requests on one core, and replicas behind a router."""

from __future__ import annotations

import resource
import time

import numpy as np
import pytest

import simsparse as ss

pytestmark = pytest.mark.bench
POLICY = {"kind": "chunked", "max_seqs": 256, "tokens": 2048}


def requests(count: int, rate: float) -> ss.Requests:
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.exponential(1 / rate, count))
    return ss.Requests.of(times, rng.integers(64, 1500, count), np.full(count, 500))


@pytest.mark.parametrize("rate", [4.0, 12.0, 30.0])
def test_ten_thousand_requests_within_a_minute(rate: float) -> None:
    began = time.process_time()
    ss.serve(requests(10_000, rate), "systems/h200-pcie5", "llama2-7b", POLICY)
    print(f"{rate} per second: {time.process_time() - began:.1f} s")
    assert time.process_time() - began < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2e6


@pytest.mark.parametrize("router", ["round_robin", "least_loaded"])
def test_sixty_four_replicas_within_ten_minutes(router: str) -> None:
    began = time.process_time()
    ss.serve(requests(64_000, 512.0), "systems/h200-pcie5", "llama2-7b", POLICY, replicas=64, router=router)
    print(f"64 replicas, {router}: {time.process_time() - began:.1f} s")
    assert time.process_time() - began < 600
