# SPDX-License-Identifier: Apache-2.0
"""N:M patterns that the multipliers of a part skip the zeros of, as its YAML lists them."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from simsparse.errors import SpecError
from simsparse.sparsity import Sparsity
from simsparse.sparsity.patterns.nm import NM


def _canonical(patterns: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(_nm, patterns))


def _nm(text: str) -> str:
    try:
        pattern = Sparsity.parse(text)
    except SpecError as error:
        raise ValueError(error.message) from None
    if type(pattern) is not NM:
        raise ValueError(f"{text!r} is not an N:M pattern such as 2:4")
    return str(pattern)


NmPatterns = Annotated[tuple[str, ...], AfterValidator(_canonical)]
"""Texts of N:M patterns in canonical form."""
