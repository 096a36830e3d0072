# SPDX-License-Identifier: Apache-2.0
"""Which experts the tokens of a MoE layer went to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, compress
from typing import TYPE_CHECKING, Any

from simsparse.core.tensor import whole
from simsparse.errors import SpecError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_EXPERTS = 1_000_000
"""Experts of one layer: routing holds a count of each."""


@dataclass(frozen=True, slots=True)
class Routing:
    """Token counts per expert of one MoE layer, with the ids when they are known.

    counts[e] tokens went to expert e; ids[t] are token t's experts, () when only counts are kept.
    ``origin`` is ``recorded`` (a run with trained weights) or ``generated:PROCESS`` (seeded):
    routing of random weights is never called recorded.
    """

    counts: tuple[int, ...]
    ids: tuple[tuple[int, ...], ...] = ()
    origin: str = "generated:unspecified"

    @property
    def hit(self) -> tuple[int, ...]:
        """The experts that got at least one token, ascending."""
        return tuple(compress(range(len(self.counts)), self.counts))

    @classmethod
    def from_ids(cls, ids: NDArray[np.integer[Any]] | Sequence[Sequence[int]], experts: int, origin: str) -> Routing:
        """Routing of an int array (tokens, top_k).

        Raises SpecError on anything else, on an id outside 0..experts-1, an expert twice in a row, and more than
        MAX_EXPERTS experts.
        """
        if not 0 < experts <= MAX_EXPERTS:
            raise SpecError(f"{experts} experts; expected 1 to {MAX_EXPERTS}", key="experts")
        rows = _rows(ids)
        counts = Counter(chain.from_iterable(rows))
        outside = [expert for expert in counts if not 0 <= expert < experts]
        if outside:
            raise SpecError(f"expert id {outside[0]} is outside 0..{experts - 1}", key="routing")
        found = [0] * experts
        for expert, count in counts.items():
            found[expert] = count
        return cls(tuple(found), rows, origin)


def _rows(ids: Any) -> tuple[tuple[int, ...], ...]:
    """Rows of expert ids, all of one length, without an id twice in a row. Raises SpecError."""
    plain = ids.tolist() if hasattr(ids, "tolist") else ids
    if not isinstance(plain, list | tuple) or not all(isinstance(row, list | tuple) for row in plain):
        raise SpecError(f"{ids!r:.80} is not an int array (tokens, top_k)", key="routing")
    rows = tuple(tuple(map(_id, row)) for row in plain)
    if len({len(row) for row in rows}) > 1:
        raise SpecError("rows of expert ids differ in length; expected an int array (tokens, top_k)", key="routing")
    for token, row in enumerate(rows):
        if len(set(row)) < len(row):
            raise SpecError(f"token {token} has an expert twice: {list(row)!r:.80}", key="routing")
    return rows


def _id(value: Any) -> int:
    number = whole(value)
    if number is None:
        raise SpecError(f"{value!r:.80} is not an expert id, a whole number", key="routing")
    return number
