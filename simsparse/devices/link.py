# SPDX-License-Identifier: Apache-2.0
"""Links: what a copy costs, as functions of the part.

The engine shares a link among concurrent copies; these functions give one copy alone. Left out:
contention with traffic of other devices, NUMA distance, IOMMU and page faults.
"""

from __future__ import annotations

from collections.abc import Mapping

from simsparse.config.parts.link import LinkPart
from simsparse.core import Action, ActionCounts
from simsparse.errors import SpecError

BYTE: Action = ("link", "byte")


def link_rate(part: LinkPart, *, pinned: bool = True) -> float:
    """Bytes per second that a large copy in one direction reaches.

    ``pinned`` copies run at ``bandwidth * efficiency``; others go through a staging buffer at the
    part's ``pageable`` rate. Raises SpecError when the part states no pageable rate.
    """
    if pinned:
        return part.bandwidth.si * part.efficiency.si
    if part.pageable is None:
        raise SpecError(f"{part.name} states no rate of pageable copies", key="pageable")
    return part.pageable.si


def duplex_rate(part: LinkPart) -> float:
    """Bytes per second of both directions together, both busy with pinned copies."""
    return link_rate(part) * part.duplex.si


def copy_seconds(part: LinkPart, bytes: int, pinned: bool = True) -> float:
    """Seconds of one copy of ``bytes`` in an otherwise idle queue.

    The longer of the least interval between copies and latency plus bytes over rate. Source:
    derived, the latency-bandwidth model.
    """
    return max(part.issue.si, part.latency.si + bytes / link_rate(part, pinned=pinned))


def copy_counts(bytes: int) -> ActionCounts:
    """What a copy of ``bytes`` does on the link."""
    return ActionCounts({BYTE: bytes})


def link_prices(part: LinkPart) -> Mapping[Action, float]:
    """Joules of each action of a link."""
    return {BYTE: part.energy.byte.si}
