# SPDX-License-Identifier: Apache-2.0
"""What a replica is made of: costs of steps, memory for caches, and the rule that batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from simsparse.devices.base import Device
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
from simsparse.serving.simulated import SimulatedCosts, WholeModel
from simsparse.sources.options import whole
from simsparse.units import bytes_text, fs_to_seconds

RESIDENT = "resident"
"""The policy of weights that rest on the device."""


@dataclass(frozen=True)
class CacheOptions:
    """Blocks of a replica's cache: ``block`` tokens each, ``blocks`` in all (None: what the memory has room for),
    ``prefix_cache``: blocks of prompts stay for requests with the same prefix, ``swap``: caches of sequences that lose
    their place go to the host and come back."""

    block: int = 16
    blocks: int | None = None
    prefix_cache: bool = False
    swap: bool = False

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> CacheOptions:
        """From a mapping. Raises SpecError on a key that is not known."""
        known = ("block", "blocks", "prefix_cache", "swap")
        if unknown := next((name for name in options if name not in known), None):
            raise SpecError(f"{unknown!r} is not known here; {nearest(unknown, known)}", key="kv")
        blocks = options.get("blocks")
        return cls(whole("block", options.get("block", cls.block)), None if blocks is None else whole("blocks", blocks),
                   bool(options.get("prefix_cache")), bool(options.get("swap")))  # fmt: skip


@lru_cache(maxsize=16)
def _costs(machine: Machine, model: ServedModel, calls: bool, engine: Engine) -> Costs:
    """Costs, kept for the next run of a sweep over rates or limits."""
    return Costs(model, OpCosts.of(machine, calls, engine.all_reduce), engine.attention)


@lru_cache(maxsize=16)
def _simulated(machine: Machine, model: ServedModel, stack: Stack, residency: str) -> SimulatedCosts:
    return SimulatedCosts(model, WholeModel(machine, stack, residency))


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
    residency: str = RESIDENT

    @cached_property
    def costs(self) -> Costs | SimulatedCosts:
        """Costs of steps, shared by all replicas."""
        if self.is_whole:
            return _simulated(self.machine, self.model, self.stack, self.residency)
        return _costs(self.machine, self.model, not self.stack.graph, self.engine)

    @property
    def is_whole(self) -> bool:
        """Whether steps are simulated as a whole: of several devices that compute, or with weights elsewhere."""
        return len(self.machine.processors) > 1 or self.residency != RESIDENT

    @property
    def device(self) -> Device:
        """The first processor."""
        return self.machine.devices[self.machine.processors[0]].model

    @cached_property
    def kv_blocks(self) -> int | None:
        """Blocks of one replica. Raises SimulationError when the weights leave no room."""
        if self.memory.blocks is not None:
            return self.memory.blocks
        capacity = self.device.memory_bytes
        if capacity is None or self.is_whole:
            return None
        room = capacity * self.engine.memory - self.model.weight_bytes
        blocks = int(room // (self.memory.block * self.model.kv_bytes_per_token))
        if blocks < 1:
            raise SimulationError(
                f"{self.model.name} has {bytes_text(self.model.weight_bytes)} of weights; {self.engine.memory:.0%} of "
                f"the memory of {self.device.part.name} leave no room for a cache"
            )
        return blocks

    def replica(self, book: Book, on_end: Callable[[int, float], None] | None = None) -> Replica:
        """A replica that has not run yet."""
        pool = BlockPool(self.kv_blocks, self.memory.block, self.memory.prefix_cache)
        power = PowerClock(self.engine.kernel_s, None if self.is_whole else self.device.power_budget)
        swap_s = self.swap_s if self.memory.swap else None
        return Replica(self.costs, self.batching, pool, self.engine, book, power, on_end, swap_s=swap_s)

    def swap_s(self, tokens: int) -> float:
        """Seconds in which the cache of ``tokens`` goes to the host or back. Raises SpecError without a host."""
        host = self.machine.host
        if host is None:
            raise SpecError(f"{self.machine.system.name} has no host for caches", key="kv.swap")
        moved = tokens * self.model.kv_bytes_per_token
        return fs_to_seconds(self.machine.copy_fs(self.machine.processors[0], host, moved))
