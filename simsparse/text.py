# SPDX-License-Identifier: Apache-2.0
"""Text on its way out: to terminals, pages, figures and tables."""

from __future__ import annotations

import re
import unicodedata

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_KEPT = ("\n", "\t")


def printable(text: str) -> str:
    """``text`` with what is no character to be read as escapes; line ends, tabs and all kinds of space stay.

    Control characters, which a terminal would obey and XML forbids, become ``\\x00``, halves of surrogate pairs, which
    UTF-8 can't hold, ``\\ud800``, and marks that turn the direction of reading ``\\u202e``.
    """
    if text.isprintable():
        return text
    return "\n".join(line if line.isprintable() else "".join(map(_shown, line)) for line in text.split("\n"))


def has_controls(text: str) -> bool:
    """Whether ``text`` holds what XML or UTF-8 can't: control characters, halves of pairs, no characters at all."""
    return not text.isprintable() and _CONTROL.search(text) is not None


def _shown(c: str) -> str:
    return c if c.isprintable() or c in _KEPT or unicodedata.category(c) == "Zs" else repr(c)[1:-1]
