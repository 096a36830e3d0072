# SPDX-License-Identifier: Apache-2.0
"""What a serving engine does beside its kernels, in numbers: its host's work, its captured sizes, its memory."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from simsparse.config.engine import EnginePart, load_engine
from simsparse.serving.all_reduce import OwnAllReduce
from simsparse.serving.attention import OwnAttention


@dataclass(frozen=True)
class Engine:
    """Parameters of an engine, in seconds and tokens.

    ``step_s``: host work of a step during which the device waits. ``sequence_s``: more of it per sequence.
    ``kernel_s``: the device's pause between two kernels of a step beyond what the operators' times hold.
    ``ahead``: each step is planned while the one before it runs.
    ``buckets``: batch sizes of captured decode steps, a step is padded to the next, and replayed; empty
    without captured sizes.
    ``pad``: prompts are padded to a multiple. ``memory``: share of the device's memory that weights and cache may take.
    ``attention``: of sequences that decode, ``all_reduce``: of ranks on one board, where the engine has its own.
    """

    name: str = "none"
    step_s: float = 0.0
    sequence_s: float = 0.0
    kernel_s: float = 0.0
    ahead: bool = False
    buckets: tuple[int, ...] = ()
    pad: int = 1
    memory: float = 0.9
    attention: OwnAttention | None = None
    all_reduce: OwnAllReduce | None = None
    assumed: tuple[str, ...] = ()

    @classmethod
    def named(cls, name: str | Engine) -> Engine:
        """The engine called ``name``, of a file under hw_models/engines. Raises SpecError."""
        return name if isinstance(name, Engine) else cls.of(load_engine(name))

    @classmethod
    def of(cls, part: EnginePart) -> Engine:
        """The engine of a file."""
        return cls(part.name, part.step.si, part.sequence.si, part.kernel.si, part.ahead, part.buckets,
                   part.pad, part.memory.si, OwnAttention.of(part.attention) if part.attention else None,
                   OwnAllReduce.of(part.all_reduce) if part.all_reduce else None,
                   tuple(f"{part.name}.{text}" for text in part.assumed))  # fmt: skip

    @property
    def waits_for_longest(self) -> bool:
        """Whether a decode step takes longer where one sequence is longer than others."""
        return self.attention is not None and self.attention.pieces is not None

    def padded(self, sequences: int) -> int:
        """Sequences of the captured step that runs ``sequences``; these themselves beyond the largest."""
        at = bisect_left(self.buckets, sequences)
        return self.buckets[at] if at < len(self.buckets) else sequences

    def padded_prompt(self, tokens: int) -> int:
        """Tokens of a prompt as it is read."""
        return tokens + -tokens % self.pad

    def replays(self, sequences: int, chunks: int) -> bool:
        """Whether a step is replayed from a graph whatever the stack: it only decodes, in a captured size."""
        return not chunks and bool(self.buckets) and sequences <= self.buckets[-1]
