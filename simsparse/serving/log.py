# SPDX-License-Identifier: Apache-2.0
"""What a replica did over time, one entry per run of alike steps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from simsparse.serving.costs import StepShape

if TYPE_CHECKING:
    import pandas as pd


Interval = tuple[float, float]
"""Start and end, in seconds."""


class StepRun(NamedTuple):
    """``steps`` alike steps from ``start_s`` to ``end_s``: prompt tokens read, sequences that decode, requests that
    wait, tokens in the cache of decoding sequences, joules of the device's work."""

    start_s: float
    end_s: float
    steps: int
    read_tokens: int
    decoding: int
    waiting: int
    cached_tokens: int
    joules: float


@dataclass
class StepLog:
    """The entries in order of time."""

    runs: list[StepRun] = field(default_factory=list)
    shapes: list[StepShape] = field(default_factory=list)

    def add(self, span_s: Interval, steps: int, shape: StepShape, waiting: int, cached: int, joules: float) -> None:
        """Steps of one shape, which is kept too: every 2**n-th for the estimate of interpolation."""
        self.runs.append(StepRun(*span_s, steps, sum(tokens for tokens, _ in shape.chunks), shape.decoding, waiting,
                                 cached, joules))  # fmt: skip
        if len(self.runs) & (len(self.runs) - 1) == 0 or len(self.runs) % 997 == 0:
            self.shapes.append(shape)

    @property
    def joules(self) -> float:
        """Joules of all steps."""
        return sum(run.joules for run in self.runs)

    def table(self) -> pd.DataFrame:
        """A row per entry."""
        import pandas as pd

        return pd.DataFrame(self.runs, columns=list(StepRun._fields))
