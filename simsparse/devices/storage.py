"""Storage: SSDs, which only hold and move bytes.

Left out: garbage collection, queue depth (the rates are those of deep queues), the file system.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from simsparse.config.parts.storage import StoragePart
from simsparse.core import Action, Op, OpKind
from simsparse.devices.base import DEVICES, CostArrays, Device
from simsparse.devices.roofline import dominant, require_supported

READ: Action = ("flash", "read_byte")
WRITE: Action = ("flash", "write_byte")


@DEVICES.register("storage")
class Storage(Device):
    """A block device. It runs transfers only; one runs as a read of whole pages.

    The copy's other half and the link between are the engine's; ``write_seconds`` is for the end
    that receives.
    """

    kind: ClassVar[str] = "storage"
    lanes: ClassVar[tuple[str, ...]] = ("copy",)
    part: StoragePart

    def supports(self, op: Op) -> str | None:
        return None if op.kind is OpKind.TRANSFER else f"storage computes nothing; {op.kind} needs a processor"

    def read_seconds(self, bytes: int) -> float:
        """Seconds from the request to the last byte of a sequential read of ``bytes``."""
        return self.part.latency.si + self._paged(bytes) / self.part.read.si

    def write_seconds(self, bytes: int) -> float:
        """Seconds of a sequential write of ``bytes``."""
        return self.part.latency.si + self._paged(bytes) / self.part.write.si

    def cost_arrays(self, ops: Sequence[Op], level: int = 0) -> CostArrays:
        del level
        require_supported(self, ops)
        moved = np.array([self._paged(op.dims["bytes"]) for op in ops], np.int64)
        contributors = {"latency": np.full(len(ops), self.part.latency.si), "read": moved / self.part.read.si}
        latency = contributors["latency"] + contributors["read"]
        return CostArrays(latency, contributors, dominant(contributors), {READ: moved}, [""] * len(ops))

    @property
    def prices(self) -> Mapping[Action, float]:
        return {READ: self.part.energy.read_byte.si, WRITE: self.part.energy.write_byte.si}

    @property
    def static_watts(self) -> float:
        return self.part.energy.static.si

    @property
    def memory_bytes(self) -> int | None:
        return round(self.part.capacity.si)

    def _paged(self, bytes: int) -> int:
        page = round(self.part.page.si)
        return -(-bytes // page) * page
