# SPDX-License-Identifier: Apache-2.0
"""What follows when an override gives a part another clock or another number of cores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from simsparse.config.quantity import Basis, Frozen, Part, Quantity
from simsparse.core.varying import is_varying
from simsparse.core.varying_arrays import larger, smaller

PartT = TypeVar("PartT", bound=Part)


def with_peaks(part: PartT, stated: PartT, rise: float, peaks: tuple[str, ...], held: tuple[str, ...] = ()) -> PartT:
    """``part`` with the peaks of ``stated`` times ``rise``, what its clock and its cores rose by.

    ``peaks`` begin the paths of peaks. ``held`` end those of shares of a peak that a power limit bounds: they fall as
    the peak rises, so that the limit stays, and rise as it falls, to 1 at most. Values that are overridden themselves
    stay.
    """
    known = dict(stated.quantities())

    def changed(path: str, value: Quantity) -> Quantity:
        own = known.get(path)
        if own is None or path in part.overridden:
            return value
        if path.startswith(peaks):
            return _with(own, rise * own.si)
        return _with(own, smaller(larger(1.0, own.si), own.si / rise)) if path.endswith(held) else value

    found: PartT = _mapped(part, "", changed)
    return found


def _with(stated: Quantity, si: float) -> Quantity:
    """``stated`` itself where ``si`` is its value."""
    if si == stated.si:
        return stated
    note = "follows an override"
    if is_varying(si):  # on several machines at once, which no text states
        return Quantity.model_construct(si=si, text="", unit=stated.unit, source=None, basis=Basis.OVERRIDE, note=note)
    text = f"{si:.6g} {stated.unit}".rstrip()
    return Quantity(si=si, text=text, unit=stated.unit, source=None, basis=Basis.OVERRIDE, note=note)


def _mapped(node: Any, path: str, change: Callable[[str, Quantity], Quantity]) -> Any:
    """``node`` with its numbers replaced; the node itself where none is."""
    if isinstance(node, Quantity):
        return change(path, node)
    if not isinstance(node, Frozen | dict):
        return node
    inside = dict(node) if isinstance(node, dict) else {key: getattr(node, key) for key in type(node).model_fields}
    mapped = {key: _mapped(value, f"{path}.{key}".lstrip("."), change) for key, value in inside.items()}
    if all(mapped[key] is value for key, value in inside.items()):
        return node
    return mapped if isinstance(node, dict) else type(node).model_validate(mapped)
