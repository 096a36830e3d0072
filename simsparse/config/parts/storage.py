"""Storage devices: SSDs."""

from __future__ import annotations

from typing import Literal

from simsparse.config.hardware import PARTS
from simsparse.config.quantity import Bytes, BytesPerSecond, Frozen, JoulesPerByte, Part, Seconds, Watts


class StorageEnergy(Frozen):
    """Price of a byte read or written, and idle power."""

    read_byte: JoulesPerByte
    write_byte: JoulesPerByte
    static: Watts


@PARTS.register("storage")
class StoragePart(Part):
    """A block device: sequential rates, and the latency of the first byte."""

    kind: Literal["storage"]
    capacity: Bytes
    read: BytesPerSecond
    write: BytesPerSecond
    latency: Seconds
    page: Bytes
    energy: StorageEnergy
