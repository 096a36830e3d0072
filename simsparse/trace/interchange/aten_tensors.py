# SPDX-License-Identifier: Apache-2.0
"""Nodes of a torch execution trace and their tensors, by the names that an operator's schema gives its arguments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from simsparse.core import DType
from simsparse.core.tensor import TensorSpec
from simsparse.errors import TraceError
from simsparse.trace.interchange import aten_names as names

_TENSOR = re.compile(r"Tensor\(((?:[^()]|\([^()]*\))*)\)")
_NONE = ("nullptr", "undefined")
_ALIAS = re.compile(r"-> \(?Tensor\([a-z]+\)(\[\])?\)?$")
_MAX_DIM = 2**40
MAX_RANK = 64
_BY_SIZE = {1: DType.INT8, 2: DType.INT16, 4: DType.INT32, 8: DType.INT64}


@dataclass(frozen=True)
class AtenTensor(TensorSpec):
    """A tensor argument; ``storage`` is None where the file does not say which.

    A complex tensor has one dim more, of its real and imaginary parts.
    """

    storage: int | None


@dataclass(frozen=True)
class AtenNode:
    """A node of an execution trace; ``inputs`` and ``outputs`` are (value, shape, type) a slot.

    ``flat`` nodes stand directly in the outermost operator, whatever lies between was lost.
    """

    id: int
    parent: int
    name: str
    schema: str = ""
    inputs: Sequence[tuple[Any, Any, str]] = ()
    outputs: Sequence[tuple[Any, Any, str]] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)
    flat: bool = False

    @cached_property
    def short(self) -> str:
        """``add`` for ``aten::add_``; "" for what is no operator."""
        space, _, name = self.name.rpartition("::")
        return name.partition(".")[0].rstrip("_") if space else ""

    @property
    def is_view(self) -> bool:
        """Whether the schema's result is its input: ``Tensor(a)``, and not written to."""
        return bool(_ALIAS.search(self.schema))

    @cached_property
    def taken(self) -> list[AtenTensor]:
        """The tensors in the arguments, those of lists in order. Raises TraceError on impossible shapes."""
        return tensors_of(self.inputs)

    @cached_property
    def made(self) -> list[AtenTensor]:
        """The tensors in the results. Raises TraceError on impossible shapes."""
        return tensors_of(self.outputs)

    @cached_property
    def read(self) -> list[AtenTensor]:
        """The tensors in the arguments but those that are given to be written alone, ``out`` of an overload."""
        given = schema_arguments(self.schema)
        if len(given) != len(self.inputs):
            return self.taken
        return tensors_of(slot for slot, (_, is_out) in zip(self.inputs, given, strict=True) if not is_out)

    @cached_property
    def arguments(self) -> dict[str, tuple[Any, Any, str]]:
        """Slots by the names of the schema, else by ``aten_names.ARGUMENTS``."""
        given: Sequence[str] = [name for name, _ in schema_arguments(self.schema)]
        if len(given) != len(self.inputs):
            given = names.ARGUMENTS.get(self.short, ())
        return dict(zip(given, self.inputs, strict=False))

    def tensor(self, *wanted: str) -> AtenTensor | None:
        """The tensor in the first of the arguments ``wanted`` that is there and is one."""
        for name in wanted:
            found = tensors_of([self.arguments[name]]) if name in self.arguments else []
            if len(found) == 1:
                return found[0]
        return None

    def value(self, name: str) -> Any:
        """The value of the argument called ``name``; None when it is not there."""
        return self.arguments[name][0] if name in self.arguments else None


@lru_cache(maxsize=4096)
def schema_arguments(schema: str) -> tuple[tuple[str, bool], ...]:
    """Names of a schema's arguments, and whether each is only written: ``*, Tensor(a!) out``."""
    inside, depth, texts = schema.partition("(")[2], 0, [""]
    for c in inside:
        depth += (c in "([") - (c in ")]")
        if depth < 0:
            break
        if c == "," and not depth:
            texts.append("")
        else:
            texts[-1] += c
    found, keyword = [], False
    for text in filter(None, map(str.strip, texts)):
        if text == "*":
            keyword = True
            continue
        name = text.partition("=")[0].split()[-1]
        found.append((name, keyword and "!" in text.partition(" ")[0]))
    return tuple(found)


def tensors_of(slots: Iterable[tuple[Any, Any, str]]) -> list[AtenTensor]:
    """The tensors in argument slots, those of lists in order. Raises TraceError on impossible shapes."""
    found: list[AtenTensor] = []
    for value, shape, type_ in slots:
        types = _TENSOR.findall(type_) if isinstance(type_, str) and "Tensor(" in type_ else []
        if not types:
            continue
        many = type_.startswith("GenericList")
        values = value if many and isinstance(value, list) else [value] * len(types) if many else [value]
        shapes = shape if many else [shape]
        if not isinstance(shapes, list) or len(shapes) != len(types) or len(values) != len(types):
            raise TraceError(f"{len(types)} tensors with other shapes or values")
        found += [_tensor(*each) for each in zip(values, shapes, types, strict=True) if not each[2].startswith(_NONE)]
    return found


def _tensor(value: Any, shape: Any, type_: str) -> AtenTensor:
    """A tensor; one of a type that is not known is as many bytes as the file says of an element."""
    if (
        not isinstance(shape, list)
        or len(shape) > MAX_RANK
        or not all(type(s) is int and 0 <= s < _MAX_DIM for s in shape)
    ):
        raise TraceError(f"{shape!r:.80} is not a shape")
    said: Sequence[Any] = value if isinstance(value, list | tuple) else ()
    storage = said[1] if len(said) >= 2 and type(said[1]) is int else None
    name = type_.lower().removeprefix("c10::")
    if name.startswith("complex<"):
        return AtenTensor((*shape, 2), DType(names.DTYPES.get(name[8:-1], "fp32")), storage)
    if name in names.DTYPES:
        return AtenTensor(tuple(shape), DType(names.DTYPES[name]), storage)
    size = said[4] if len(said) > 4 and type(said[4]) is int else 4
    return AtenTensor(tuple(shape), _BY_SIZE.get(size, DType.INT32), storage)
