# SPDX-License-Identifier: Apache-2.0
"""LSTM, GRU and plain RNN layers as the products that they consist of.

torch runs them as one opaque call on some devices and step by step on others. Recorded is what
libraries do: one product of all inputs of a layer and direction with its input weights, then a
product of the hidden state with the recurrent weights a step, and what turns both into the next
state. The recurrent weights are read anew at every step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from simsparse.core.kinds.elementwise import elementwise
from simsparse.core.kinds.linear import linear
from simsparse.trace.capture.event import EventRole
from simsparse.trace.capture.label import path_join
from simsparse.trace.recurrent import FLOPS_PER_STATE, GATES

if TYPE_CHECKING:
    from simsparse.trace.capture.recorder import Capture


@dataclass(frozen=True)
class _Rnn:
    """Arguments of torch's functions: ``sizes`` of the batch at each step, longest sequence first."""

    data: torch.Tensor
    sizes: tuple[int, ...]
    weights: Sequence[torch.Tensor]
    biased: bool
    layers: int
    directions: int

    @classmethod
    def parse(cls, args: Sequence[Any]) -> _Rnn:
        if isinstance(args[1], torch.Tensor) and args[1].dtype == torch.int64 and args[1].dim() == 1:
            data, sizes, _, weights, biased, layers, *_, both = args
            return cls(data, tuple(sizes.tolist()), weights, biased, layers, 2 if both else 1)
        data, _, weights, biased, layers, *_, both, batch_first = args
        steps, batch = (data.shape[1], data.shape[0]) if batch_first else (data.shape[0], data.shape[1])
        return cls(data, (batch,) * steps, weights, biased, layers, 2 if both else 1)

    def empty(self, rows: int, width: int) -> torch.Tensor:
        """Stands for a value of the layer: shape and type without data."""
        return torch.empty(rows, width, dtype=self.data.dtype, device="meta")

    def layer_weights(self) -> Iterator[Sequence[torch.Tensor]]:
        """Input, recurrent (and projection) weights with their biases, a layer and direction at a time."""
        each = len(self.weights) // (self.layers * self.directions)
        edges = range(0, len(self.weights) + 1, each)
        return (self.weights[start:end] for start, end in pairwise(edges))


class RnnCalls(TorchFunctionMode):  # type: ignore[misc]
    """Records each call of an RNN layer as its products; in a training step torch's own steps are recorded."""

    def __init__(self, capture: Capture) -> None:
        super().__init__()
        self._capture = capture

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given, capture = kwargs or {}, self._capture
        kind = _KINDS.get(func)
        if kind is None or capture.is_paused:
            return func(*args, **given)
        if capture.stage:
            with _step_by_step():
                return func(*args, **given)
        with capture.paused():
            outputs = func(*args, **given)
            record_rnn(capture, kind, args, outputs)
        return outputs


@contextmanager
def _step_by_step() -> Iterator[None]:
    """Without oneDNN, which runs a whole LSTM as one operation."""
    enabled = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(enabled)


def record_rnn(capture: Capture, kind: str, args: Sequence[Any], outputs: Sequence[torch.Tensor]) -> None:
    """Record a call of torch.lstm, gru, rnn_tanh or rnn_relu with positional ``args``."""
    rnn = _Rnn.parse(args)
    below, made = [rnn.data], list[torch.Tensor]()
    for number, weights in enumerate(rnn.layer_weights()):
        layer, backwards = divmod(number, rnn.directions)
        results = outputs if number == rnn.layers * rnn.directions - 1 else ()
        made.append(_direction(capture, kind, rnn, (layer, backwards), weights, below, made, results))
        if backwards == rnn.directions - 1:
            below, made = made, []


def _direction(
    capture: Capture, kind: str, rnn: _Rnn, place: tuple[int, int], weights: Sequence[torch.Tensor],
    below: Sequence[torch.Tensor], other: Sequence[torch.Tensor], results: Sequence[torch.Tensor],
) -> torch.Tensor:  # fmt: skip
    """Record one direction of one layer, and ``results`` as made by its last step; returns its last state.

    ``below``: last states of the layer below, or the input. ``other``: last state of the other
    direction, which the results wait for.
    """
    into, recurrent = weights[:2]
    projection = weights[-1] if len(weights) == 3 + 2 * rnn.biased else None
    name, gates = f"l{place[0]}{'_reverse' * place[1]}", recurrent.shape[0]
    inputs = rnn.empty(sum(rnn.sizes), gates)
    _product(capture, f"{name}.input", sum(rnn.sizes), into, below, inputs, rnn.biased)
    before: list[torch.Tensor] = []
    for step, batch in enumerate(rnn.sizes):
        last = results if step == len(rnn.sizes) - 1 else ()
        product, state = rnn.empty(batch, gates), rnn.empty(batch, gates // GATES[kind])
        _product(capture, f"{name}.recurrent", batch, recurrent, before, product, rnn.biased)
        read = [inputs, product, *(other if last else ())]
        _cell(capture, kind, f"{name}.cell", read, [state, *(() if projection is not None else last)])
        if projection is not None:
            cell, state = state, rnn.empty(batch, projection.shape[0])
            _product(capture, f"{name}.projection", batch, projection, [cell], state, False, last)
        before = [state]
    return before[0]


def _product(
    capture: Capture, name: str, m: int, weight: torch.Tensor, reads: Sequence[torch.Tensor], made: torch.Tensor,
    biased: bool, results: Sequence[torch.Tensor] = (),
) -> None:  # fmt: skip
    n, k = weight.shape
    sparsity, stats = capture.weight_facts(weight)
    op = linear(
        m, n, k, capture.dtype(made), weight_sparsity=sparsity, name=path_join(capture.module, name),
        module=capture.module, weight=capture.weight_name(weight), bias=biased, stats=stats,
    )  # fmt: skip
    read = [*map(capture.access, reads), capture.access(weight)]
    capture.add(EventRole.OWN, "rnn", read, [made, *results], op=op, weights=[weight])


def _cell(capture: Capture, kind: str, name: str, reads: Sequence[torch.Tensor], made: Sequence[torch.Tensor]) -> None:
    """From the products of a step to its state; an LSTM keeps a cell beside it."""
    states, gates, size = made[0].numel(), reads[1].numel(), made[0].element_size()
    kept = states if kind in ("lstm", "gru") else 0
    op = elementwise(
        (2 * gates + kept) * size, (states + (kept if kind == "lstm" else 0)) * size, FLOPS_PER_STATE[kind] * states,
        capture.dtype(made[0]), label=f"{kind}_cell", name=path_join(capture.module, name), module=capture.module,
    )  # fmt: skip
    capture.add(EventRole.OWN, "rnn", [capture.access(tensor) for tensor in reads], list(made), op=op)


_KINDS: Mapping[Any, str] = {
    torch.lstm: "lstm", torch.gru: "gru", torch.rnn_tanh: "rnn_tanh", torch.rnn_relu: "rnn_relu",
}  # fmt: skip
