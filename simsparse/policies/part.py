# SPDX-License-Identifier: Apache-2.0
"""What every part of a policy is, and what it sees when it decides."""

from __future__ import annotations

from abc import ABC
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import ClassVar

import numpy as np

from simsparse.errors import SimulationError
from simsparse.events.simulator import Process
from simsparse.lowering.live_run import LiveRun
from simsparse.lowering.machine import Machine
from simsparse.lowering.trace_index import TraceIndex
from simsparse.lowering.weights import Weight
from simsparse.policies.windows import PrefetchWindow


@dataclass(frozen=True)
class PolicyPart(ABC):
    """One decision of a policy: placement, residency, prefetch or site.

    A subclass names itself in ``name``, registers as that, and holds its options as dataclass fields,
    checked in ``__post_init__``. It is immutable: what changes during a run lives in what it returns.
    ``lookahead`` says how many windows after the current one its View shows, None for all of them: what
    no real system knows is declared here. ``draws``: whether its decisions depend on the seed. A part
    that decides during the run overrides ``control``; level 0 refuses it.
    """

    name: ClassVar[str]
    lookahead: ClassVar[int | None] = 0
    draws: ClassVar[bool] = False

    @property
    def measures(self) -> bool:
        """Whether the part decides by how large or fast a machine is; else machines of one topology share commands."""
        return False

    def control(self, run: LiveRun) -> Process | None:
        """A process that issues commands during the run; None when the part decides nothing then."""
        del run
        return None

    @property
    def needs_events(self) -> bool:
        """Whether the part decides during the run."""
        return type(self).control is not PolicyPart.control


class SourceProgress:
    """How far a source has been lowered, which the views of all parts share.

    ``window`` is the place of the current window among those of all steps, ``step_end`` that after the
    last window of its step; ``begins``: a step begins, and ``window`` is the one before it. ``access`` is the place
    of the last weight that was read among the reads of all ops, ``layer`` its layer, ``counts`` the reads of each
    weight and of all weights of each matrix.
    """

    def __init__(
        self, index: TraceIndex, windows: Sequence[PrefetchWindow], machine: Machine,
        free_bytes: Mapping[str, int | None], seed: int,
    ) -> None:  # fmt: skip
        self.index, self.windows, self.machine, self.free_bytes = index, windows, machine, free_bytes
        self.seed, self.rng = seed, np.random.default_rng(seed)
        self.window, self.step_end, self.begins, self.access = -1, 0, True, -1
        self.layer: int | None = None
        self.counts = Counter[Weight | str]()

    def reads(self, weights: Sequence[Weight]) -> None:
        """Note that an op reads ``weights``."""
        self.access += len(weights)
        for weight in weights:
            self.layer = weight.layer
            self.counts[weight] += 1
            self.counts[weight.matrix] += 1

    @cached_property
    def read(self) -> list[tuple[Weight, ...]]:
        """What each window reads."""
        return [window.read(self.index) for window in self.windows]

    @cached_property
    def uses(self) -> dict[Weight, list[int]]:
        """The places of each weight among the reads of all ops."""
        found: dict[Weight, list[int]] = {}
        for place, weight in enumerate(chain.from_iterable(self.read)):
            found.setdefault(weight, []).append(place)
        return found


@dataclass(frozen=True)
class Space:
    """What a residency knows of a device before the run: the model, and the memory that streamed weights may take.

    ``weights`` are all that its ops may read and that rest elsewhere, in the order of the model; ``bytes`` the memory
    that is left beside what stays there anyway, None without limit; ``buffers`` what one op may need at once of weights
    that do not stay and, where weights come ahead, two windows of them.
    """

    weights: tuple[Weight, ...] = ()
    bytes: int | None = None
    buffers: int = 0

    @cached_property
    def layers(self) -> Mapping[int | None, int]:
        """The layers of ``weights``, with the place of each among them."""
        return {layer: place for place, layer in enumerate(dict.fromkeys(weight.layer for weight in self.weights))}


class View:
    """What one part sees: the machine, the source so far, free memory, a seeded generator. Of a cache also its
    ``device``, and the ``space`` there.

    ``free_bytes``: of each device, beside what stays there anyway; None where it is not limited. A window
    is what runs between two gates (a MoE layer), or the ops of one layer. Ahead, a view shows as many
    windows as the part's ``lookahead`` says. It ends with the step, or goes on where ``across_steps``: no gate of the
    next step is known before its token, so that ``read`` shows no experts there, but to a part that sees everything.
    """

    def __init__(
        self, progress: SourceProgress, part: PolicyPart, *, across_steps: bool = False, device: str = "",
        space: Space | None = None,
    ) -> None:  # fmt: skip
        self._progress, self._part, self._across_steps = progress, part, across_steps
        self.device, self.space = device, space or Space()
        self.machine, self.free_bytes = progress.machine, progress.free_bytes
        self.seed, self.rng = progress.seed, progress.rng

    @property
    def begins(self) -> bool:
        """Whether a step begins: the window ahead is its first, and copies have nothing to hide behind."""
        return self._progress.begins

    @property
    def past(self) -> Sequence[tuple[Weight, ...]]:
        """The weights that each window so far read, the current one last."""
        return self._progress.read[: self._progress.window + 1]

    @property
    def now(self) -> tuple[Weight, ...]:
        """The weights that the current window reads, the last of ``past``."""
        return self._progress.read[self._progress.window]

    @property
    def layer(self) -> int | None:
        """The layer of the weight that was read last, None before the first and outside of layers."""
        return self._progress.layer

    def reads_of(self, weight: Weight) -> tuple[int, int]:
        """How often ops have read ``weight`` so far, and any weight of its matrix."""
        counts = self._progress.counts
        return counts[weight], counts[weight.matrix]

    def read(self, ahead: int = 1) -> tuple[Weight, ...]:
        """The weights that the window ``ahead`` after the current one reads; () beyond what the view shows.

        Raises SimulationError when the part has not declared that it sees so far.
        """
        if self._part.lookahead is not None and ahead > self._part.lookahead:
            raise self._unseen(f"the window {ahead} after the current one")
        place = self._progress.window + ahead
        if not self._shows(place):
            return ()
        known = place < self._progress.step_end or self._part.lookahead is None
        return tuple(weight for weight in self._progress.read[place] if known or weight.expert is None)

    def stored(self, ahead: int = 1) -> tuple[Weight, ...]:
        """All weights of that window's ops, read or not; () beyond what the view shows."""
        place, progress = self._progress.window + ahead, self._progress
        return progress.windows[place].stored(progress.index) if self._shows(place) else ()

    def _shows(self, place: int) -> bool:
        return place < (len(self._progress.windows) if self._across_steps else self._progress.step_end)

    def next_use(self, weight: Weight) -> float:
        """Reads of weights until ``weight`` is read again, infinity for never.

        Raises SimulationError when the part has not declared that it sees everything.
        """
        if self._part.lookahead is not None:
            raise self._unseen("all that comes")
        uses = self._progress.uses.get(weight, [])
        place = bisect_right(uses, self._progress.access)
        return uses[place] - self._progress.access if place < len(uses) else float("inf")

    def _unseen(self, what: str) -> SimulationError:
        return SimulationError(
            f"the policy part {self._part.name} asks for {what}; it declares a lookahead of {self._part.lookahead}"
        )
