# SPDX-License-Identifier: Apache-2.0
"""Where weights rest that devices do not keep, and how they come: from host memory, or from storage in requests.

Left out: small pageable copies, which the driver passes through its command buffer; pages that are moved back.
"""

from __future__ import annotations

from dataclasses import dataclass

from simsparse.core import Role
from simsparse.devices.link import HostMemory
from simsparse.devices.storage import Storage
from simsparse.errors import MappingError, nearest
from simsparse.events import CopyPace
from simsparse.lowering.machine import Machine
from simsparse.units import seconds_to_fs

HOST, STORAGE = "host", "storage"


@dataclass(frozen=True)
class WeightSource:
    """``home``: ``host``, ``storage`` or the name of a device. ``through_host``: what comes from storage is written to
    host memory first, and copied from there. ``request_bytes`` and ``queue_depth``: how storage is read; None: in
    order, at its sequential rate. ``memory``: how the host has allocated them.
    """

    home: str = HOST
    through_host: bool = False
    request_bytes: int | None = None
    queue_depth: int = 1
    memory: HostMemory = HostMemory.PINNED

    def device(self, machine: Machine, policy: str) -> str:
        """The device that holds the weights. Raises MappingError where there is none of the kind."""
        if self.home == HOST:
            return machine.require_host(policy)
        if self.home in machine.devices:
            return self.home
        stores = machine.of_role(Role.STORAGE)
        if self.home != STORAGE or not stores:
            known = nearest(self.home, [HOST, STORAGE, *machine.devices])
            raise MappingError(f"policy {policy} keeps weights on {self.home!r}, which {machine.system.name} has not; "
                               f"{known}", key="home")  # fmt: skip
        return stores[0]

    def waypoint(self, machine: Machine, home: str, device: str) -> str | None:
        """The host that a copy from ``home`` to ``device`` is written to on its way, None of a direct copy."""
        return machine.host if self.through_host and machine.host not in (home, device) else None

    @property
    def staged(self) -> bool:
        """Whether the host copies what it sends to a pinned buffer first."""
        return self.memory is HostMemory.PAGEABLE

    def pace(self, machine: Machine, home: str, device: str) -> CopyPace | None:
        """The pace of reads from ``home``; None where its sequential rate and the links set it.

        Raises MappingError when a link states no rate of copies of such memory.
        """
        if self.memory is not HostMemory.PINNED:
            return machine.copy_pace(home, device, self.memory)
        model = machine.devices[home].model
        if self.request_bytes is None or not isinstance(model, Storage):
            return None
        latency = sum(hop.latency_fs for hop, _ in machine.hops(home, device))
        rate = model.read_rate(self.request_bytes, self.queue_depth)
        return CopyPace(max(latency, seconds_to_fs(model.part.latency.si)), max(1, int(rate)))
