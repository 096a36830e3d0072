# SPDX-License-Identifier: Apache-2.0
"""What a replica is made of: costs of steps, memory for caches, and the rule that batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from simsparse.errors import SimulationError, SpecError, nearest
from simsparse.lowering.machine import Machine
from simsparse.lowering.stacks import Stack
from simsparse.policies.batching import Batching
from simsparse.serving.book import Book
from simsparse.serving.clock import PowerClock
from simsparse.serving.costs import Costs, OpCosts
from simsparse.serving.engine import Engine
from simsparse.serving.kv import BlockPool
from simsparse.serving.model import ServedModel
from simsparse.serving.replica import Replica
from simsparse.units import bytes_text


@dataclass(frozen=True)
class CacheOptions:
    """Blocks of a replica's cache: ``block`` tokens each, ``blocks`` in all (None: what the memory has room for),
    ``prefix_cache``: blocks of prompts stay for requests with the same prefix."""

    block: int = 16
    blocks: int | None = None
    prefix_cache: bool = False

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> CacheOptions:
        """From a mapping. Raises SpecError on a key that is not known."""
        known = ("block", "blocks", "prefix_cache")
        if unknown := next((name for name in options if name not in known), None):
            raise SpecError(f"{unknown!r} is not known here; {nearest(unknown, known)}", key="kv")
        return cls(**options)


@lru_cache(maxsize=16)
def _costs(machine: Machine, model: ServedModel, calls: bool, attention: tuple[float, float] | None) -> Costs:
    """Costs, kept for the next run of a sweep over rates or limits."""
    return Costs(model, OpCosts.of(machine, calls), attention)


@dataclass(frozen=True)
class Build:
    """How to build replicas; ``machine`` is what one of the ``ranks`` of a replica sees."""

    machine: Machine
    model: ServedModel
    batching: Batching
    engine: Engine
    stack: Stack
    memory: CacheOptions
    ranks: int = 1

    @cached_property
    def costs(self) -> Costs:
        """Costs of steps, shared by all replicas."""
        return _costs(self.machine, self.model, not self.stack.graph, self.engine.attention)

    @cached_property
    def kv_blocks(self) -> int | None:
        """Blocks of one replica. Raises SimulationError when the weights leave no room."""
        if self.memory.blocks is not None:
            return self.memory.blocks
        capacity = self.costs.ops.device.memory_bytes
        if capacity is None:
            return None
        room = capacity * self.engine.memory - self.model.weight_bytes
        blocks = int(room // (self.memory.block * self.model.kv_bytes_per_token))
        if blocks < 1:
            raise SimulationError(
                f"{self.model.name} has {bytes_text(self.model.weight_bytes)} of weights; {self.engine.memory:.0%} of "
                f"the memory of {self.costs.ops.device.part.name} leave no room for a cache"
            )
        return blocks

    def replica(self, book: Book, on_end: Callable[[int, float], None] | None = None) -> Replica:
        """A replica that has not run yet."""
        pool = BlockPool(self.kv_blocks, self.memory.block, self.memory.prefix_cache)
        power = PowerClock(self.engine.kernel_s, self.costs.ops.device.power_budget)
        return Replica(self.costs, self.batching, pool, self.engine, book, power, on_end)
