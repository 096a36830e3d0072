# SPDX-License-Identifier: Apache-2.0
"""Expert ids of a routing as text: hexadecimal digits, as many an id as the layer's experts need.

A Mixtral layer of 8 experts takes one digit an id: tokens that chose (0, 2) and (3, 7) are
``0237``. Decoding is a few calls into C for a layer, where JSON arrays take one object an id.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import chain

from simsparse.errors import TraceError

Rows = tuple[tuple[int, ...], ...]
_WIDTHS = (1, 2, 4, 8)
_HEX = b"0123456789abcdef"
_DIGITS = bytes(_HEX.index(i) if i in _HEX else 255 for i in range(256))


def packed_ids(rows: Sequence[Sequence[int]], experts: int) -> str:
    """The ids of ``rows`` (tokens, top_k), each from 0 to ``experts`` - 1, as lower-case digits, row after row."""
    flat, width = list(chain.from_iterable(rows)), digits_of(experts)
    if width == 1:
        return bytes(flat).hex()[1::2]
    return struct.pack(f">{len(flat)}{_code(width)}", *flat).hex()


def unpacked_ids(text: str, experts: int, top_k: int) -> Rows:
    """Rows of ``top_k`` ids.

    Raises TraceError on what is no lower-case hexadecimal digit and on a length that is no whole
    number of rows.
    """
    width = digits_of(experts)
    if len(text) % (width * top_k):
        raise TraceError(f"{len(text)} digits are no rows of {top_k} ids of {width} each", key="routing.ids")
    values = text.encode("ascii", "replace").translate(_DIGITS)
    if 255 in values:
        raise TraceError("holds what is no digit from 0 to f", key="routing.ids")
    flat = values if width == 1 else struct.unpack(f">{len(text) // width}{_code(width)}", bytes.fromhex(text))
    return tuple(zip(*[iter(flat)] * top_k, strict=True))


def digits_of(experts: int) -> int:
    """Hexadecimal digits of an id: 1, 2, 4 or 8."""
    needed = len(f"{max(experts - 1, 0):x}")
    return next(width for width in _WIDTHS if width >= needed)


def _code(width: int) -> str:
    return {2: "B", 4: "H", 8: "I"}[width]
