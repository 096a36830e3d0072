# SPDX-License-Identifier: Apache-2.0
"""Storage devices: SSDs."""

from __future__ import annotations

from typing import ClassVar, Literal

from simsparse.config.hardware import PARTS
from simsparse.config.quantity import Bytes, BytesPerSecond, Frozen, JoulesPerByte, Part, Seconds, Watts
from simsparse.core.role import Role


class StorageEnergy(Frozen):
    """Price of a byte read or written, and idle power."""

    read_byte: JoulesPerByte
    write_byte: JoulesPerByte
    static: Watts


@PARTS.register("storage")
class StoragePart(Part):
    """A block device: sequential rates, and the latency of the first byte."""

    role: ClassVar[Role] = Role.STORAGE
    kind: Literal["storage"]
    capacity: Bytes
    read: BytesPerSecond
    write: BytesPerSecond
    latency: Seconds
    page: Bytes
    energy: StorageEnergy
