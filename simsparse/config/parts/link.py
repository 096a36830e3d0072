# SPDX-License-Identifier: Apache-2.0
"""Links between devices: PCIe, NVLink, on-board buses."""

from __future__ import annotations

from typing import Literal

from simsparse.config.hardware import PARTS
from simsparse.config.quantity import BytesPerSecond, Duplex, Efficiency, Frozen, JoulesPerByte, Part, Seconds, Watts


class LinkEnergy(Frozen):
    """Price of a byte that crosses, and power of the idle link."""

    byte: JoulesPerByte
    static: Watts


@PARTS.register("link")
class LinkPart(Part):
    """A full-duplex link.

    ``bandwidth`` is the nominal rate of one direction, ``efficiency`` the share that large copies
    reach, ``duplex`` the total rate of both directions together as a multiple of one,
    ``latency`` the fixed time of a copy, ``issue`` the least time between copies of one queue,
    ``pageable`` the rate of copies of pageable host memory.
    """

    kind: Literal["link", "nic"]
    bandwidth: BytesPerSecond
    efficiency: Efficiency
    duplex: Duplex
    latency: Seconds
    issue: Seconds
    pageable: BytesPerSecond | None = None
    energy: LinkEnergy
