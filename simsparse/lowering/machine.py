# SPDX-License-Identifier: Apache-2.0
"""A system as policies see it: device models with remembered costs, links, routes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property, reduce
from itertools import pairwise

from simsparse.config.hardware import System
from simsparse.config.parts.link import CollectiveKernels, LinkPart, slower_kernels
from simsparse.config.quantity import Part
from simsparse.core import Action, Op, OpCost, Role
from simsparse.core.memo import by_identity
from simsparse.core.op import Signature, signatures
from simsparse.core.varying_arrays import larger, whole
from simsparse.devices.base import Device, device_for
from simsparse.devices.gpu_zerocopy import LINE_BYTES
from simsparse.devices.link import BYTE, HostMemory, link_prices, link_rate
from simsparse.errors import MappingError, SpecError
from simsparse.events import CopyEnd, CopyPace, Link, alone_fs
from simsparse.events.network import Hop, at_rate_fs, channel_fs, fair_rates, path, whole_bytes
from simsparse.units import fs_to_seconds, seconds_to_fs

Ends = tuple[str, str]
"""The devices from which and to which a copy goes."""
MAX_COSTS = 65536


class CostedDevice:
    """A device model that remembers the last costs it was asked for, by op signature and level."""

    def __init__(self, part: Part) -> None:
        self.model: Device = device_for(part)
        self.prices: Mapping[Action, float] = self.model.prices
        self._costs: defaultdict[int, dict[Signature, OpCost]] = defaultdict(dict)

    def supports(self, op: Op) -> str | None:
        """None when the device runs ``op``, else the reason why not."""
        return self.model.supports(op)

    def costs(self, ops: Sequence[Op], level: int) -> list[OpCost]:
        """One OpCost an op. Raises MappingError for an op that the device does not support."""
        known, keys = self._costs[level], signatures(ops)
        missing = {key: op for op, key in zip(ops, keys, strict=True) if key not in known}
        if missing:
            if len(known) >= MAX_COSTS:
                known.clear()
                missing = dict(zip(keys, ops, strict=True))
            distinct = ops if len(missing) == len(ops) else tuple(missing.values())
            known.update(zip(missing, self.model.op_arrays(distinct, level).op_costs(), strict=True))
        return [known[key] for key in keys]


@by_identity(maxsize=256)
def costed_device(part: Part) -> CostedDevice:
    """The model of ``part``; the last 256 are kept, with their costs."""
    return CostedDevice(part)


class Machine:
    """Devices and links of a system by name.

    ``processors`` run a trace's ops; they are the hosts where no device has the role processor.
    ``hosts`` hold what does not fit on the processors, and are empty where they are the processors.
    ``topology`` is all that a graph of commands depends on. Raises MappingError when a part has no
    device model or nothing computes.
    """

    def __init__(self, system: System) -> None:
        self.system = system
        self.devices = {name: _modelled(name, part) for name, part in system.devices.items()}
        processors, hosts = self.of_role(Role.PROCESSOR), self.of_role(Role.HOST)
        self.processors = processors or hosts
        self.hosts = hosts if processors else ()
        self.links = {link.name: engine_link(link.name, link.part, link.between) for link in system.links}
        self.ends = {name: end for name, device in self.devices.items() if (end := copy_end(name, device.model))}
        self.topology = (
            tuple((name, system.role(name), device.model.lanes) for name, device in self.devices.items()),
            tuple((link.name, link.between) for link in system.links),
            tuple(system.groups.items()),
            tuple(system.collectives.items()),
            tuple((link.name, link.part.digest) for link in system.links if _link_part(link.part).collectives),
            (tuple(system.spans.items()), system.domains),
        )
        self._kernels = {link.name: _link_part(link.part).collectives for link in system.links}
        self._kernels_between: dict[tuple[str, ...], CollectiveKernels | None] = {}
        self._routes: dict[Ends, tuple[Hop, ...]] = {}
        self._shared: dict[tuple[Ends, ...], dict[Ends, int]] = {}
        if not self.processors:
            raise MappingError(f"{system.name} has no device that computes")

    def of_role(self, role: Role) -> tuple[str, ...]:
        """Devices of one role, in the order of the system."""
        return tuple(name for name in self.devices if self.system.role(name) is role)

    @property
    def host(self) -> str | None:
        """The first host, None without one."""
        return self.hosts[0] if self.hosts else None

    def hops(self, src: str, dst: str) -> tuple[Hop, ...]:
        """The links from ``src`` to ``dst``, and the memories at both ends. Raises SimulationError without links."""
        if (src, dst) not in self._routes:
            self._routes[src, dst] = path(self.links.values(), self.ends, src, dst)
        return self._routes[src, dst]

    def collective_kernels(self, devices: Sequence[str]) -> CollectiveKernels | None:
        """The kernels of collectives over devices, as the slowest of the links between them has each; None where a link
        states none."""
        between = tuple(devices)
        if between not in self._kernels_between:
            found = {
                hop.name: self._kernels.get(hop.name) for ends in pairwise(between) for hop, _ in self.hops(*ends)
                if isinstance(hop, Link)
            }  # fmt: skip
            self._kernels_between[between] = reduce(slower_kernels, found.values())
        return self._kernels_between[between]

    def copy_fs(
        self, src: str, dst: str, bytes: int, beside: tuple[Ends, ...] = (), channel: CopyPace | None = None
    ) -> int:
        """Femtoseconds of a copy that shares its route with no others than those between the ends ``beside``.

        These, the copy among them, run as long as it does.
        """
        hops = self.hops(src, dst)
        if not hops:
            return 0
        if not beside:
            alone = min(each.rate(way) for each, way in hops)
            return alone_fs(hops, bytes) if channel is None else channel_fs(hops, bytes, alone, channel)
        rate = self._rate_beside(beside)[src, dst]
        return at_rate_fs(hops, bytes, rate) if channel is None else channel_fs(hops, bytes, rate, channel)

    def _rate_beside(self, copies: tuple[Ends, ...]) -> dict[Ends, int]:
        """Bytes per second of copies that run at the same time."""
        if copies not in self._shared:
            rates = fair_rates([self.hops(*ends) for ends in copies])
            self._shared[copies] = dict(zip(copies, rates, strict=True))
        return self._shared[copies]

    def far_read(self, src: str, device: str, op: Op) -> tuple[int, CopyPace]:
        """Bytes that cross links when ``device`` itself reads the rows of ``op``, a gather, from ``src``, and the pace.

        Raises MappingError when it has no kernel that does.
        """
        links = {hop.name for hop, _ in self.hops(src, device) if isinstance(hop, Link)}
        nominal = min(_link_part(link.part).bandwidth.si for link in self.system.links if link.name in links)
        seconds = self.devices[device].model.far_read_seconds(op, nominal)
        if seconds is None:
            raise MappingError(f"{device} has no kernel that reads rows of another memory", key=op.name)
        lines = -(-op.dims["row_bytes"] // LINE_BYTES) * LINE_BYTES * op.dims["rows"]
        return lines, CopyPace(0, max(1, int(lines / seconds)))

    def copy_pace(self, src: str, dst: str, memory: HostMemory) -> CopyPace:
        """The pace of copies of host ``memory`` from ``src`` to ``dst``. Raises MappingError if a link states none."""
        links = [hop for hop, _ in self.hops(src, dst) if isinstance(hop, Link)]
        parts = {link.name: _link_part(link.part) for link in self.system.links}
        rates = list[float]()
        for link in links:
            try:
                rates.append(link_rate(parts[link.name], memory))
            except SpecError as error:
                raise MappingError(f"{error.message}; override {link.name}.{memory}", key="host_memory") from error
        return CopyPace(sum(link.latency_fs for link in links), _whole_rate(min(rates)))

    def issue_fs(self, src: str, dst: str) -> int:
        """The least femtoseconds from the start of one copy to the next of the same lane."""
        return max((each.issue_fs for each, _ in self.hops(src, dst)), default=0)

    def copy_seconds(self, src: str, dst: str, bytes: int) -> float:
        """Seconds of a copy that shares its route with no other."""
        return fs_to_seconds(self.copy_fs(src, dst, bytes))

    def copy_counts(self, src: str, dst: str, bytes: int) -> dict[str, Mapping[Action, int]]:
        """What a copy does, by link and device: bytes on each link, actions in the memories at its ends."""
        hops = self.hops(src, dst)
        moved = whole_bytes(hops, bytes)
        counts: dict[str, Mapping[Action, int]] = {
            link.name: {BYTE: moved} for link, _ in hops if isinstance(link, Link)
        }
        for device, direction in ((src, "read"), (dst, "write")):
            own = self.devices[device].model.copy_counts(direction, moved)
            before = counts.get(device, {})
            if own:
                counts[device] = {**before, **{action: before.get(action, 0) + count for action, count in own.items()}}
        return counts

    def call_fs(self, device: str, op: Op) -> int:
        """Femtoseconds of the call that launches ``op``. Raises MappingError where the device states none."""
        seconds = self.devices[device].model.call_seconds(op)
        if seconds is None:
            raise MappingError(f"{device} states no time per call of a framework; choose a stack that replays a graph",
                               key="stack")  # fmt: skip
        return seconds_to_fs(seconds)

    def compute_lane(self, device: str) -> str:
        """The lane that runs a device's operators."""
        return self.devices[device].model.lanes[0]

    def copy_lane(self, src: str, dst: str) -> tuple[str, str]:
        """Device and lane of the copy engine that moves data from ``src`` to ``dst``."""
        device, lane = (src, "d2h") if dst in self.hosts else (dst, "h2d" if src in self.hosts else "peer")
        return device, lane if lane in self.devices[device].model.lanes else "copy"

    def require_host(self, policy: str) -> str:
        """The host that holds offloaded weights. Raises MappingError without one."""
        if self.host is None:
            raise MappingError(
                f"policy {policy} keeps weights in host memory; {self.system.name} has no host CPU beside "
                f"{', '.join(self.processors)}"
            )
        return self.host

    @cached_property
    def prices(self) -> dict[str, Mapping[Action, float]]:
        """Joules of each action, by device and link."""
        links = {link.name: link_prices(_link_part(link.part)) for link in self.system.links}
        return {**{name: device.prices for name, device in self.devices.items()}, **links}

    @cached_property
    def static_watts(self) -> dict[str, float]:
        """Power drawn whatever runs, by device and link."""
        links = {link.name: _link_part(link.part).energy.static.si for link in self.system.links}
        return {**{name: device.model.static_watts for name, device in self.devices.items()}, **links}


