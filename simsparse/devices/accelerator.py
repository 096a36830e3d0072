# SPDX-License-Identifier: Apache-2.0
"""What accelerators with their own DRAM share: what they run, what they count and what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from simsparse.config.parts.accel import AccelPart
from simsparse.core import Action, Op, Unit
from simsparse.dataflow import Buffers
from simsparse.devices.base import CopyRates, Device
from simsparse.devices.memory import READ, WRITE

FLOP: Action = ("vector", "flop")
SRAM: Action = ("sram", "byte")
CYCLES = 2
"""The level of cycle cores."""


def mac_action(dtype: str) -> Action:
    """A multiply-accumulate of the array in ``dtype``."""
    return ("array", f"mac_{dtype}")


class Accelerator(Device):
    """An accelerator of kind ``accel``: an array, buffers, a vector unit and DRAM, as its part says."""

    kind: ClassVar[str] = "accel"
    op_kinds = frozenset(
        {"linear", "conv2d", "matmul", "attention", "block_sparse_attention", "moe_ffn", "elementwise", "other",
         "norm", "softmax", "reduce"}
    )  # fmt: skip
    refusals: ClassVar[Mapping[str, str]] = {
        "gather": "it streams tensors in order and has no unit that fetches rows by index",
        "selected_attention": "it streams tensors in order and has no unit that fetches cached tokens by index",
        "key_index": "its vector unit does not keep the best of a row",
        "topk": "its vector unit does not sort",
        "scan": "its vector unit takes elements that do not depend on each other, not the steps of a recurrence",
    }
    part: AccelPart

    def unsuited(self, op: Op) -> str | None:
        known = self.part.array.macs.keys() & self.part.energy.mac.keys()
        if op.unit is Unit.MATRIX and op.dtype not in known:
            return f"its array has no {op.dtype} multipliers; it has {', '.join(sorted(known))}"
        return None

    @property
    def decode_rates(self) -> Mapping[str, float]:
        return {name: rate.si for name, rate in (self.part.decode or {}).items()}

    @property
    def prices(self) -> Mapping[Action, float]:
        energy = self.part.prices
        macs = {mac_action(dtype): price.si for dtype, price in energy.mac.items() if price is not None}
        chip = {FLOP: energy.flop, SRAM: energy.sram_byte}
        return {**macs, **{action: price.si for action, price in chip.items() if price is not None},
                READ: energy.dram_byte.si, WRITE: energy.dram_byte.si}  # fmt: skip

    @property
    def static_watts(self) -> float:
        static = self.part.prices.static
        return static.si if static is not None else 0.0

    @property
    def copy_rates(self) -> CopyRates:
        return CopyRates.of(self.part.memory)

    @property
    def memory_bytes(self) -> int | None:
        return round(self.part.memory.capacity.si)

    @property
    def buffers(self) -> Buffers:
        """On-chip bytes of each operand."""
        sizes = self.part.buffers
        return Buffers(round(sizes.input.si), round(sizes.weight.si), round(sizes.output.si))

    @property
    def bytes_per_cycle(self) -> float:
        """Bytes that the DRAM moves in a cycle of the array."""
        memory = self.part.memory
        return memory.bandwidth.si * memory.efficiency.si / self.part.array.clock.si
