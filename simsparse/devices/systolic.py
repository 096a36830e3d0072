# SPDX-License-Identifier: Apache-2.0
"""Accelerators round a systolic array, by closed form.

Weights and activations stream from the accelerator's DRAM and tiles are double-buffered, so an
operator takes the longest of array, vector unit and memory; what the first tile waits for and the
last one leaves behind shows, and what an output-stationary array waits for at each turn of its
outer loop. N:M weights of a supported pattern run as such, all others as dense, zeros stored and
multiplied. A PE has registers and ports for the largest N and M of its patterns and uses them for
any weights, dense ones too. Activations are dense.

Left out: control overhead between tiles, bank conflicts in the buffers, fusion of operators.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simsparse.config.quantity import Part, Quantity
from simsparse.core import Action, ActionCounts, DType, Op, OpCycles, Sparsity, Unit
from simsparse.dataflow import DATAFLOWS, Gemms, PeArray, Traffic, dram_traffic, fastest, modes
from simsparse.dataflow.base import Wholes
from simsparse.dataflow.turns import Turns
from simsparse.devices.accelerator import CYCLES, FLOP, SRAM, Accelerator, mac_action
from simsparse.devices.base import DEVICES, CostArrays, Floats, Mask, whole_counts
from simsparse.devices.decode import with_decoding
from simsparse.devices.gemm_list import GemmList, applied_sparsity, gemm_list_of, single_product
from simsparse.devices.memory import READ, WRITE
from simsparse.devices.roofline import dominant, require_supported, whole
from simsparse.errors import MappingError, SpecError
from simsparse.sparsity.drawn import Operand, drawn


@DEVICES.register("accel")
class Systolic(Accelerator):
    """A systolic accelerator with its own DRAM; at level 2 by the schedule of its folds, or with real masks."""

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        try:
            self.dataflow = DATAFLOWS.get(self.part.array.dataflow)
        except SpecError as error:
            raise SpecError(error.message, key=f"{part.name}.array.dataflow") from None

    def cost_arrays(self, ops: Sequence[Op], level: int = 0) -> CostArrays:
        require_supported(self, ops)
        if level >= CYCLES and self.part.array.dataflow in ("ws", "os", "is"):
            return self._scheduled(ops)
        totals = self._totals(ops)
        array, memory = self.part.array, self.part.memory
        rate = memory.bandwidth.si * memory.efficiency.si
        contributors = {
            "launch": np.full(len(ops), self.part.vector.launch.si),
            "compute": totals["cycles"] / array.clock.si,
            "vector": totals["flop"] / self.part.vector.rate.si,
            "memory": (totals["read"] + totals["write"]) / rate,
            "fill": totals["fill"] / rate,
        }
        busy = np.maximum(contributors["compute"], contributors["vector"]) + contributors["fill"]
        latency = contributors["launch"] + np.maximum(busy, contributors["memory"])
        costs = CostArrays(latency, contributors, dominant(contributors), self._counts(ops, totals), [""] * len(ops))
        return with_decoding(self, ops, costs)

    def skips(self, op: Op) -> bool:
        return not applied_sparsity(op, self._patterns, self._metadata).is_dense

    def _scheduled(self, ops: Sequence[Op]) -> CostArrays:
        """Level 2: products by the schedule of each, with DRAM waits; the rest by closed forms."""
        from simsparse.devices.fold_schedules import scheduled

        closed = self.cost_arrays(ops)
        seconds = {name: closed.contributors[name].copy() for name in ("launch", "compute", "vector", "memory")}
        counts = {action: values.copy() for action, values in closed.counts.items()}
        for i, op in enumerate(ops):
            if op.unit is Unit.VECTOR:
                continue
            found = scheduled(self, op)
            seconds["compute"][i] = found.causes["compute"] / self.part.array.clock.si
            seconds["memory"][i] = (found.cycles - found.causes["compute"]) / self.part.array.clock.si
            for action, count in found.counts.items():
                counts[action][i] = count
        latency = seconds["launch"] + np.maximum(seconds["compute"] + seconds["memory"], seconds["vector"])
        costs = CostArrays(latency, seconds, dominant(seconds), counts, [""] * len(ops), CYCLES)
        return with_decoding(self, ops, costs)

    def cycles(
        self, op: Op, weight_mask: Mask | None = None, input_mask: Mask | None = None, seed: int = 0
    ) -> OpCycles:
        """Level 2 of ``op``; see Device.cycles.

        Dense weights without a mask and inputs without one: the schedule of the folds with the DRAM's stalls
        (simsparse.devices.fold_schedules). Else one product with a weight, whose operands are on chip; inputs without
        a mask are dense, as at level 0.
        """
        if weight_mask is None and input_mask is None and op.weight_sparsity.is_dense:
            from simsparse.devices.fold_schedules import scheduled

            return scheduled(self, op)
        if reason := self.supports(op):
            raise MappingError(reason, key=op.name)
        m, n, k = single_product(op)
        if weight_mask is None:
            dense = op.weight_sparsity.is_dense
            kept = None if dense else drawn(op.weight_sparsity, n, k, Operand.WEIGHT, seed)
            weight_mask = kept.mask() if kept else np.ones((n, k), np.bool_)
        if weight_mask.shape != (n, k) or (input_mask is not None and input_mask.shape != (m, k)):
            raise MappingError(f"masks do not fit; expected weights ({n}, {k}) and inputs ({m}, {k})", key=op.name)
        gemms = gemm_list_of([op], self._patterns, self._metadata).gemms
        inputs = m if input_mask is None else input_mask
        try:
            found = [self._masked(op, weight_mask, inputs, mode) for mode in modes(gemms, *self._pe)]
        except MappingError as error:
            raise MappingError(f"{self.part.name}: {error.message}", key=op.name) from None
        return min(found, key=lambda one: one.cycles)

    @cached_property
    def _patterns(self) -> frozenset[str]:
        return frozenset(self.part.sparsity.patterns if self.part.sparsity else ())

    @cached_property
    def _metadata(self) -> str:
        return self.part.sparsity.metadata if self.part.sparsity else "least"

    @cached_property
    def _pe(self) -> tuple[int, int]:
        """Kept weights that a PE holds and inputs that it sees: the largest N and M of the patterns."""
        groups = [Sparsity.parse(text).groups or (1, 1) for text in self._patterns]
        return max((keep for keep, _ in groups), default=1), max((size for _, size in groups), default=1)

    def _array(self, dtype: str) -> PeArray:
        array, sparsity = self.part.array, self.part.sparsity
        return PeArray(
            whole(self.part, "array.rows", array.rows), whole(self.part, "array.cols", array.cols),
            whole(self.part, f"array.macs.{dtype}", array.macs[dtype]), _known(array.skew), _known(array.overlap),
            round(sparsity.decode.si) if sparsity else 0,
        )  # fmt: skip

    def _totals(self, ops: Sequence[Op]) -> dict[str, Floats]:
        """Array cycles, MACs, vector flops and bytes of each op."""
        totals = {name: np.zeros(len(ops)) for name in ("cycles", "mac", "read", "write", "sram", "fill")}
        for dtype in _dtypes(ops):
            index = [i for i, op in enumerate(ops) if op.dtype is dtype and op.unit is Unit.MATRIX]
            for name, values in self._products([ops[i] for i in index], dtype).items():
                totals[name][index] = values
        for i, op in enumerate(ops):
            if op.unit is Unit.VECTOR:
                totals["read"][i], totals["write"][i] = op.weight_bytes + op.input_bytes, op.output_bytes
        totals["sram"] += 2 * (totals["read"] + totals["write"]) * np.array([op.unit is Unit.VECTOR for op in ops])
        totals["flop"] = np.array([op.vector_flops for op in ops], np.float64)
        return totals

    def _products(self, ops: Sequence[Op], dtype: DType) -> dict[str, Floats]:
        products = gemm_list_of(ops, self._patterns, self._metadata)
        array, buffers = self._array(dtype), self.buffers
        dataflow = self.dataflow
        gemms, _ = fastest(dataflow, products.gemms, array, buffers.partial_sums(), *self._pe)
        tile, cycles, traffic = self._tiled(gemms, array, products)
        passes = dataflow.passes(gemms, array, tile)
        crossing = [size * times for size, times in zip(self._edge_bytes(products, dtype), passes, strict=True)]
        per_product: dict[str, Any] = {
            "cycles": cycles, "mac": products.macs, "read": traffic.read, "write": traffic.write,
            "sram": sum(crossing) + traffic.read + traffic.write,
        }  # fmt: skip
        totals = {name: products.per_op(values, len(ops)) for name, values in per_product.items()}
        opening, later = traffic.opening(self.bytes_per_cycle), np.zeros(len(cycles))
        if dataflow.streams is None:
            turns = Turns(gemms, array, products.weight_bytes, products.input_bytes, cycles, self.bytes_per_cycle)
            opening, later = turns.waits(traffic)
        fill = products.longest_per_op(opening + traffic.last, len(ops)) + products.per_op(later, len(ops))
        return {**totals, "fill": fill}

    def _tiled(self, gemms: Gemms, array: PeArray, products: GemmList) -> tuple[tuple[Wholes, Wholes], Wholes, Traffic]:
        """Tiles, array cycles and traffic: of the dataflow's cuts the fastest, product by product."""
        moved, dataflow = (products.weight_bytes, products.input_bytes, products.output_bytes), self.dataflow
        best = None
        for tile in dataflow.cuts(gemms, array, self.buffers.partial_sums()):
            cycles = dataflow.cut_cycles(gemms, array, tile)
            traffic = dram_traffic(gemms, array, tile, self.buffers, *moved, dataflow.streams)
            needed = np.maximum(cycles, (traffic.read + traffic.write) / self.bytes_per_cycle)
            if best is None:
                best = (tile, cycles, traffic, needed)
                continue
            sooner = needed < best[3]
            (tokens, outputs), before, carried, least = best
            best = (
                (np.where(sooner, tile[0], tokens), np.where(sooner, tile[1], outputs)),
                np.where(sooner, cycles, before), carried.where(sooner, traffic), np.minimum(needed, least),
            )  # fmt: skip
        assert best is not None
        return best[0], best[1], best[2]

    def _edge_bytes(self, products: GemmList, dtype: DType) -> tuple[Floats, ...]:
        """Bytes of one pass of weights, inputs and partial sums over the array's edge."""
        inputs = np.asarray(products.m * products.k * (dtype.bits / 8), np.float64)
        return products.weight_bytes, inputs, np.asarray(products.m * products.n * self.buffers.partial_sum, np.float64)

    def _counts(self, ops: Sequence[Op], totals: Mapping[str, Floats]) -> dict[Action, NDArray[np.int64]]:
        counts = {
            mac_action(dtype): np.where([op.dtype == dtype for op in ops], totals["mac"], 0) for dtype in _dtypes(ops)
        }
        rest = {FLOP: "flop", SRAM: "sram", READ: "read", WRITE: "write"}
        counts.update({action: totals[name] for action, name in rest.items()})
        return {action: whole_counts(action, np.ceil(values)) for action, values in counts.items()}

    def _weight_bits(self, op: Op, mode: Gemms) -> float:
        """Bits of a kept weight, with its share of the metadata where ``mode`` skips weights."""
        if not mode.sparse[0]:
            return float(op.w_dtype.bits)
        products = gemm_list_of([op], self._patterns, self._metadata)
        return 8 * float(products.weight_bytes[0]) / int(products.n[0] * products.gemms.kept_k[0])

    def _masked(self, op: Op, weight_mask: Mask, inputs: Mask | int, mode: Gemms) -> OpCycles:
        array = self._array(op.dtype)
        span = int(mode.per_pe(array.macs)[0][0])
        array = array if mode.sparse[0] else replace(array, decode=0)
        found = self.dataflow.cycles_with_masks(weight_mask, inputs, array, span)
        loaded = math.ceil(found.weights_loaded * self._weight_bits(op, mode))
        streamed = found.inputs_streamed * min(array.rows * span, weight_mask.shape[1]) * op.dtype.bits
        counts = ActionCounts({mac_action(op.dtype): found.macs, SRAM: -(-(loaded + streamed) // 8)})
        return OpCycles(found.cycles, found.utilization, counts)


def _known(quantity: Quantity | None) -> float:
    if quantity is None:
        raise SpecError("a systolic array needs skew and overlap", key="array")
    return quantity.si


def _dtypes(ops: Sequence[Op]) -> list[DType]:
    """Element types that the array works in."""
    return sorted({op.dtype for op in ops if op.unit is Unit.MATRIX})
