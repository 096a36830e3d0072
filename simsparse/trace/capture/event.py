# SPDX-License-Identifier: Apache-2.0
"""What a capture records: tensor operations as reads and writes of values, free of torch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from simsparse.core import Op


class EventRole(Enum):
    """How an event becomes an op.

    FUSED events of one module join one ELEMENTWISE op; APPEND events join one ``kv_append``; an
    OWN event carries its op; a GATHER reads only the rows it takes; UNKNOWN becomes an OTHER op.
    """

    FUSED = "fused"
    APPEND = "append"
    OWN = "own"
    GATHER = "gather"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Access:
    """Bytes of a value that an event reads or writes; ``region`` tells views of one value apart.

    ``some``: only some elements of the region are touched, as an index says.
    """

    value: int
    bytes: int
    region: tuple[int, ...] = ()
    some: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the view, from ``region``: its offset, its sizes, its strides."""
        return self.region[1 : 1 + len(self.region) // 2]

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the view, in elements."""
        return self.region[1 + len(self.region) // 2 :]

    @property
    def elements(self) -> int:
        """Elements that the view shows, expanded ones once."""
        return math.prod(size for size, step in zip(self.shape, self.strides, strict=True) if step)

    @property
    def last_dim(self) -> int:
        """Size of the view's last dimension; 1 of a scalar."""
        return self.shape[-1] if self.shape else 1

    def lies_as(self, other: Access) -> bool:
        """Whether the view has the sizes and strides of ``other``, dimensions of one element apart."""
        mine, others = (
            [pair for pair in zip(access.shape, access.strides, strict=True) if pair[0] > 1] for access in (self, other)
        )
        return mine == others

    @property
    def is_strided(self) -> bool:
        """Whether elements that follow each other in the view do not in memory."""
        steps = sorted((step, size) for size, step in zip(self.shape, self.strides, strict=True) if size > 1 and step)
        dense = 1
        for step, size in steps:
            if step != dense:
                return True
            dense *= size
        return False


@dataclass(frozen=True, slots=True)
class Event:
    """One tensor operation: ``aten`` its short name, ``module`` the path it ran in.

    ``scope`` is the module path whose events may fuse with it: its own, or its parent's for a module
    without parameters such as an activation. ``op`` is the operator of an OWN event, without name
    and dependencies. ``stage`` is the part of a training step: fwd, bwd or update, "" in inference.
    ``weights`` are the values that an OWN event reads as its weight and bias.
    """

    aten: str
    module: str
    scope: str
    role: EventRole
    dtype: str
    reads: tuple[Access, ...]
    writes: tuple[Access, ...]
    flops: int = 0
    op: Op | None = None
    stage: str = ""
    weights: tuple[int, ...] = ()


@dataclass
class Recording:
    """The events of one pass.

    ``value_bytes``: size of each value. ``parameters``: names of the values that are parameters.
    ``stored``: name and bytes of the values that are parameters, buffers or other tensors of modules.
    ``classes``: class name of each module path. ``returned``: values that the model gives back.
    ``updated``: values that are others but for a part, which is written in place.
    ``made_weights``: values that are computed from parameters, buffers and constants alone, with the name of what they
    mostly are made of; None of constants, "" of what is larger than all that it is made of.
    ``shapes``: of all parameters and buffers by name. ``states``: bytes of the values that are states of recurrences,
    which a cache keeps from step to step. ``choices``: whole numbers, a row per token, that operations chose which may
    choose experts, by value.
    """

    events: list[Event] = field(default_factory=list)
    value_bytes: dict[int, int] = field(default_factory=dict)
    parameters: dict[int, str] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    stored: dict[int, tuple[str, int]] = field(default_factory=dict)
    returned: set[int] = field(default_factory=set)
    updated: dict[int, int] = field(default_factory=dict)
    made_weights: dict[int, str | None] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    states: dict[int, int] = field(default_factory=dict)
    choices: dict[int, NDArray[np.int64]] = field(default_factory=dict)

    def first(self, value: int) -> int:
        """The value that ``value`` is an update in part of, through all updates; itself where it is none."""
        while value in self.updated:
            value = self.updated[value]
        return value

    def size(self, accesses: Iterable[Access]) -> int:
        """Bytes of ``accesses``, each region once and no value more than its whole size."""
        per_value: dict[int, int] = {}
        seen: set[tuple[int, Access]] = set()
        for access in accesses:
            value = self.first(access.value)
            key = value, access if access.some else replace(access, value=value)
            if key not in seen:
                per_value[value] = per_value.get(value, 0) + access.bytes
            seen.add(key)
        return sum(min(total, self.value_bytes[value]) for value, total in per_value.items())
