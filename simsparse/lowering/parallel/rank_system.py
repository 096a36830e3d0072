# SPDX-License-Identifier: Apache-2.0
"""The system that one rank of each pipeline stage sees: its GPU, its NVLink port, its share of the network.

Ranks of a stage do the same, so that one of them is simulated. It keeps the link of the system's first processor to a
switch or to its peer, and the cluster's network port where there is more than one node. Left out: the host.
"""

from __future__ import annotations

from dataclasses import replace

from simsparse.config.cluster import NETWORK, Domain, GroupSpan
from simsparse.config.hardware import NIC, Connection, System
from simsparse.config.layout import Exchange, Layout
from simsparse.config.quantity import Part
from simsparse.core import Role
from simsparse.core.memo import by_identity
from simsparse.devices.switch import SwitchPart
from simsparse.errors import MappingError

BOARD = "board"
PIPELINE = "pp"
SPANS = ("tp", "cp", "dp", PIPELINE)
"""Names of the groups of ranks along each way of splitting, neighbours first."""


def rank_system(system: System, layout: Layout) -> System:
    """``system`` as one rank of each stage of ``layout`` sees it.

    Raises MappingError when it has too few processors, different ones, or no link joins them.
    """
    processors = [name for name in system.devices if system.role(name) is Role.PROCESSOR]
    if not processors:
        raise MappingError(f"{system.name} has no processor", key="parallel")
    kinds = {system.devices[name].name for name in processors}
    if len(kinds) > 1:
        raise MappingError(f"{system.name} has processors of several kinds: {', '.join(sorted(kinds))}", key="parallel")
    board, nodes = len(processors), system.cluster.nodes if system.cluster else 1
    if layout.ranks > board * nodes:
        raise MappingError(f"{layout} takes {layout.ranks} ranks; {system.name} has {board * nodes} processors",
                           key="parallel")  # fmt: skip
    return _of(system, processors[0], board, layout)


def _of(system: System, first: str, board: int, layout: Layout) -> System:
    ranks = [f"gpu{stage}" for stage in range(layout.pp)]
    gpu = system.devices[first]
    devices: dict[str, Part] = dict.fromkeys(ranks, gpu)
    links: list[Connection] = []
    domains: list[Domain] = []
    if board > 1:
        domains.append(Domain(BOARD, board))
        if apart := layout.stage_ranks >= board:
            domains[0] = Domain(f"{BOARD}0", board)
        link = _link_of(system, first)
        for stage, rank in enumerate(ranks):
            switch = f"{BOARD}{stage}" if apart else BOARD
            devices.setdefault(switch, joint())
            links.append(Connection(f"link{stage}", link, (rank, switch)))
    if system.cluster and system.cluster.nodes > 1:
        cluster = system.cluster
        domains += _network(board, system)
        devices[NETWORK] = joint()
        links += [Connection(f"{NIC}{stage}", cluster.nic, (rank, NETWORK)) for stage, rank in enumerate(ranks)]
    collectives = {} if layout.exchange == Exchange.LINEAR else {"all_to_all": layout.exchange}
    return replace(
        system, name=f"{system.name} ({layout})", devices=devices, links=tuple(links), roles={}, groups={},
        collectives=collectives, cluster=None, spans=spans(layout), domains=tuple(domains),
    )  # fmt: skip


def spans(layout: Layout) -> dict[str, GroupSpan]:
    """The groups of ranks that a layout has: along each way of splitting, over experts, and all but the experts'."""
    found, stride = dict[str, GroupSpan](), 1
    for name in SPANS:
        found[name] = GroupSpan(getattr(layout, name), stride)
        stride *= getattr(layout, name)
    found["esp"] = GroupSpan(layout.esp, 1)
    found["ep"] = GroupSpan(layout.ep, layout.esp)
    found["edp"] = GroupSpan(layout.stage_ranks // layout.expert_ranks, layout.expert_ranks)
    found["ddp"] = GroupSpan(layout.cp * layout.dp, layout.tp)
    return {name: span for name, span in found.items() if span.ranks > 1}


def _network(board: int, system: System) -> list[Domain]:
    """The network as nested domains: up to a leaf switch at full rate, beyond it what the oversubscription leaves."""
    cluster = system.cluster
    assert cluster is not None
    share, leaf = min(1.0, cluster.nics / board), cluster.leaf or cluster.nodes
    found = [Domain(NETWORK, board * min(leaf, cluster.nodes), share)]
    if leaf < cluster.nodes:
        found.append(Domain(NETWORK, board * cluster.nodes, share / cluster.oversubscription))
    return found


def _link_of(system: System, device: str) -> Part:
    """The link of ``device`` to a switch or another processor. Raises MappingError without one."""
    near = (Role.SWITCH, Role.PROCESSOR)
    for link in system.links:
        if device in link.between:
            other = link.between[1 - link.between.index(device)]
            if system.role(other) in near:
                return link.part
    raise MappingError(f"no link joins {device} of {system.name} to a switch or another processor", key="parallel")


def joint() -> SwitchPart:
    """What stands for the other side of a rank's links; it draws no power."""
    return _joint(Role)


@by_identity(maxsize=1)
def _joint(_: type[Role]) -> SwitchPart:
    nothing = {"value": "0 W", "source": "none", "basis": "derived", "note": "counted with the other ranks"}
    return SwitchPart.model_validate({
        "name": "switch/joint", "kind": "switch", "description": "The other side of a rank's links", "area": None,
        "energy": {"static": nothing},
    })  # fmt: skip