def _modelled(name: str, part: Part) -> CostedDevice:
    try:
        return costed_device(part)
    except SpecError as error:
        raise MappingError(f"{part.name} can't be a device: {error.message}", key=name) from error


def _link_part(part: Part) -> LinkPart:
    if not isinstance(part, LinkPart):
        raise SpecError(f"{part.name} is a {part.kind}; a link must be of kind link", key="links")
    return part


def engine_link(name: str, part: Part, between: tuple[str, str]) -> Link:
    """The engine's link of a link part. Raises SpecError when the part is of another kind."""
    link = _link_part(part)
    return Link(
        name, between, _whole_rate(link_rate(link)), seconds_to_fs(link.latency.si), seconds_to_fs(link.issue.si),
        link.duplex.si,
    )  # fmt: skip


def _whole_rate(bytes_per_s: float) -> int:
    """Whole bytes per second, at least one."""
    rate: int = larger(1, whole(bytes_per_s))
    return rate


def copy_end(name: str, device: Device) -> CopyEnd | None:
    """The memory of a device as copies see it; None where it limits none."""
    rates = device.copy_rates
    if rates is None:
        return None
    rate, latency = (_whole_rate(rates.read), _whole_rate(rates.write)), seconds_to_fs(rates.latency_s)
    return CopyEnd(name, rate, rates.shared, latency, rates.unit_bytes, channels_per_s=whole(rates.channels))


@by_identity(maxsize=256)
def machine_of(system: System) -> Machine:
    """The system's Machine; the last 256 are kept."""
    return Machine(system)
