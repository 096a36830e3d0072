# SPDX-License-Identifier: Apache-2.0
"""What a memory controller chooses: queue sizes, when writes are drained, when rows are closed."""

from __future__ import annotations

from dataclasses import dataclass

from simsparse.errors import SpecError


@dataclass(frozen=True)
class ControllerPolicy:
    """First-ready, first-come-first-served over a read queue and a write queue.

    Writes are drained when more than ``write_high`` of their queue is taken or no read waits, until less than
    ``write_low`` of it is taken and a read waits. ``hit_cap`` is how many column commands a row serves before an older
    request to another row of the bank goes first; None: no limit. ``close_after`` closes a row with the column command
    after so many; None leaves rows open.
    """

    read_queue: int = 32
    write_queue: int = 32
    write_low: float = 0.2
    write_high: float = 0.8
    hit_cap: int | None = None
    close_after: int | None = None

    def __post_init__(self) -> None:
        for key in ("read_queue", "write_queue", "hit_cap", "close_after"):
            value = getattr(self, key)
            if value is not None and not 1 <= value <= 1 << 16:
                raise SpecError(f"{value} is not from 1 to {1 << 16}", key=key)
        if not 0 <= self.write_low <= self.write_high <= 1:
            raise SpecError(
                f"write_low {self.write_low} and write_high {self.write_high}: expected 0 <= low <= high <= 1",
                key="write_low",
            )
