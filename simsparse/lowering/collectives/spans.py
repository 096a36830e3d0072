# SPDX-License-Identifier: Apache-2.0
"""Collectives of one rank that stands for all of its kind: what it moves over the links of each domain.

A span is ranks at equal distances. Domains are nested: GPUs behind one NVSwitch, nodes behind one network. What a rank
sends to ranks of its own board goes over its NVLink port, the rest over its share of the network ports of its node.

Over one domain a collective is the kernel of that domain's link. Over several:

* A ring or a double binary tree (whichever starts sooner) passes all boards: the bytes of a board cross its ports once,
  shared by its ranks, while those inside cross NVLink at the same time. Source: NCCL; Sanders, Speck and Traeff,
  Two-tree algorithms for full bandwidth broadcast, reduction and scan (2009).
* An all-to-all is ``linear`` (a message to every rank), ``2dh`` (an exchange within the board that gathers what goes to
  each other board, then one message per board; Hwang et al., Tutel, MLSys 2023), or by a ``leader`` per node, which
  gathers its board's data and sends one message per node (Nie et al., HetuMoE, 2022), or by one-sided ``puts``, whose
  low-latency kernels write rows to boards and network at once (simsparse.lowering.collectives.puts).

Left out: contention of different groups in the network beyond the oversubscription that a cluster states, adaptive
routing, and jitter.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, log2, prod
from typing import NamedTuple

from simsparse.config.cluster import Domain
from simsparse.config.layout import Exchange
from simsparse.config.parts.link import CollectiveKernels, CollectiveProtocol
from simsparse.core import Op
from simsparse.core.kinds.collective import EXPERTS
from simsparse.errors import MappingError
from simsparse.events import CopyPace
from simsparse.lowering.collectives.expand import CollectiveCopy
from simsparse.lowering.collectives.kernels import BY_LINK, EXCHANGES, KernelRun, fastest
from simsparse.lowering.collectives.puts import NETWORK_START_S
from simsparse.lowering.machine import Machine
from simsparse.units import seconds_to_fs


class SpanLevel(NamedTuple):
    """A domain and how many of the span's ranks, or of its groups of the level below, meet there.

    ``bytes_per_s``: what one rank can send while all others do.
    """

    domain: Domain
    size: int
    kernels: CollectiveKernels
    bytes_per_s: float


class SpanMove(NamedTuple):
    """What a rank sends over one level in one phase: ``wait_s``, then ``bytes`` at ``bytes_per_s`` at most."""

    level: SpanLevel
    wait_s: float
    bytes: int
    bytes_per_s: float


Phases = list[list[SpanMove]]


def is_spanned(op: Op, machine: Machine) -> bool:
    """Whether a collective is over a span, of which the system has one rank."""
    return len(op.group) == 1 and op.group[0] in machine.system.spans


def span_copies(op: Op, machine: Machine, device: str) -> list[list[CollectiveCopy]]:
    """The copies of each phase of a collective over a span, for the rank ``device``. Raises MappingError."""
    return [[_copy(move, device) for move in phase if move.bytes] for phase in phases(op, machine, device)]


def phases(op: Op, machine: Machine, device: str) -> Phases:
    """What a rank moves, phase by phase. Raises MappingError where the span's ranks are not all joined."""
    levels = _levels(op, machine, device)
    if levels and op.label == "all_to_all" and machine.system.collectives.get(op.label) == Exchange.PUTS:
        return [list(_puts(levels, op))]
    match levels:
        case []:
            return []
        case [only]:
            return [[_within(only, op)]]
        case _ if op.label in EXCHANGES:
            return _exchange(levels, op, machine, device)
        case _:
            return [list(_ring(levels, op))]


def _copy(move: SpanMove, device: str) -> CollectiveCopy:
    channel = CopyPace(seconds_to_fs(move.wait_s), max(1, int(move.bytes_per_s)))
    ends = device, move.level.domain.device
    return CollectiveCopy(*ends, move.bytes, (ends,), channel)


