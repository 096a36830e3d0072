"""Network interfaces between nodes."""

from __future__ import annotations

from typing import Literal

from simsparse.config.hardware import PARTS
from simsparse.config.parts.link import LinkEnergy
from simsparse.config.quantity import BytesPerSecond, Part, Ratio, Seconds


@PARTS.register("nic")
class NicPart(Part):
    """A network port: nominal rate of one direction, share reached, and one-way latency."""

    kind: Literal["nic"]
    bandwidth: BytesPerSecond
    efficiency: Ratio
    latency: Seconds
    energy: LinkEnergy
