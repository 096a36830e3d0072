# SPDX-License-Identifier: Apache-2.0
"""Accelerators that are described as an array below memories: each layer runs as the mapper finds best.

Left out: a limit on what the host's descriptors allow, operands that stay on chip from one operator to the next, fusion
of operators. Sparse activations are multiplied as dense ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np

from simsparse.config.parts.spatial import SpatialPart
from simsparse.core import Action, Op, Unit
from simsparse.devices.accelerator import FLOP, mac_action
from simsparse.devices.base import DEVICES, CopyRates, CostArrays, Device, whole_counts
from simsparse.devices.memory import READ, WRITE
from simsparse.devices.roofline import dominant, require_supported
from simsparse.mapper.layer import layers_of
from simsparse.mapper.machine import SpatialMachine
from simsparse.mapper.search import MappedLayer, MappingObjective, map_layer
from simsparse.sparsity.patterns.nm import NM

_NO_MEMORY = ("array", "control", "ends")
"""Parts of a mapping's cycles that wait for no memory."""


@DEVICES.register("spatial")
class Spatial(Device):
    """A part of kind ``spatial``; its control says whether mappings are chosen by latency, energy or both."""

    kind: ClassVar[str] = "spatial"
    op_kinds = frozenset(
        {"linear", "conv2d", "matmul", "attention", "block_sparse_attention", "moe_ffn", "elementwise", "other",
         "norm", "softmax", "reduce"}
    )  # fmt: skip
    refusals: ClassVar[Mapping[str, str]] = {
        "gather": "its mapper takes products and convolutions, and nothing in it fetches rows by index",
        "topk": "its vector unit does not sort",
        "scan": "its vector unit takes elements that do not depend on each other, not the steps of a recurrence",
    }
    part: SpatialPart

    def unsuited(self, op: Op) -> str | None:
        if op.unit is Unit.MATRIX and op.dtype not in self.part.energy.mac:
            return f"its array has no {op.dtype} multipliers; it has {', '.join(sorted(self.part.energy.mac))}"
        d = op.definition.all_dims(op) if op.kind == "conv2d" else {}
        if d and (d["transposed"] or (d["d_in"], d["kd"]) != (1, 1)):
            return "its mapper takes convolutions over one or two axes that are not transposed"
        return None

    def skips(self, op: Op) -> bool:
        pattern = op.weight_sparsity
        return op.definition.prunable and isinstance(pattern, NM) and str(pattern) in self.part.array.patterns

    def mapped(self, op: Op) -> list[tuple[int, MappedLayer]]:
        """The mapping of each layer in ``op``, and how often the layer runs. Raises MappingError."""
        machine = self.machine(str(op.dtype))
        objective = MappingObjective(self.part.control.objective)
        return [(times, map_layer(layer, machine, objective)) for times, layer in layers_of(op, machine.patterns)]

    def cost_arrays(self, ops: Sequence[Op], level: int = 0) -> CostArrays:
        del level
        require_supported(self, ops)
        found = [self._cost(op) for op in ops]
        names = ("launch", "compute", "vector", "memory", "control")
        seconds = {name: np.array([cost[0][name] for cost in found]) for name in names}
        mapped = np.array([cost[0]["mapped"] for cost in found])
        latency = seconds["launch"] + np.maximum(mapped, np.maximum(seconds["vector"], seconds["memory"]))
        actions = sorted({action for cost in found for action in cost[1]})
        counts = {
            action: whole_counts(action, np.array([cost[1].get(action, 0.0) for cost in found])) for action in actions
        }
        return CostArrays(latency, seconds, dominant(seconds), counts, [""] * len(ops))

    def _cost(self, op: Op) -> tuple[dict[str, float], dict[Action, float]]:
        """Seconds by contributor, with those of the mapped layers as ``mapped``, and counts."""
        part, clock = self.part, self.part.clock.si
        seconds = {"launch": part.vector.launch.si, "vector": op.vector_flops / part.vector.rate.si}
        counts: dict[Action, float] = {FLOP: float(op.vector_flops)}
        if op.unit is Unit.VECTOR:
            moved = {READ: float(op.weight_bytes + op.input_bytes), WRITE: float(op.output_bytes)}
            memory = op.min_bytes / self.part.dram_bytes_per_s
            return {**seconds, "compute": 0.0, "memory": memory, "control": 0.0, "mapped": 0.0}, {**counts, **moved}
        total = dict.fromkeys(("compute", "memory", "control", "mapped"), 0.0)
        for times, one in self.mapped(op):
            total["mapped"] += times * one.cycles / clock
            total["compute"] += times * one.parts["array"] / clock
            total["control"] += times * (one.parts["control"] + one.parts["ends"]) / clock
            total["memory"] += times * sum(v for name, v in one.parts.items() if name not in _NO_MEMORY) / clock
            self._count(op, times, one, counts)
        return {**seconds, **total}, counts

    def _count(self, op: Op, times: int, one: MappedLayer, counts: dict[Action, float]) -> None:
        mac = mac_action(op.dtype)
        counts[mac] = counts.get(mac, 0.0) + times * one.layer.macs
        for level, name in enumerate(self.part.levels):
            for action, moved in zip(self._actions(level, name), (one.reads[name], one.writes[name]), strict=True):
                counts[action] = counts.get(action, 0.0) + times * moved

    @staticmethod
    def _actions(level: int, name: str) -> tuple[Action, Action]:
        """Bytes read and written at a level; the outermost is the DRAM, which copies use too."""
        return (READ, WRITE) if level == 0 else ((name, "read_byte"), (name, "write_byte"))

    def machine(self, dtype: str) -> SpatialMachine:
        """What the mapper sees, with multiply-accumulates of ``dtype``."""
        if dtype not in self._machines:
            self._machines[dtype] = SpatialMachine.of(self.part, dtype)
        return self._machines[dtype]

    @cached_property
    def _machines(self) -> dict[str, SpatialMachine]:
        return {}

    @property
    def copy_rates(self) -> CopyRates:
        return CopyRates(self.part.dram_bytes_per_s, self.part.dram_bytes_per_s)

    @property
    def prices(self) -> Mapping[Action, float]:
        found: dict[Action, float] = {mac_action(dtype): self.part.mac_j(dtype) for dtype in self.part.energy.mac}
        found[FLOP] = self.part.flop_j
        for at, name in enumerate(self.part.levels):
            read, write = self._actions(at, name)
            found[read], found[write] = self.part.level_j(name)
        return found

    @property
    def static_watts(self) -> float:
        return self.part.static_w

    @property
    def memory_bytes(self) -> int | None:
        return round(self.part.capacity.si)
