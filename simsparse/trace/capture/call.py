# SPDX-License-Identifier: Apache-2.0
"""One call of an aten function, as the lowerings see it, and what its schema says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from simsparse.core import Op
from simsparse.trace.capture.event import Access, EventRole

if TYPE_CHECKING:
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


def tensors_in(tree: Any) -> list[torch.Tensor]:
    """The tensors in nested tuples, lists and mappings, in order."""
    if isinstance(tree, torch.Tensor):
        return [tree]
    if isinstance(tree, (tuple, list)):
        return [tensor for branch in tree for tensor in tensors_in(branch)]
    if isinstance(tree, Mapping):
        return [tensor for branch in tree.values() for tensor in tensors_in(branch)]
    return []


@dataclass(frozen=True)
class SchemaFacts:
    """What an aten function's schema says: its short name, which arguments it writes, and which of them are ``out``."""

    name: str
    written: tuple[tuple[int, str], ...]
    out: tuple[str, ...]


@lru_cache(maxsize=4096)
def signature_of(func: Any) -> SchemaFacts:
    """The signature of an aten overload."""
    written = [
        (i, argument) for i, argument in enumerate(func._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]  # fmt: skip
    return SchemaFacts(
        func._schema.name.split("::")[1], tuple((i, argument.name) for i, argument in written),
        tuple(argument.name for _, argument in written if argument.is_out),
    )  # fmt: skip


def given_to_write(signature: SchemaFacts, args: Any, kwargs: dict[str, Any]) -> list[torch.Tensor]:
    """The tensors given for the arguments that are written."""
    given = (args[i] if i < len(args) else kwargs.get(name) for i, name in signature.written)
    return [tensor for value in given for tensor in tensors_in(value)]
