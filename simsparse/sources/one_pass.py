# SPDX-License-Identifier: Apache-2.0
"""One pass of a model."""

from __future__ import annotations

from collections.abc import Iterator

from simsparse.core import Trace
from simsparse.sources.base import Source


class OnePass(Source):
    """A trace, once."""

    def __init__(self, trace: Trace) -> None:
        self.trace, self.name, self.meta = trace, trace.name, trace.meta

    def passes(self, seed: int) -> Iterator[Trace]:
        del seed
        yield self.trace
