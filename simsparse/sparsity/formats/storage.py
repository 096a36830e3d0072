# SPDX-License-Identifier: Apache-2.0
"""A storage format by its text, and the bits that a sparsity pattern takes in it.

A text is ``usual``, or the name of a format, alone or with its parameters: ``bitmap``, ``bsr:32``, ``nm_index:2:4``.
Alone it takes the parameters that suit the pattern.
"""

from __future__ import annotations

from functools import lru_cache

from simsparse.errors import SpecError
from simsparse.sparsity.formats.base import FORMATS, Format
from simsparse.sparsity.statement import USUAL, Sparsity


def storage_text(text: str) -> str:
    """``text`` in canonical form. Raises SpecError when it names no format or has wrong parameters."""
    name, *numbers = (word.strip() for word in str(text).strip().lower().split(":"))
    if name == USUAL and not numbers:
        return USUAL
    try:
        form = FORMATS.get(name)
    except SpecError as error:
        raise SpecError(f"{error.message}, {USUAL}", key="weight_format") from None
    if numbers:
        _with_parameters(form, numbers)
    return ":".join([name, *(str(int(number)) for number in numbers)])


def _with_parameters(form: type[Format], numbers: list[str]) -> Format:
    wanted = ":".join([form.name, *(name.upper() for name in form.parameters)])
    if len(numbers) != len(form.parameters) or not all(number.isdecimal() for number in numbers):
        raise SpecError(f"{':'.join([form.name, *numbers])!r}; expected {wanted}", key="weight_format")
    return form.read(*map(int, numbers))


@lru_cache(maxsize=4096)
def format_for(storage: str, sparsity: Sparsity, rows: int, cols: int, value_bits: int) -> Format:
    """The format that ``storage`` means for a matrix (rows, cols) of ``sparsity``.

    ``usual`` is the pattern's own with the fewest bits, the first of equals. Raises SpecError on unknown text, and
    on a format without parameters whose parameters the pattern does not give.
    """
    if storage == USUAL:
        forms = [format_for(name, sparsity, rows, cols, value_bits) for name in sparsity.usual]
        return min(forms, key=lambda form: form.pattern_bits(sparsity, (rows, cols), value_bits))
    name, *numbers = storage.split(":")
    form = FORMATS.get(name)
    return _with_parameters(form, numbers) if numbers else form.of(sparsity, (rows, cols), value_bits)


@lru_cache(maxsize=65536)
def pattern_bits(storage: str, sparsity: Sparsity, rows: int, cols: int, value_bits: int) -> int:
    """Bits of a matrix (rows, cols) of ``sparsity`` in the format ``storage``.

    Raises SpecError when the format cannot hold every such matrix.
    """
    form = format_for(storage, sparsity, rows, cols, value_bits)
    if storage != USUAL and (reason := form.refusal(sparsity, (rows, cols))):
        raise SpecError(reason, key="weight_format")
    return form.pattern_bits(sparsity, (rows, cols), value_bits)


def usual_format(sparsity: Sparsity, rows: int, cols: int, value_bits: int = 16) -> Format:
    """The format of ``sparsity.stored_bits``. Raises SpecError for a product of factors, which has several."""
    if not sparsity.usual:
        raise SpecError(f"{sparsity} is stored as its factors, not in one format", key="weight_format")
    return format_for(USUAL, sparsity, rows, cols, value_bits)
