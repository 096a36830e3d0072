# SPDX-License-Identifier: Apache-2.0
"""Paged caches of keys and values: blocks of requests, and prefixes that stay for the next request."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from simsparse.errors import SpecError


class PrefixCache:
    """Blocks by id, the least recently used of those that no request holds evicted first.

    ``capacity`` blocks in all; None without limit. A block is a hit where it and all blocks before it in the prompt are
    there. Source: the block manager of vLLM; hit ratios on a public trace are exact oracles in the tests.
    """

    def __init__(self, capacity: int | None = None) -> None:
        self.capacity = capacity
        self._held: dict[int, int] = {}
        self._free: OrderedDict[int, None] = OrderedDict()
        self.lookups = self.hits = 0

    def __len__(self) -> int:
        return len(self._held) + len(self._free)

    @property
    def held(self) -> int:
        """Blocks that some request holds."""
        return len(self._held)

    def matched(self, ids: Sequence[int]) -> int:
        """Leading blocks of ``ids`` that are there."""
        for count, block in enumerate(ids):
            if block not in self._held and block not in self._free:
                return count
        return len(ids)

    def hold(self, ids: Sequence[int], room: int | None = None) -> int:
        """Hold the blocks of a prompt, new ones in place of the least recently used; returns the leading hits.

        ``room``: blocks that the cache may take in all, where other uses of the memory leave fewer than its capacity.
        """
        found = self.matched(ids)
        self.lookups += len(ids)
        self.hits += found
        for block in ids:
            self._free.pop(block, None)
            self._held[block] = self._held.get(block, 0) + 1
        self.trim(self.capacity if room is None else room)
        return found

    def release(self, ids: Sequence[int]) -> None:
        """Let go of a prompt's blocks; those that no request holds stay until others need their room."""
        for block in ids:
            left = self._held[block] - 1
            if left:
                self._held[block] = left
            else:
                del self._held[block]
                self._free[block] = None
        self.trim(self.capacity)

    def trim(self, room: int | None) -> None:
        """Evict the least recently used blocks that no request holds until at most ``room`` are left."""
        while room is not None and self._free and len(self) > room:
            self._free.popitem(last=False)

    @property
    def hit_ratio(self) -> float:
        """Blocks found over blocks looked up; 0 before the first."""
        return self.hits / self.lookups if self.lookups else 0.0


class BlockPool:
    """The memory of one replica in blocks of ``block`` tokens; ``blocks`` in all, None without limit.

    Requests hold blocks of their own and, with ``prefixes``, shared blocks of prompts.
    """

    def __init__(self, blocks: int | None, block: int = 16, prefixes: bool = False) -> None:
        if block < 1 or (blocks is not None and blocks < 1):
            raise SpecError(f"{blocks} blocks of {block} tokens; expected 1 or more of each", key="kv")
        self.blocks, self.block = blocks, block
        self.prefixes = PrefixCache(blocks) if prefixes else None
        self.private = 0

    def of_tokens(self, tokens: int) -> int:
        """Blocks that ``tokens`` of one request take."""
        return -(-tokens // self.block)

    @property
    def used(self) -> int:
        """Blocks that requests hold."""
        return self.private + (self.prefixes.held if self.prefixes else 0)

    @property
    def free(self) -> int | None:
        """Blocks that a request may still take; None without limit."""
        return None if self.blocks is None else self.blocks - self.used

    def fits(self, blocks: int) -> bool:
        """Whether ``blocks`` more fit."""
        return self.blocks is None or self.used + blocks <= self.blocks

    def take(self, blocks: int) -> None:
        """Hold ``blocks`` more; cached prefixes that no request holds make room."""
        self.private += blocks
        if self.prefixes is not None and self.blocks is not None:
            self.prefixes.trim(self.blocks - self.private)

    def give(self, blocks: int) -> None:
        """Let go of ``blocks``."""
        self.private -= blocks
