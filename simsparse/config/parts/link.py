# SPDX-License-Identifier: Apache-2.0
"""Links between devices: PCIe, NVLink, on-board buses."""

from __future__ import annotations

from typing import Any, Literal

from simsparse.config.hardware import PARTS
from simsparse.config.quantity import (
    BytesPerSecond,
    Duplex,
    Efficiency,
    Frozen,
    JoulesPerByte,
    Part,
    Quantity,
    Ratio,
    Seconds,
    Watts,
    Whole,
)


class LinkEnergy(Frozen):
    """Price of a byte that crosses, and power of the idle link."""

    byte: JoulesPerByte
    static: Watts


class CollectiveProtocol(Frozen):
    """One protocol of a kernel: ``start`` once, ``hop`` for each step, and the bytes at ``rate`` in each direction."""

    start: Seconds
    hop: Seconds
    rate: BytesPerSecond


class RingKernels(Frozen):
    """Kernels round a ring. ``turn``: steps' worth of bytes that a rank moves within itself, beside the steps."""

    ll: CollectiveProtocol
    ll128: CollectiveProtocol
    simple: CollectiveProtocol
    turn: Ratio


class ExchangeKernels(Frozen):
    """Kernels in which every rank sends to every other; a hop for each of them."""

    ll: CollectiveProtocol
    simple: CollectiveProtocol


class InSwitchKernel(Frozen):
    """An all-reduce of floating-point numbers that the switch adds up, over ``ranks`` GPUs or more."""

    start: Seconds
    rate: BytesPerSecond
    ranks: Whole


class PutKernel(Frozen):
    """A one-sided kernel in one direction: ``start``, and ``expert`` for each expert, then rows at ``rate``.

    ``block``: the rate that one of its blocks (SMs) reaches; None where it takes the whole card.
    """

    start: Seconds
    expert: Seconds
    rate: BytesPerSecond
    block: BytesPerSecond | None = None


class PutWays(Frozen):
    """Rows to the ranks of their experts, and back."""

    dispatch: PutKernel
    combine: PutKernel


class PutKernels(Frozen):
    """One-sided exchanges of experts' rows: kernels for few rows, and for many."""

    low_latency: PutWays
    throughput: PutWays


class CollectiveKernels(Frozen):
    """What a library's kernels of collectives take over links of which each GPU has one, to a switch or peer.

    A library chooses the kernel and the protocol that it expects to be fastest; here the one that is.
    """

    ring: RingKernels
    exchange: ExchangeKernels
    in_switch: InSwitchKernel | None = None
    puts: PutKernels | None = None


def slower_kernels(one: CollectiveKernels | None, other: CollectiveKernels | None) -> CollectiveKernels | None:
    """What kernels take over two links, each as the slower link has it; None where one of them states none."""
    return None if one is None or other is None else one if one is other else _slower(one, other)


def _slower(one: Any, other: Any) -> Any:
    """The longer of times and counts, the lower of rates; None of what one of both lacks."""
    if one is None or other is None:
        return None
    if isinstance(one, Quantity):
        first, last = sorted((one, other), key=float)
        return first if one.unit == "byte/second" else last
    fields = type(one).model_fields
    return type(one).model_validate({key: _slower(getattr(one, key), getattr(other, key)) for key in fields})


@PARTS.register("link")
class LinkPart(Part):
    """A full-duplex link.

    ``bandwidth`` is the nominal rate of one direction, ``efficiency`` the share that large copies
    reach, ``duplex`` the total rate of both directions together as a multiple of one,
    ``latency`` the fixed time of a copy, ``issue`` the least time between copies of one queue,
    ``pageable`` the rate of copies of pageable host memory, ``unified`` that at which pages of unified memory come when
    a kernel touches them, ``collectives`` the kernels of collectives over it.
    """

    kind: Literal["link", "nic"]
    bandwidth: BytesPerSecond
    efficiency: Efficiency
    duplex: Duplex
    latency: Seconds
    issue: Seconds
    pageable: BytesPerSecond | None = None
    unified: BytesPerSecond | None = None
    energy: LinkEnergy
    collectives: CollectiveKernels | None = None
