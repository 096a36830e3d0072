# SPDX-License-Identifier: Apache-2.0
"""One call of an aten function, as the lowerings see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simsparse.core import Op
from simsparse.trace.capture.event import Access, EventRole

if TYPE_CHECKING:
    import torch

    from simsparse.trace.capture.recorder import Capture


@dataclass(frozen=True)
class Call:
    """One aten call: its short name, overload, arguments, input tensors, what it wrote and what it returned."""

    name: str
    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: list[torch.Tensor]
    outputs: list[torch.Tensor]
    out: Any
    in_place: bool

    @property
    def given(self) -> dict[str, Any]:
        """The arguments by their names in the schema, those left to their defaults not."""
        names = [argument.name for argument in self.func._schema.arguments]
        return dict(zip(names, self.args, strict=False)) | self.kwargs

    def add(
        self, capture: Capture, role: EventRole, reads: list[Access], flops: int = 0, op: Op | None = None,
        weights: Sequence[torch.Tensor] = (),
    ) -> None:  # fmt: skip
        """Record the call as one event, which reads ``weights`` as such."""
        capture.add(role, self.name, reads, self.outputs, flops, op, weights=weights)

    def reads(self, capture: Capture) -> list[Access]:
        """All that the input tensors show."""
        return [capture.access(tensor) for tensor in self.inputs]
