# SPDX-License-Identifier: Apache-2.0
"""What became of a study: each claim's outcome, the state that follows, and plain data of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from simsparse.config.study import About, Claim, Run, Side, Study

ROUNDING = 1e-12
"""Slack of a tolerance, so that a deviation that equals it is within."""


class Outcome(StrEnum):
    """What became of a claim."""

    WITHIN = "within tolerance"
    DEVIATES = "deviates"
    IN_PART = "in part"
    NOT_RUN = "not run"
    FAILED = "failed"


class State(StrEnum):
    """How far a system is reproduced. It follows from its claims' outcomes where one is run.

    ``reproduced``: every claim is within its tolerance and nothing of the mechanism is missing. ``within tolerance``:
    so is each claim that is compared like with like, the first that is run among them, and no figure of the baseline is
    beyond its tolerance. ``deviates``: one that is compared like with like is. ``runs in part``: the first comparison
    leaves something out, or the baseline deviates, so that agreement of the rest shows less.
    """

    REPRODUCED = "reproduced"
    WITHIN = "within tolerance"
    DEVIATES = "deviates"
    IN_PART = "runs in part"
    FAILED = "failed"
    WORKLOAD_ONLY = "workload only"
    NOT_EXPRESSIBLE = "not expressible"


@dataclass(frozen=True)
class Moved:
    """A claim's value with one assumed value halved and doubled; None where that can't be, with the reason.

    ``value`` is what it is without the move.
    """

    part: str
    path: str
    value: str
    halved: float | None
    doubled: float | None
    refusals: tuple[str, ...] = ()

    @property
    def ends(self) -> tuple[float, ...]:
        """The values that the claim takes."""
        return tuple(end for end in (self.halved, self.doubled) if end is not None)


@dataclass(frozen=True)
class ShownOutcome:
    """A run that shows a cause: what differs in it, and its value, None where it failed."""

    what: str
    simulated: float | None
    error: str = ""


@dataclass(frozen=True)
class ClaimOutcome:
    """A claim with what the models say: ``simulated``, in the claim's unit, None where it is not run or failed.

    ``cause`` is what carries the deviation, ``shown`` the runs that show it.
    """

    claim: Claim
    simulated: float | None = None
    moved: Sequence[Moved] = ()
    variants: Sequence[Mapping[str, Any]] = ()
    error: str = ""
    cause: str = ""
    shown: Sequence[ShownOutcome] = ()

    @property
    def deviation(self) -> float | None:
        """Relative deviation from the published figure, 0 within a published range, else from its nearer end."""
        return self.deviation_of(self.simulated)

    def deviation_of(self, ours: float | None) -> float | None:
        """The deviation that a value ``ours`` would have."""
        low = self.claim.published
        if low is None or ours is None:
            return None
        nearest = min(max(ours, low), self.claim.to or low)
        return ours / nearest - 1

    @property
    def outcome(self) -> Outcome:
        claim = self.claim
        if claim.run is None:
            return Outcome.NOT_RUN
        if self.error:
            return Outcome.FAILED
        if claim.lacks or claim.tolerance is None or self.deviation is None:
            return Outcome.IN_PART
        return Outcome.WITHIN if abs(self.deviation) <= claim.tolerance + ROUNDING else Outcome.DEVIATES

    @property
    def range(self) -> tuple[float, float] | None:
        """Least and greatest value over all moves, one at a time; None where nothing can be moved."""
        ends = [end for item in self.moved for end in item.ends]
        if self.simulated is None or not ends:
            return None
        return min([self.simulated, *ends]), max([self.simulated, *ends])

    def swing(self, item: Moved) -> float:
        """How far a move takes the value, as a share of it."""
        base = self.simulated or 1.0
        return max((abs(end / base - 1) for end in item.ends), default=0.0)

    def to_dict(self) -> dict[str, Any]:
        """The outcome as JSON-able values."""
        claim, source = self.claim, self.claim.source
        return {
            "claim": claim.name, "what": claim.what, "about": str(claim.about), "published": claim.published,
            "to": claim.to, "unit": claim.unit, "condition": claim.condition,
            "source": {"where": str(source.where), "at": source.at, "cite": source.cite, "seen": str(source.seen)},
            "tolerance": claim.tolerance, "why": claim.why, "lacks": list(claim.lacks), "outcome": str(self.outcome),
            "simulated": self.simulated, "deviation": self.deviation, "range": list(self.range or ()),
            "run": _how(claim.run), "error": self.error,
            "moved": [{"part": item.part, "path": item.path, "value": item.value, "halved": item.halved,
                       "doubled": item.doubled, "swing": self.swing(item), "refusals": list(item.refusals)}
                      for item in self.moved],
            "variants": [dict(item) for item in self.variants], "cause": self.cause,
            "shown": [{"what": item.what, "simulated": item.simulated, "error": item.error,
                       "deviation": self.deviation_of(item.simulated)} for item in self.shown],
        }  # fmt: skip


@dataclass(frozen=True)
class StudyOutcome:
    """A study with the outcome of each of its claims; ``parts`` and ``assumed`` are what its runs rest on."""

    name: str
    study: Study
    claims: Sequence[ClaimOutcome]
    assumed: Sequence[str] = ()
    cases: Sequence[str] = field(default=())

    @property
    def state(self) -> State:
        """The state of the system, from the claims that are about it and not about a baseline."""
        if self.study.status is not None:
            return State(str(self.study.status.state))
        own = [item.outcome for item in self.claims if item.claim.about is About.SYSTEM]
        for outcome, state in ((Outcome.FAILED, State.FAILED), (Outcome.DEVIATES, State.DEVIATES)):
            if outcome in own:
                return state
        if Outcome.DEVIATES in [item.outcome for item in self.claims if item.claim.about is About.BASELINE]:
            return State.IN_PART
        if not self.study.missing and all(outcome is Outcome.WITHIN for outcome in own):
            return State.REPRODUCED
        return State.WITHIN if self.headline.outcome is Outcome.WITHIN else State.IN_PART

    @property
    def headline(self) -> ClaimOutcome:
        """The first claim about the system that is run, else the first claim."""
        own = [item for item in self.claims if item.claim.about is About.SYSTEM and item.claim.run is not None]
        return (own or list(self.claims))[0]

    def to_dict(self) -> dict[str, Any]:
        """The study and its outcome as JSON-able values."""
        study, reference = self.study, self.study.reference
        return {
            "study": self.name, "id": study.id, "title": study.title, "family": str(study.family),
            "reference": {"authors": reference.authors, "venue": reference.venue, "year": reference.year,
                          "cite": reference.cite, "seen": str(reference.seen)},
            "mechanism": study.mechanism, "state": str(self.state),
            "reason": study.status.reason if study.status else "",
            "headline": self.headline.claim.name, "claims": [item.to_dict() for item in self.claims],
            "assumed": list(study.assumptions), "assumed_values": list(self.assumed), "missing": list(study.missing),
            "cases": list(self.cases),
        }  # fmt: skip


def _how(run: Run | None) -> dict[str, Any] | None:
    """How a claim is run, in plain values."""
    if run is None:
        return None
    if run.case is not None:
        return {"case": run.case, "point": run.point}
    return {
        "value": str(run.value), "metric": str(run.metric), "system": _side(run.system), "baseline": _side(run.baseline)
    }  # fmt: skip


def _side(side: Side | None) -> dict[str, Any] | None:
    if side is None:
        return None
    return {"passes": [[item.experiment, item.times] for item in side.passes], "items": side.items}
