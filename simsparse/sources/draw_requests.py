# SPDX-License-Identifier: Apache-2.0
"""Requests drawn from a process of arrivals and distributions of lengths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from simsparse.sources.arrivals import arrivals_of
from simsparse.sources.lengths import lengths_of
from simsparse.sources.options import whole
from simsparse.sources.requests import Requests


def draw_requests(
    count: int,
    arrivals: str | Mapping[str, Any],
    input: int | Mapping[str, Any],
    output: int | Mapping[str, Any],
    seed: int = 0,
    *,
    shared_prefix: int = 0,
    prefix_block: int = 16,
    name: str = "requests",
) -> Requests:
    """``count`` requests; ``arrivals`` as ``{"kind": "poisson", "rate": 4}``, ``input`` and ``output`` tokens as a
    number or a distribution such as ``{"kind": "lognormal", "mean": 500, "sigma": 0.8}``.

    ``shared_prefix``: leading tokens that are the same in all prompts, such as a system prompt. Arrivals, inputs and
    outputs have generators of their own, so that changing the rate leaves the lengths as they are. Raises SpecError.
    """
    count, shared = whole("count", count), whole("shared_prefix", shared_prefix, least=0)
    process = arrivals_of(arrivals)
    rngs = [np.random.default_rng([seed, stream]) for stream in range(3)]
    inputs = lengths_of(input, "input").draw(count, rngs[1])
    blocks = range(shared // prefix_block)
    prefix = [tuple(blocks[: int(tokens) // prefix_block]) for tokens in inputs] if shared else ()
    return Requests.of(
        process.times(count, rngs[0]), inputs, lengths_of(output, "output").draw(count, rngs[2]),
        concurrency=process.concurrency, prefix=prefix, prefix_block=prefix_block if shared else 0, name=name,
    )  # fmt: skip
