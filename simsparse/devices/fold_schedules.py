# SPDX-License-Identifier: Apache-2.0
"""Level 2 of a systolic accelerator without masks: its products' schedules, with scratchpads and DRAM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simsparse.core import ActionCounts, DType, Op, OpCycles, Unit
from simsparse.dataflow.base import Gemms
from simsparse.dataflow.folds.dma import Interface
from simsparse.dataflow.folds.schedule import FoldGemm, FoldSchedule, Scratchpad, schedule
from simsparse.dataflow.modes import fastest
from simsparse.devices.accelerator import SRAM, mac_action
from simsparse.devices.gemm_list import GemmList, gemm_list_of
from simsparse.devices.memory import READ, WRITE
from simsparse.errors import MappingError, SpecError

if TYPE_CHECKING:
    from simsparse.devices.systolic import Systolic

CAUSES = ("prefetch", "compute", "stall", "drain")


def schedules(device: Systolic, op: Op) -> list[tuple[int, FoldSchedule]]:
    """(how many times, schedule) of each of ``op``'s products, one after another, N:M weights with full groups.

    Of the orders of its loops, the one that takes the fewest cycles. Operands and results that an op keeps on chip
    (attention's scores) count as one bit. Raises MappingError for an op without products, and where the part's
    dataflow or buffers do not allow a schedule.
    """
    if (reason := device.supports(op)) or op.unit is Unit.VECTOR:
        raise MappingError(reason or f"a {op.kind} is no matrix product", key=op.name)
    products = gemm_list_of([op], device._patterns, device._metadata)
    try:
        return [
            (int(products.count[i]), _fold_schedule(device, op.dtype, products, i)) for i in range(len(products.count))
        ]
    except SpecError as error:
        raise MappingError(f"{device.part.name} has no cycle core for it: {error.message}", key=op.name) from None


def scheduled(device: Systolic, op: Op) -> OpCycles:
    """Level-2 outcome of ``op`` without masks. Raises MappingError; see ``schedules``."""
    runs = schedules(device, op)
    causes = {cause: sum(times * getattr(run, cause) for times, run in runs) for cause in CAUSES}
    total = sum(causes.values())
    macs = sum(times * run.macs for times, run in runs)
    read = sum(times * (run.dram["input"] + run.dram["weight"]) for times, run in runs)
    write = sum(times * run.dram["output"] for times, run in runs)
    edge = sum(times * _edge_bits(device, op, run) for times, run in runs)
    counts = {mac_action(op.dtype): macs, SRAM: edge + read + write, READ: read, WRITE: write}
    bytes_of = {action: count if action == mac_action(op.dtype) else -(-count // 8) for action, count in counts.items()}
    return OpCycles(total, macs / (total * runs[0][1].peak_macs), ActionCounts(bytes_of), causes)


def _fold_schedule(device: Systolic, dtype: DType, products: GemmList, index: int) -> FoldSchedule:
    """The product with as many groups of weights a PE as level 0 takes."""
    part, array, buffers = device.part, device._array(dtype), device.buffers
    gemm = Gemms.of(
        *(sizes[index : index + 1] for sizes in (products.m, products.n, products.k, products.keep, products.group))
    )
    mode, _ = fastest(device.dataflow, gemm, array, buffers.partial_sums(), *device._pe)
    moved = (products.input_bytes, products.weight_bytes, products.output_bytes)
    read, weights, written = (max(1, round(8 * float(size[index]))) for size in moved)
    m, n, k, keep, group = (int(size[0]) for size in (mode.m, mode.n, mode.k, mode.keep, mode.group))
    bits = 8 * device.bytes_per_cycle
    pad = Scratchpad(buffers, Interface(shared=bits))
    return schedule(part.array.dataflow, FoldGemm(m, n, k, read, weights, written, keep, group), array, pad)


def _edge_bits(device: Systolic, op: Op, run: FoldSchedule) -> int:
    """Bits over the array's edge: operands in, partial sums in and out."""
    sums = (run.sram["output_write"] + run.sram["output_read"]) * 8 * device.buffers.partial_sum
    return run.sram["input_read"] * op.dtype.bits + run.sram["weight_read"] * op.w_dtype.bits + sums