def _levels(op: Op, machine: Machine, device: str) -> list[SpanLevel]:
    span, inner, found = machine.system.spans[op.group[0]], 1, list[SpanLevel]()
    for domain in machine.system.domains:
        reach = max(1, min(span.ranks, domain.ranks // span.stride))
        if reach > inner:
            found.append(_level(machine, device, domain, -(-reach // inner)))
            inner = reach
    if inner < span.ranks:
        raise MappingError(
            f"{span.ranks} ranks of {op.group[0]} are more than {machine.system.name} joins", key=op.name
        )
    return found


def _level(machine: Machine, device: str, domain: Domain, size: int) -> SpanLevel:
    hops = machine.hops(device, domain.device)
    link, way = hops[0]
    kernels = machine.collective_kernels((device, domain.device))
    if kernels is None:
        raise MappingError(f"the link {device} to {domain.device} states no kernels of collectives", key="collectives")
    return SpanLevel(domain, size, kernels, domain.share * link.rate(way, True))


def _within(level: SpanLevel, op: Op) -> SpanMove:
    run = fastest(level.kernels, op, level.size, level.bytes_per_s)
    return _move(level, run)


def _move(level: SpanLevel, run: KernelRun) -> SpanMove:
    return SpanMove(level, run.wait_s, run.bytes, min(run.bytes_per_s, level.bytes_per_s))


def _ring(levels: list[SpanLevel], op: Op) -> Iterator[SpanMove]:
    """One pass over all levels: a level carries the whole message, shared by the ranks of the levels below it.

    The innermost level has the protocol that is fastest for its ranks alone.
    """
    ranks, rounds = prod(level.size for level in levels), 2 if op.label == "all_reduce" else 1
    whole = op.dims["bytes"] * (ranks if op.label == "all_gather" else 1)
    moved = whole if op.label in ("broadcast", "reduce") else rounds * whole * (ranks - 1) // ranks
    inner = fastest(levels[0].kernels, op, levels[0].size, levels[0].bytes_per_s)
    wait_s, below = inner.wait_s + _network_wait_s(levels, rounds, moved), 1
    for level in levels:
        most = inner.bytes_per_s if below == 1 else BY_LINK
        yield SpanMove(level, wait_s, -(-moved // below), min(level.bytes_per_s, most))
        below *= level.size


def _network_wait_s(levels: list[SpanLevel], rounds: int, moved: int) -> float:
    """Hops between boards of the protocol that ends soonest, round a ring or up and down trees, and what its bytes
    take longer than those of the link."""
    outer, below = levels[-1], prod(level.size for level in levels[:-1])
    boards = prod(level.size for level in levels[1:])
    hops = rounds * min(boards - 1, ceil(log2(boards)))

    def more_s(protocol: CollectiveProtocol) -> float:
        rate = min(protocol.rate.si, outer.bytes_per_s)
        return hops * protocol.hop.si + moved / below * (1 / rate - 1 / outer.bytes_per_s)

    ring = outer.kernels.ring
    return min(map(more_s, (ring.ll, ring.ll128, ring.simple)))


def _exchange(levels: list[SpanLevel], op: Op, machine: Machine, device: str) -> Phases:
    if op.label != "all_to_all":
        return [[_peer(levels[-1], 1, op.dims["bytes"])]]
    match machine.system.collectives.get("all_to_all", Exchange.LINEAR):
        case Exchange.TWO_D:
            return _in_two_dimensions(levels, op, _pass_s(op, machine, device))
        case Exchange.LEADER:
            return _by_leaders(levels, op)
        case _:
            return [list(_linear(levels, op))]


def _linear(levels: list[SpanLevel], op: Op) -> Iterator[SpanMove]:
    """A message to every rank; those to other boards leave by the network's ports."""
    ranks, inner = prod(level.size for level in levels), 1
    for level in levels:
        reach = inner * level.size
        yield _peer(level, reach - inner, op.dims["bytes"] * (reach - inner) // ranks)
        inner = reach


def _puts(levels: list[SpanLevel], op: Op) -> Iterator[SpanMove]:
    """One-sided kernels of the board's link: rows to its ranks, those of this rank too, and to others at once."""
    puts = levels[0].kernels.puts
    if puts is None:
        raise MappingError(
            f"the link to {levels[0].domain.device} states no one-sided kernels", key="parallel.exchange"
        )
    kernel, ranks, inner = puts.low_latency.dispatch, prod(level.size for level in levels), 0
    wait = kernel.start.si + int(op.stats.get(EXPERTS, ranks)) * kernel.expert.si
    for level in levels:
        reach = max(1, inner) * level.size
        size, rate = op.dims["bytes"] * (reach - inner) // ranks, level.bytes_per_s
        yield SpanMove(
            level, wait + (NETWORK_START_S if inner else 0), size, min(rate, BY_LINK if inner else kernel.rate.si)
        )
        inner = reach


def _in_two_dimensions(levels: list[SpanLevel], op: Op, pass_s: float) -> Phases:
    """An exchange per level, of the whole message each, and before each a pass over memory that sorts it."""
    size = op.dims["bytes"]
    moves = (_peer(level, level.size - 1, size * (level.size - 1) // level.size) for level in levels)
    return [[move._replace(wait_s=move.wait_s + pass_s)] for move in moves]


def _by_leaders(levels: list[SpanLevel], op: Op) -> Phases:
    """The boards' data to one GPU each, an exchange of these over one network port, and back."""
    *inside, outer = levels
    size, below = op.dims["bytes"], prod(level.size for level in inside)
    gather = [[_peer(level, level.size - 1, size * (level.size - 1))] for level in inside]
    port = outer._replace(bytes_per_s=min(outer.bytes_per_s / outer.domain.share, outer.bytes_per_s * below))
    return [*gather, [_peer(port, outer.size - 1, below * size * (outer.size - 1) // outer.size)], *reversed(gather)]


def _peer(level: SpanLevel, peers: int, bytes: int) -> SpanMove:
    """Messages to ``peers``, by the protocol that ends soonest."""
    own = level.kernels.exchange
    runs = [KernelRun(name, each.start.si + peers * each.hop.si, bytes, min(each.rate.si, BY_LINK))
            for name, each in (("ll", own.ll), ("simple", own.simple))]  # fmt: skip
    return _move(level, min(runs, key=lambda run: run.seconds(level.bytes_per_s)))


def _pass_s(op: Op, machine: Machine, device: str) -> float:
    """Seconds to read and write the message once in the device's memory."""
    rates = machine.devices[device].model.copy_rates
    return 0.0 if rates is None else op.dims["bytes"] * (1 / rates.read + 1 / rates.write)


def span_seconds(op: Op, machine: Machine, device: str) -> float:
    """Seconds of a collective over a span that shares its links with no other work: its phases one after the other."""
    return sum(max((move.wait_s + move.bytes / move.bytes_per_s for move in phase), default=0.0)
               for phase in phases(op, machine, device))  # fmt: skip
