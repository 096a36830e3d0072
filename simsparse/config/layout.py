# SPDX-License-Identifier: Apache-2.0
"""Parallel layouts: over how many GPUs a model is split, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import cached_property
from typing import Any

from simsparse.core.tensor import whole
from simsparse.errors import SpecError, nearest

MAX_RANKS = 1 << 20


class Schedule(StrEnum):
    """In which order the stages of a pipeline take micro-batches."""

    ONE_F_ONE_B = "1f1b"
    GPIPE = "gpipe"
    INTERLEAVED = "interleaved"


class Exchange(StrEnum):
    """How an all-to-all goes: every GPU to every other, in two dimensions, by one GPU of each node, or by one-sided
    kernels."""

    LINEAR = "linear"
    TWO_D = "2dh"
    LEADER = "leader"
    PUTS = "puts"


class GradientSync(StrEnum):
    """When gradients are added up over replicas: beside the backward pass, layer by layer, or after it."""

    BESIDE = "beside"
    AFTER = "after"


@dataclass(frozen=True)
class Layout:
    """How many ranks each way of splitting has, and what a training step does beside.

    ``tp``: ranks that split each matrix; ``cp``: each sequence; ``dp``: replicas, each with inputs of its own; ``pp``:
    stages of layers. Ranks are numbered in this order, those of ``tp`` next to each other. ``ep``: ranks among which
    the experts of a layer are dealt out, neighbours across tp, cp and dp; 1: every rank has its part of all of them.
    ``esp``: neighbours that split each expert; groups of so many take the place of the ranks of ``ep``.
    ``materialized``: experts with most rows that every rank gets for each pass, beside those dealt out.
    ``micro``: micro-batches of a training step, each as large as the trace. ``schedule`` and ``chunks`` (pieces of each
    stage, of the interleaved one) are those of the pipeline. ``zero``: 1 splits optimizer states over dp, 2 gradients
    too, 3 parameters too (FSDP). ``recompute``: activations of a layer are computed anew in the backward pass.
    ``sync``: when gradients are added up. ``exchange``: the algorithm of all-to-alls between nodes. ``degree``: pieces
    in which an expert layer's exchanges and experts follow one another. Raises SpecError.
    """

    tp: int = 1
    cp: int = 1
    dp: int = 1
    pp: int = 1
    ep: int = 1
    esp: int = 1
    materialized: int = 0
    micro: int = 1
    schedule: str = Schedule.ONE_F_ONE_B
    chunks: int = 1
    zero: int = 0
    recompute: bool = False
    sync: str = GradientSync.BESIDE
    exchange: str = Exchange.LINEAR
    degree: int = 1

    def __post_init__(self) -> None:
        for key in ("tp", "cp", "dp", "pp", "ep", "esp", "micro", "chunks", "degree"):
            self._number(key, 1, MAX_RANKS)
        self._number("zero", 0, 3)
        self._number("materialized", 0, MAX_RANKS)
        if not isinstance(self.recompute, bool):
            raise SpecError(f"{self.recompute!r:.80} is not true or false", key="parallel.recompute")
        for key, allowed in (("schedule", Schedule), ("exchange", Exchange), ("sync", GradientSync)):
            if getattr(self, key) not in list(allowed):
                raise SpecError(f"{getattr(self, key)!r:.80} is unknown; {nearest(str(getattr(self, key)), allowed)}",
                                key=f"parallel.{key}")  # fmt: skip
        if self.stage_ranks % self.expert_ranks:
            raise SpecError(f"ep x esp = {self.expert_ranks} does not divide tp x cp x dp = {self.stage_ranks}",
                            key="parallel.ep")  # fmt: skip
        if self.materialized and (self.expert_ranks <= self.tp or self.esp > 1):
            raise SpecError("is for whole experts that several replicas share, ep above tp and esp 1",
                            key="parallel.materialized")  # fmt: skip
        if self.ranks > MAX_RANKS:
            raise SpecError(f"{self.ranks} ranks; at most {MAX_RANKS}", key="parallel")
        if self.chunks > 1 and self.schedule != Schedule.INTERLEAVED:
            raise SpecError("is for the interleaved schedule alone", key="parallel.chunks")

    def _number(self, key: str, least: int, most: int) -> None:
        value = whole(getattr(self, key))
        if value is None or not least <= value <= most:
            raise SpecError(f"{getattr(self, key)!r:.80} is not a whole number from {least} to {most}",
                            key=f"parallel.{key}")  # fmt: skip

    @property
    def stage_ranks(self) -> int:
        """Ranks of one stage."""
        return self.tp * self.cp * self.dp

    @property
    def expert_ranks(self) -> int:
        """Ranks that have one copy of all experts of a layer."""
        return self.ep * self.esp

    @property
    def ranks(self) -> int:
        """All ranks."""
        return self.stage_ranks * self.pp

    @cached_property
    def said(self) -> dict[str, Any]:
        """What differs from one GPU."""
        return {
            each.name: getattr(self, each.name) for each in fields(self) if getattr(self, each.name) != each.default
        }

    def __str__(self) -> str:
        words = (
            f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in self.said.items()
        )
        return " ".join(words)

    @classmethod
    def parse(cls, said: str | Mapping[str, Any] | Layout) -> Layout:
        """The layout of a mapping, of a text such as ``tp=2 ep=4``, or itself. Raises SpecError."""
        if isinstance(said, Layout):
            return said
        given = _of_text(said) if isinstance(said, str) else said
        if not isinstance(given, Mapping):
            raise SpecError(f"{said!r:.80} is no layout; expected a mapping such as {{tp: 2, ep: 4}}", key="parallel")
        known = [each.name for each in fields(cls)]
        if unknown := next((key for key in given if key not in known), None):
            raise SpecError(f"{unknown!r:.80} is no part of a layout; {nearest(str(unknown), known)}", key="parallel")
        return cls(**{str(key): value for key, value in given.items()})


def _of_text(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for word in text.replace(",", " ").split():
        key, equals, value = word.partition("=")
        if not equals or key in found:
            raise SpecError(f"{word!r:.80} is not KEY=VALUE, each key once; expected a text such as tp=2 ep=4",
                            key="parallel")  # fmt: skip
        found[key] = int(value) if value.isdigit() else {"true": True, "false": False}.get(value, value)
    return found
