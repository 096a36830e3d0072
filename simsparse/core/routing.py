"""Which experts the tokens of a MoE layer went to."""

from __future__ import annotations

from dataclasses import dataclass
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
        rows = tuple(tuple(int(expert) for expert in row) for row in ids)
        counts = [0] * experts
        for row in rows:
            for expert in row:
                if not 0 <= expert < experts:
                    raise SpecError(f"expert id {expert} is outside 0..{experts - 1}", key="routing")
                counts[expert] += 1
        return cls(tuple(counts), rows, origin)
