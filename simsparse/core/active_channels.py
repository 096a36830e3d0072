# SPDX-License-Identifier: Apache-2.0
"""Activation sparsity by channels: each token uses its largest inputs, and kernels read the weights of these alone.

A statement is a share of the inputs of each linear layer, how they are chosen (``topk``, or ``threshold``, which the
kernel itself compares with), and the rank of what stands for the rest, if anything: ``0.5``, ``0.6 topk``,
``0.5 threshold rank=128``. Tokens of a step choose alike only by chance: a layer reads the channels that any of its
tokens uses.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simsparse.core.kind import OpKind
from simsparse.core.kinds.linear import linear
from simsparse.core.kinds.topk import topk
from simsparse.errors import SpecError

if TYPE_CHECKING:
    from simsparse.core.op import Op

_SYNTAX = re.compile(r"(\d*\.?\d+)(?: (topk|threshold))?(?: rank=(\d{1,6}))?")
STEP = 64
"""Channels that a step of a kernel takes together, so that it never reads weights that are not aligned; assumed."""
MOST_TOKENS = 16
"""Tokens of a step above which layers read all channels. Source: kernels of TEAL and of Deja Vu, made for few."""


@dataclass(frozen=True)
class ActiveChannels:
    """A ``share`` of the inputs of a layer, chosen by sorting (``sorts``) or by a threshold; ``rank`` of the rest."""

    share: float
    sorts: bool = False
    rank: int = 0

    @classmethod
    def parse(cls, text: str) -> ActiveChannels:
        """From text. Raises SpecError."""
        match = _SYNTAX.fullmatch(text)
        if match is None or not 0 < float(match[1]) <= 1:
            raise SpecError(
                f"{text!r:.80} is no share of channels; expected SHARE, then topk or threshold, then rank=R",
                key="active_channels",
            )
        return cls(float(match[1]), match[2] == "topk", int(match[3] or 0))

    def __str__(self) -> str:
        chosen = "topk" if self.sorts else "threshold"
        return f"{self.share:g} {chosen}" + (f" rank={self.rank}" if self.rank else "")

    def applied(self, op: Op, words: Sequence[str], sorted_: set[tuple[str, ...]]) -> Sequence[Op]:
        """What a linear layer of few tokens becomes; ``op`` alone where it is none, or named by one of ``words``.

        ``sorted_``: where the inputs that have been sorted come from, which layers with the same inputs share.
        """
        named = f"{op.module} {op.name} {op.label}"
        if op.kind != OpKind.LINEAR or op.dims["m"] > MOST_TOKENS or any(word in named for word in words):
            return (op,)
        m, n, k = (op.dims[dim] for dim in ("m", "n", "k"))
        used = min(k, STEP * math.ceil(k * (1 - (1 - self.share) ** m) / STEP))
        read = op.with_(dims={**op.dims, "k": used, "held_k": k}, kernels=())
        found = []
        if self.sorts and op.deps not in sorted_:
            sorted_.add(op.deps)
            kept = max(1, round(k * self.share))
            found.append(topk(m, k, kept, op.dtype, name=f"{op.name}.channels", module=op.module))
        if self.rank:
            for part, rows, cols in (("rest_down", self.rank, k), ("rest_up", n, self.rank)):
                found.append(linear(m, rows, cols, op.dtype, name=f"{op.name}.{part}", module=op.module))
        return (*found, read)
