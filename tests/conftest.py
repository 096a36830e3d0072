# SPDX-License-Identifier: Apache-2.0
"""Hypothesis profiles: ``repeatable`` draws the same examples in every run, ``fuzz`` draws new ones from a seed."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

CASES, SEED = int(os.environ.get("CASES", "1000")), int(os.environ.get("SEED", "0"))
"""How many cases a fuzzing test draws, and from which seed where it is not hypothesis that draws."""


def draws(usual: int) -> int:
    """How many cases a test draws that draws ``usual`` of them in ``make test``: ten times as many per 1,000 of `CASES`
    in ``make fuzz``, which sets it."""
    return max(usual, 10 * usual * CASES // 1000) if "CASES" in os.environ else usual


settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    print_blob=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
settings.register_profile("fuzz", settings.get_profile("repeatable"), derandomize=False, max_examples=CASES)
settings.load_profile("repeatable")
