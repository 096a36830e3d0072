# SPDX-License-Identifier: Apache-2.0
"""Speculative decoding: drafts that a step verifies, and how many of them it accepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simsparse.errors import SpecError
from simsparse.sources.options import whole
from simsparse.sources.requests import Ints


@dataclass(frozen=True)
class Speculation:
    """``accepted[i]``: probability that the first i + 1 drafts of a step are all accepted, not rising; one number per
    draft. ``draft_s``: seconds per step that the drafts take.

    Acceptance falls with the position: a single rate, taken from steps with one draft, overestimates how many of eight
    are accepted in each of 14 measured curves (InferenceX, spec_decode_acceptance).
    """

    accepted: tuple[float, ...]
    draft_s: float = 0.0

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Speculation:
        """From ``accepted`` by position, ``lengths`` (mean tokens per step with 1, 2, ... drafts), or ``tokens`` and
        one ``rate``; with ``draft_s``. Raises SpecError."""
        try:
            return cls._read(dict(options))
        except (TypeError, ValueError) as error:
            raise SpecError(f"expected numbers: {error}", key="speculation") from None

    @classmethod
    def _read(cls, said: dict[str, Any]) -> Speculation:
        draft_s = float(said.pop("draft_s", 0.0))
        if set(said) == {"lengths"}:
            found = from_lengths(said["lengths"])
        elif set(said) == {"accepted"}:
            found = tuple(float(each) for each in said["accepted"])
        elif set(said) == {"tokens", "rate"}:
            found = tuple(float(said["rate"]) ** (i + 1) for i in range(whole("tokens", said["tokens"])))
        else:
            raise SpecError("expected accepted, lengths, or tokens and rate", key="speculation")
        falling = all(0 <= after <= before <= 1 for before, after in zip((1.0, *found), found, strict=False))
        if not found or not falling or draft_s < 0:
            raise SpecError("expected probabilities from 1 to 0 that do not rise with the position", key="speculation")
        return cls(found, draft_s)

    @property
    def drafts(self) -> int:
        """Drafts per step."""
        return len(self.accepted)

    @property
    def tokens_per_step(self) -> float:
        """Mean tokens that a step gives a sequence."""
        return 1 + sum(self.accepted)

    def steps(self, tokens: Ints, rng: np.random.Generator) -> Ints:
        """Steps until each of many sequences has ``tokens`` more, each step's acceptance drawn by itself."""
        exact = np.append(-np.diff(np.append(1.0, self.accepted)), self.accepted[-1])
        done, steps = np.zeros(len(tokens), np.int64), np.zeros(len(tokens), np.int64)
        open_ones = np.flatnonzero(tokens > 0)
        while len(open_ones):
            made = 1 + rng.choice(len(exact), len(open_ones), p=exact / exact.sum())
            done[open_ones] += made
            steps[open_ones] += 1
            open_ones = open_ones[done[open_ones] < tokens[open_ones]]
        return steps


def from_lengths(lengths: Sequence[float] | Mapping[int, float]) -> tuple[float, ...]:
    """Acceptance by position from mean tokens per step with 1, 2, ... drafts, or some of these numbers of drafts.

    What a further draft adds is the probability that all up to it are accepted; between numbers of drafts that were not
    measured, each adds as much as the others. Probabilities may not rise with the position: where measured ones do, or
    more drafts give fewer tokens, all are scaled, so that the mean with all drafts is the last length. Raises
    SpecError on none, and on lengths below 1.
    """
    known = dict(lengths) if isinstance(lengths, Mapping) else dict(enumerate(lengths, start=1))
    found: list[float] = []
    before_drafts, before_length = 0, 1.0
    for drafts in sorted(known):
        gain = max(0.0, float(known[drafts]) - before_length) / (drafts - before_drafts)
        found += [gain] * (drafts - before_drafts)
        before_drafts, before_length = drafts, max(before_length, float(known[drafts]))
    if not found or min(known.values()) < 1:
        raise SpecError("expected mean tokens per step, 1 or more", key="lengths")
    falling = np.minimum.accumulate(np.minimum(found, 1.0))
    last = float(known[max(known)]) - 1
    scale = last / max(float(falling.sum()), 1e-12)
    return tuple(np.minimum(falling * scale, 1.0).tolist())
