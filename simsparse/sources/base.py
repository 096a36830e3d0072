# SPDX-License-Identifier: Apache-2.0
"""What every source is: traces, one after another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

from simsparse.core import Trace


class Source(ABC):
    """A sequence of passes, each of which begins when the one before it is done.

    Ops of one name in several passes are the same op of the model: they run on the same device, and their weights
    and caches take memory once. ``draws``: whether the passes depend on the seed. ``meta`` says where the
    source comes from, as that of a trace does.
    """

    draws: bool = False
    name: str
    meta: Mapping[str, Any]

    @abstractmethod
    def passes(self, seed: int) -> Iterator[Trace]:
        """The traces in order; equal seeds give equal traces."""
