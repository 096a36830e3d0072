# SPDX-License-Identifier: Apache-2.0
"""A recurrent layer as the products that it consists of, free of torch: what importers add for an opaque LSTM or GRU.

Libraries run one product of all inputs with the input weights, then at each step a product of the hidden state with the
recurrent weights and what turns both into the next state. The recurrent weights are read anew at every step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simsparse.core import DType, Op, ops
from simsparse.core.tensor import bytes_of
from simsparse.errors import TraceError

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
FLOPS_PER_STATE = {"lstm": 9, "gru": 8, "rnn_tanh": 2, "rnn_relu": 2}
"""A hidden element a step, products and biases apart: sums of the two products, activations, and
for an LSTM c = f c + i g and h = o tanh(c), for a GRU h = (1 - z) n + z h."""
MAX_STEPS = 50_000
"""Steps of one layer and direction: each is two ops or three."""


@dataclass(frozen=True)
class RecurrentLayer:
    """One direction of one layer: ``steps`` of ``batch`` inputs of ``width``, ``hidden`` elements of state.

    ``state`` is what the recurrent weights multiply: ``hidden``, or less where a projection follows. ``into``,
    ``recurrent`` and ``projection`` are fields of the ops that read those weights (sparsity, bias, type, name).
    """

    kind: str
    steps: int
    batch: int
    width: int
    hidden: int
    dtype: DType
    state: int = 0
    into: Mapping[str, Any] = field(default_factory=dict)
    recurrent: Mapping[str, Any] = field(default_factory=dict)
    projection: Mapping[str, Any] | None = None

    def ops(self) -> list[Op]:
        """The layer's ops, each after the one before it. Raises TraceError beyond MAX_STEPS steps."""
        if self.steps > MAX_STEPS:
            raise TraceError(f"{self.steps} steps; at most {MAX_STEPS} are written out")
        gates, state = GATES[self.kind] * self.hidden, self.state or self.hidden
        step = [ops.linear(self.batch, gates, state, self.dtype, name="recurrent", **self.recurrent), self._cell()]
        if self.projection is not None:
            step.append(ops.linear(self.batch, state, self.hidden, self.dtype, name="projection", **self.projection))
        return [
            ops.linear(self.steps * self.batch, gates, self.width, self.dtype, name="input", **self.into),
            *(step * self.steps),
        ]

    def _cell(self) -> Op:
        """From the products of a step to its state; an LSTM keeps a cell beside it, a GRU reads the state before."""
        states = self.batch * self.hidden
        kept = states if self.kind in ("lstm", "gru") else 0
        read, written = 2 * GATES[self.kind] * states + kept, states + (kept if self.kind == "lstm" else 0)
        return ops.elementwise(
            bytes_of(read, self.dtype), bytes_of(written, self.dtype), FLOPS_PER_STATE[self.kind] * states, self.dtype,
            label=f"{self.kind}_cell", name="cell",
        )  # fmt: skip
