# SPDX-License-Identifier: Apache-2.0
"""Network interfaces between nodes."""

from __future__ import annotations

from typing import Literal

from simsparse.config.hardware import PARTS
from simsparse.config.parts.link import LinkPart


@PARTS.register("nic")
class NicPart(LinkPart):
    """A network port; it stands as a link between devices of different nodes.

    ``latency`` is the one-way time of a small message, ``issue`` the least time between messages.
    """

    kind: Literal["nic"]
