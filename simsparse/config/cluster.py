# SPDX-License-Identifier: Apache-2.0
"""Many equal nodes as data: how many there are, by which network ports they are joined, and where it is narrower."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from simsparse.config.quantity import Frozen, Part

NETWORK = "network"
"""The device that stands for the network between nodes."""
MAX_NODES = 1 << 16


class ClusterEntry(Frozen):
    """``cluster`` of a system's file: its devices are those of one of ``nodes``.

    ``nic`` is the part of a network port, ``nics`` the ports of a node, shared evenly by its processors. Up to ``leaf``
    nodes meet in one switch at full rate; beyond, each port has its rate over ``oversubscription``.
    """

    nodes: Annotated[int, Field(strict=True, ge=1, le=MAX_NODES)]
    nic: str
    nics: Annotated[int, Field(strict=True, ge=1, le=64)]
    leaf: Annotated[int, Field(strict=True, ge=1)] | None = None
    oversubscription: Annotated[float, Field(ge=1, le=1000)] = 1.0


@dataclass(frozen=True)
class Cluster:
    """Nodes of a system, each with its devices; fields as in ClusterEntry, ``nic`` the part."""

    nodes: int
    nic: Part
    nics: int
    leaf: int | None = None
    oversubscription: float = 1.0


@dataclass(frozen=True)
class Domain:
    """``ranks`` neighbouring GPUs that reach each other through ``device``, each with ``share`` of its link to it."""

    device: str
    ranks: int
    share: float = 1.0


@dataclass(frozen=True)
class GroupSpan:
    """``ranks`` at distances of ``stride`` that take part in a collective."""

    ranks: int
    stride: int
