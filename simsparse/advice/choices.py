# SPDX-License-Identifier: Apache-2.0
"""Ways to hold the weights of a layer, as one text: ``2:4``, ``fp8``, ``fp8/2:4``, ``weights=int4``."""

from __future__ import annotations

from dataclasses import dataclass

from simsparse.core import DType, Op
from simsparse.errors import SpecError
from simsparse.sparsity import DENSE, Sparsity

WEIGHTS = "weights="


@dataclass(frozen=True)
class WeightChoice:
    """A sparsity and element types; None keeps the type of the layer that it is applied to.

    ``dtype``: of inputs and weights alike; ``weight_dtype``: of the weights alone.
    """

    text: str
    sparsity: Sparsity = DENSE
    dtype: DType | None = None
    weight_dtype: DType | None = None

    def of(self, op: Op) -> Op:
        """``op`` with its weights held this way."""
        return op.with_(
            weight_sparsity=self.sparsity, dtype=self.dtype or op.dtype,
            weight_dtype=self.weight_dtype or (None if self.dtype else op.weight_dtype), name=self.text,
        )  # fmt: skip


def parse_choice(text: str) -> WeightChoice:
    """The choice that ``text`` states: a sparsity, an element type, ``weights=TYPE``, or several joined by ``/``.

    Raises SpecError on a word that is none of these, and on two words of one kind.
    """
    found: dict[str, Sparsity | DType] = {}
    for word in text.strip().split("/"):
        key, value = _word(word.strip(), text)
        if key in found:
            raise SpecError(f"{text!r} states two values of {key}", key="choices")
        found[key] = value
    return WeightChoice(text.strip(), **found)  # type: ignore[arg-type]


def _word(word: str, text: str) -> tuple[str, Sparsity | DType]:
    if word.startswith(WEIGHTS):
        return "weight_dtype", DType.parse(word.removeprefix(WEIGHTS))
    if word in list(DType):
        return "dtype", DType.parse(word)
    try:
        return "sparsity", Sparsity.parse(word)
    except SpecError as error:
        allowed = f"a dtype ({', '.join(DType)}), weights=DTYPE or a sparsity: {error.message}"
        raise SpecError(f"{text!r}: {word!r} is none of {allowed}", key="choices") from None
