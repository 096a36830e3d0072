# SPDX-License-Identifier: Apache-2.0
"""Which experts the tokens of a MoE layer went to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from simsparse.errors import SpecError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
        return tuple(expert for expert, count in enumerate(self.counts) if count)

    @classmethod
    def from_ids(cls, ids: NDArray[np.integer[Any]] | list[list[int]], experts: int, origin: str) -> Routing:
        """Routing of an int array (tokens, top_k). Raises SpecError on an id outside 0..experts-1."""
        plain = ids if isinstance(ids, list) else ids.tolist()
        rows = tuple(tuple(map(int, row)) for row in plain)
        counts = Counter(chain.from_iterable(rows))
        outside = [expert for expert in counts if not 0 <= expert < experts]
        if outside:
            raise SpecError(f"expert id {outside[0]} is outside 0..{experts - 1}", key="routing")
        return cls(tuple(counts[expert] for expert in range(experts)), rows, origin)
