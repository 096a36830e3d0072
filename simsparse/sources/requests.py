# SPDX-License-Identifier: Apache-2.0
"""Requests to a serving engine: when each arrives, how many tokens it reads and how many it writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simsparse.errors import SpecError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MAX_TOKENS = 2**31


@dataclass(frozen=True, eq=False)
class Requests:
    """Requests in order of arrival.

    ``arrival_s`` (n,) seconds, ``input_tokens`` and ``output_tokens`` (n,) of each request, 1 or more. ``priority``
    (n,): the lower, the earlier it is served by a policy that looks at priorities. ``concurrency``: a closed loop
    instead of arrivals: so many requests at a time, the next as soon as one ends; None where they arrive by themselves.
    ``prefix``: per request the ids of the leading blocks of ``prefix_block`` tokens of its prompt; requests with equal
    leading ids share those tokens.
    """

    arrival_s: Floats
    input_tokens: Ints
    output_tokens: Ints
    priority: Ints
    concurrency: int | None = None
    prefix: tuple[tuple[int, ...], ...] = ()
    prefix_block: int = 0
    name: str = "requests"

    @classmethod
    def of(
        cls,
        arrival_s: ArrayLike,
        input_tokens: ArrayLike,
        output_tokens: ArrayLike,
        *,
        priority: ArrayLike | None = None,
        concurrency: int | None = None,
        prefix: Sequence[Sequence[int]] = (),
        prefix_block: int = 0,
        name: str = "requests",
    ) -> Requests:
        """Requests of arrays, sorted by arrival. Raises SpecError on lengths that differ and on values out of range."""
        times = np.asarray(arrival_s, np.float64)
        columns = {"input": _whole("input", input_tokens), "output": _whole("output", output_tokens)}
        columns["priority"] = _whole(
            "priority", np.zeros(len(times)) if priority is None else priority, least=-MAX_TOKENS
        )
        if not len(times) or not np.all(np.isfinite(times)) or times.min() < 0:
            raise SpecError("expected one or more times, finite and not below 0", key="arrival_s")
        for key, values in columns.items():
            if len(values) != len(times):
                raise SpecError(f"{len(values)} values of {len(times)} requests", key=key)
        if concurrency is not None and concurrency < 1:
            raise SpecError(f"{concurrency} requests at a time; expected 1 or more", key="concurrency")
        if prefix and (len(prefix) != len(times) or prefix_block < 1):
            raise SpecError("expected the ids of every request and the tokens of a block", key="prefix")
        order = np.argsort(times, kind="stable")
        ids = tuple(tuple(int(block) for block in prefix[i]) for i in order.tolist()) if prefix else ()
        return cls(times[order], columns["input"][order], columns["output"][order], columns["priority"][order],
                   concurrency, ids, prefix_block, name)  # fmt: skip

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def rate_per_s(self) -> float:
        """Requests per second over the time in which they arrive; 0 where all arrive at once."""
        span = float(self.arrival_s[-1] - self.arrival_s[0])
        return (len(self) - 1) / span if span > 0 else 0.0

    def take(self, places: Sequence[int] | Ints) -> Requests:
        """The requests at ``places``, which are in order of arrival."""
        own = np.asarray(places, np.int64)
        prefix = tuple(self.prefix[i] for i in own.tolist()) if self.prefix else ()
        return Requests(self.arrival_s[own], self.input_tokens[own], self.output_tokens[own], self.priority[own],
                        self.concurrency, prefix, self.prefix_block, self.name)  # fmt: skip


def _whole(key: str, values: Any, least: int = 1) -> Ints:
    found = np.asarray(values)
    try:
        whole = np.rint(found.astype(np.float64))
    except (OverflowError, TypeError, ValueError):
        raise SpecError("expected a list of whole numbers", key=key) from None
    if found.ndim != 1 or not np.all(np.isfinite(whole)) or np.any(whole != found):
        raise SpecError("expected a list of whole numbers", key=key)
    if len(whole) and (whole.min() < least or whole.max() >= MAX_TOKENS):
        raise SpecError(f"{whole.min():.0f} to {whole.max():.0f}; expected {least} to 2**31", key=key)
    return whole.astype(np.int64)
