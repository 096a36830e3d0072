# SPDX-License-Identifier: Apache-2.0
"""Links: what a copy costs, as functions of the part.

The engine shares a link among concurrent copies; these functions give one copy alone. Left out:
contention with traffic of other devices, NUMA distance, IOMMU and page faults.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from simsparse.config.parts.link import LinkPart
from simsparse.core import Action, ActionCounts
from simsparse.errors import SpecError

BYTE: Action = ("link", "byte")


class HostMemory(StrEnum):
    """How host memory is allocated that a device copies from.

    PINNED pages stay where they are, and copy engines read them. PAGEABLE ones are copied to pinned buffers first.
    UNIFIED ones come when a kernel that touches them has faulted.
    """

    PINNED = "pinned"
    PAGEABLE = "pageable"
    UNIFIED = "unified"


def link_rate(part: LinkPart, memory: HostMemory = HostMemory.PINNED) -> float:
    """Bytes per second that a large copy in one direction reaches.

    Copies of pinned memory run at ``bandwidth * efficiency``, others at the part's rate of the same name. Raises
    SpecError when the part states none.
    """
    if memory is HostMemory.PINNED:
        return part.bandwidth.si * part.efficiency.si
    rate = part.pageable if memory is HostMemory.PAGEABLE else part.unified
    if rate is None:
        raise SpecError(f"{part.name} states no rate of copies of {memory} memory", key=memory)
    return rate.si


def duplex_rate(part: LinkPart) -> float:
    """Bytes per second of both directions together, both busy with pinned copies."""
    return link_rate(part) * part.duplex.si


def copy_seconds(part: LinkPart, bytes: int, memory: HostMemory = HostMemory.PINNED) -> float:
    """Seconds of one copy of ``bytes`` in an otherwise idle queue.

    The longer of the least interval between copies and latency plus bytes over rate. Source:
    derived, the latency-bandwidth model.
    """
    return max(part.issue.si, part.latency.si + bytes / link_rate(part, memory))


def copy_counts(bytes: int) -> ActionCounts:
    """What a copy of ``bytes`` does on the link."""
    return ActionCounts({BYTE: bytes})


def link_prices(part: LinkPart) -> Mapping[Action, float]:
    """Joules of each action of a link."""
    return {BYTE: part.energy.byte.si}
