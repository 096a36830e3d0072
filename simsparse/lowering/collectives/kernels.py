# SPDX-License-Identifier: Apache-2.0
"""Collectives as kernels of a library, such as NCCL: which kernel and protocol runs, and the copies that it makes.

A kernel takes its start, a hop for each step, and its bytes at the rate of its protocol: LL stores a flag beside every
word and starts fast, LL128 one per 128 bytes, Simple waits for whole slots and moves most. Round a ring of N ranks, an
all-reduce takes 2 (N - 1) steps, an all-gather or reduce-scatter N - 1, each of an N-th of the bytes; what a rank
copies within itself is ``turn`` steps' worth more. An all-to-all is an exchange. Steps follow one another in a
pipeline, so that all bytes of a rank are one copy to the next rank, which shares its links with whatever else is under
way. Source: NCCL, src/graph/tuning.cc and src/device (protocols); numbers are those of the link's part.

Left out: trees, which NCCL 2.2x takes between nodes only; the channels, chunks and threads that NCCL varies with size,
which make steps of up to 40 % near changes of protocol.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from simsparse.config.parts.link import CollectiveKernels, CollectiveProtocol
from simsparse.core import DType, Op
from simsparse.events import CopyPace
from simsparse.lowering.collectives.base import Send
from simsparse.units import seconds_to_fs

EXCHANGES = frozenset(("all_to_all", "gather", "scatter", "send_recv"))
"""Collectives of sends from rank to rank; the others go round a ring."""
BY_LINK = 1e15
"""Bytes per second that no link reaches: sends one way that keep no flags run as fast as their links."""
FLOATS = frozenset((DType.FP64, DType.FP32, DType.BF16, DType.FP16))
"""What a switch can add up."""


class KernelRun(NamedTuple):
    """What one rank does in a kernel: ``wait_s``, then ``bytes`` to the next rank at ``bytes_per_s`` at most."""

    name: str
    wait_s: float
    bytes: int
    bytes_per_s: float

    def seconds(self, link_bytes_per_s: float) -> float:
        """How long the kernel takes over links of a rate that it has for itself."""
        return self.wait_s + self.bytes / min(self.bytes_per_s, link_bytes_per_s)


def runs(kernels: CollectiveKernels, label: str, bytes: int, ranks: int, *, floats: bool) -> Iterator[KernelRun]:
    """Every kernel that can run a collective; ``bytes`` is the input of one rank, ``floats`` what it adds up."""
    if label in EXCHANGES:
        peers = 1 if label == "send_recv" else ranks - 1
        moved = _moved(label, bytes, ranks)
        yield _run("exchange ll", kernels.exchange.ll, peers, moved, 1.0)
        simple = _run("exchange simple", kernels.exchange.simple, peers, moved, 1.0)
        yield simple if label == "all_to_all" else simple._replace(bytes_per_s=BY_LINK)
        return
    steps, moved = ring_steps(label, ranks), _moved(label, bytes, ranks)
    turns = kernels.ring.turn.si / (1 if label in ("broadcast", "reduce") else steps)
    for name in ("ll", "ll128", "simple"):
        yield _run(f"ring {name}", getattr(kernels.ring, name), steps, moved, 1 + turns)
    switch = kernels.in_switch
    if switch and label == "all_reduce" and floats and ranks >= switch.ranks.whole:
        yield KernelRun("in switch", switch.start.si, bytes, switch.rate.si)


def ring_steps(label: str, ranks: int) -> int:
    """Steps from rank to rank of a collective round a ring."""
    return 2 * (ranks - 1) if label == "all_reduce" else ranks - 1


def _moved(label: str, bytes: int, ranks: int) -> int:
    """Bytes that one rank sends, or of a root receives or sends."""
    share = -(-bytes // ranks)
    match label:
        case "all_reduce":
            return 2 * (ranks - 1) * share
        case "all_gather" | "gather":
            return (ranks - 1) * bytes
        case "all_to_all" | "reduce_scatter" | "scatter":
            return (ranks - 1) * share
        case _:
            return bytes


def _run(name: str, protocol: CollectiveProtocol, hops: int, bytes: int, work: float) -> KernelRun:
    return KernelRun(name, protocol.start.si + hops * protocol.hop.si, bytes, protocol.rate.si / work)


def fastest(kernels: CollectiveKernels, op: Op, ranks: int, link_bytes_per_s: float) -> KernelRun:
    """The kernel that ends first over links of a rate that it has for itself."""
    every = runs(kernels, op.label, op.dims["bytes"], ranks, floats=op.dtype in FLOATS)
    return min(every, key=lambda run: run.seconds(link_bytes_per_s))


def sends(run: KernelRun, label: str, ranks: int) -> list[Send]:
    """The copies of a kernel: one from every rank that sends."""
    channel = CopyPace(seconds_to_fs(run.wait_s), max(1, int(run.bytes_per_s)))
    if label in ("gather", "scatter"):
        part = run.bytes // (ranks - 1)
        ends = [(rank, 0) if label == "gather" else (0, rank) for rank in range(1, ranks)]
        return [Send(*each, part, channel) for each in ends]
    senders = {"send_recv": 1, "broadcast": ranks - 1, "reduce": ranks - 1}.get(label, ranks)
    order = [(rank, (rank + 1) % ranks) for rank in range(senders)]
    return [Send(dst, src, run.bytes, channel) if label == "reduce" else Send(src, dst, run.bytes, channel)
            for src, dst in order]  # fmt: skip
