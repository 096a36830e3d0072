# SPDX-License-Identifier: Apache-2.0
"""Replicas of several GPUs: what one rank of a layout runs, and the seconds of what it exchanges.

All ranks of a layout do the same, so that the steps of one are those of all. Left out: pipelines and replicas within a
layout (``replicas`` serve those), and kernels of exchanges other than all-reduces that an engine has of its own.
"""

from __future__ import annotations

from simsparse.config.hardware import System
from simsparse.config.layout import Layout
from simsparse.core import Op, Role, Trace
from simsparse.errors import SpecError
from simsparse.lowering.collectives.spans import phases
from simsparse.lowering.machine import Machine
from simsparse.lowering.parallel import rank_system, rank_trace
from simsparse.serving.all_reduce import OwnAllReduce


def ranked(system: System, trace: Trace, layout: Layout) -> tuple[System, Trace]:
    """System and trace of one rank; of several equal GPUs without a layout, one serves.

    Raises SpecError for a layout that serving has not, MappingError where none fits.
    """
    if layout.pp > 1 or layout.cp > 1 or layout.dp > 1:
        raise SpecError(f"{layout}: a replica is split by tp and ep alone; replicas serve side by side", key="parallel")
    if layout.said or is_board(system):
        return rank_system(system, layout), rank_trace(trace, layout)
    return system, trace


def is_board(system: System) -> bool:
    """Whether a system has several processors, all of the same kind."""
    processors = [part.name for name, part in system.devices.items() if system.role(name) is Role.PROCESSOR]
    return len(processors) > 1 and len(set(processors)) == 1


def exchange_seconds(op: Op, machine: Machine, own: OwnAllReduce | None = None) -> float:
    """Seconds of a collective of one rank that has its links for itself; ``own``: the engine's all-reduce."""
    if own is not None and op.label == "all_reduce" and len(op.group) == 1 and op.group[0] in machine.system.spans:
        seconds = own.seconds(op.dims["bytes"], machine.system.spans[op.group[0]].ranks)
        if seconds is not None:
            return seconds
    steps = phases(op, machine, machine.processors[0])
    return sum(
        max(move.wait_s + move.bytes / min(move.bytes_per_s, move.level.bytes_per_s) for move in step) for step in steps
    )
