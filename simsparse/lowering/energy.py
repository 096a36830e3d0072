# SPDX-License-Identifier: Apache-2.0
"""Joules from action counts and time."""

from __future__ import annotations

from collections.abc import Mapping

from simsparse.core import Action, ActionCounts
from simsparse.errors import SpecError, nearest


def op_energy(counts: ActionCounts, prices: Mapping[Action, float]) -> float:
    """Joules of ``counts`` at ``prices`` (joules of one action), static power left out.

    Raises SpecError when a counted action has no price.
    """
    return sum(count * _price(action, prices) for action, count in counts.items())


def price(
    counts: Mapping[str, ActionCounts],
    seconds: float,
    prices: Mapping[str, Mapping[Action, float]],
    static_watts: Mapping[str, float],
) -> dict[str, float]:
    """Joules by device and action, and by device for the power that is drawn whatever runs.

    Keys are ``gpu0.hbm.read_byte`` and ``gpu0.static``; every device of ``static_watts`` gets its
    static entry, used or not. The values add up to the energy of the run. Raises SpecError when a
    counted action has no price.
    """
    dynamic = {
        f"{device}.{component}.{action}": count * _price((component, action), prices.get(device, {}), device)
        for device, actions in counts.items()
        for (component, action), count in actions.items()
    }
    return {**dynamic, **{f"{device}.static": watts * seconds for device, watts in static_watts.items()}}


def _price(action: Action, prices: Mapping[Action, float], device: str | None = None) -> float:
    try:
        return prices[action]
    except KeyError:
        known = nearest(".".join(action), (".".join(name) for name in prices))
        raise SpecError(f"no energy price for {'.'.join(action)}; {known}", key=device) from None
