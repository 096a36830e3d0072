# SPDX-License-Identifier: Apache-2.0
"""Storage: SSDs, which only hold and move bytes.

Copies run at the sequential rates, which are those of deep queues, unless a policy says in which requests it reads
(``Storage.read_rate``). Left out: garbage collection, the file system, caches of the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np

from simsparse.config.hardware import PARTS
from simsparse.config.quantity import Bytes, BytesPerSecond, Frozen, Hertz, JoulesPerByte, Part, Seconds, Watts
from simsparse.core import Action, Op, Role
from simsparse.devices.base import DEVICES, CopyRates, CostArrays, Device
from simsparse.devices.roofline import dominant, require_supported

READ: Action = ("flash", "read_byte")
WRITE: Action = ("flash", "write_byte")


class StorageEnergy(Frozen):
    """Price of a byte read or written, and idle power."""

    read_byte: JoulesPerByte
    write_byte: JoulesPerByte
    static: Watts


@PARTS.register("storage")
class StoragePart(Part):
    """A block device: sequential rates, and the latency of the first byte.

    ``requests``: most random reads per second, however many are under way; null where only the rate limits them.
    """

    role: ClassVar[Role] = Role.STORAGE
    kind: Literal["storage"]
    capacity: Bytes
    read: BytesPerSecond
    write: BytesPerSecond
    latency: Seconds
    page: Bytes
    requests: Hertz | None = None
    energy: StorageEnergy


@DEVICES.register("storage")
class Storage(Device):
    """A block device: copies read and write it in whole pages, at its sequential rates.

    Alone it runs a transfer as a read. Reads and writes at once do not slow each other.
    """

    kind: ClassVar[str] = "storage"
    op_kinds = frozenset({"transfer"})
    lanes: ClassVar[tuple[str, ...]] = ("h2d", "d2h")
    part: StoragePart

    def read_rate(self, request_bytes: int, queue_depth: int) -> float:
        """Bytes per second of random reads of ``request_bytes``, ``queue_depth`` of them under way at any time.

        A request takes the latency and its own whole pages at the sequential rate (Little's law); together they read no
        faster than that rate, and are no more than the requests that the device takes.
        """
        whole = self._paged(request_bytes)
        per_s = min(queue_depth / (self.part.latency.si + whole / self.part.read.si), self.part.read.si / whole)
        if self.part.requests is not None:
            per_s = min(per_s, self.part.requests.si)
        return request_bytes * per_s

    def refusal(self, op: Op) -> str:
        return f"storage computes nothing; {op.kind} needs a processor"

    def cost_arrays(self, ops: Sequence[Op], level: int = 0) -> CostArrays:
        del level
        require_supported(self, ops)
        moved = np.array([self._paged(op.dims["bytes"]) for op in ops], np.int64)
        contributors = {"latency": np.full(len(ops), self.part.latency.si), "read": moved / self.part.read.si}
        latency = contributors["latency"] + contributors["read"]
        return CostArrays(latency, contributors, dominant(contributors), {READ: moved}, [""] * len(ops))

    @property
    def copy_rates(self) -> CopyRates:
        part = self.part
        return CopyRates(part.read.si, part.write.si, False, part.latency.si, self._page)

    @property
    def prices(self) -> Mapping[Action, float]:
        return {READ: self.part.energy.read_byte.si, WRITE: self.part.energy.write_byte.si}

    @property
    def static_watts(self) -> float:
        return self.part.energy.static.si

    @property
    def memory_bytes(self) -> int | None:
        return round(self.part.capacity.si)

    @property
    def _page(self) -> int:
        return round(self.part.page.si)

    def _paged(self, bytes: int) -> int:
        return -(-bytes // self._page) * self._page
