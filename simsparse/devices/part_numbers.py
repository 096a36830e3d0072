# SPDX-License-Identifier: Apache-2.0
"""Sections of a part's YAML as plain numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Self

from simsparse.config.quantity import Frozen


@dataclass(frozen=True)
class PartNumbers:
    """Numbers of a section in SI units, a field each of the same name; NaN for one that the section leaves out."""

    @classmethod
    def of(cls, section: Frozen) -> Self:
        """Those of ``section``."""
        stated = (getattr(section, field.name) for field in fields(cls))
        return cls(*(math.nan if number is None else number.si for number in stated))
