# SPDX-License-Identifier: Apache-2.0
"""What every stack is: a rule that turns the operators of a trace into the kernels that are launched for them.

A stack is named by its fusion and, after a plus sign, by how its kernels are launched: ``eager`` one by one from the
host, ``eager+graph`` replayed from a captured graph.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from simsparse.core import Op, OpKind, Trace
from simsparse.core.kind import Unit
from simsparse.core.memo import by_identity
from simsparse.errors import SpecError, nearest
from simsparse.registry import Registry

GRAPH = "+graph"
DEFAULT_STACK = "fused+graph"


@dataclass(frozen=True)
class Stack(ABC):
    """How a trace becomes kernels.

    A subclass names itself in ``name``, registers with ``@STACKS.register(name)`` and implements ``kernels``.
    ``follows_layouts``: kernels that read the transposed outputs of 2:4 products are launched as such.
    ``graph``: kernels are replayed from a captured graph, so that the host launches them in no time of its own.
    ``sparse24``: the machine has units for 2:4 weights, whose kernels write their outputs transposed.
    """

    name: ClassVar[str]
    follows_layouts: ClassVar[bool] = False
    graph: bool = True
    sparse24: bool = False

    def __str__(self) -> str:
        return self.name + (GRAPH if self.graph else "")

    @abstractmethod
    def launched(self, trace: Trace) -> Trace:
        """The trace of the kernels that are launched; an op that is one kernel stays as it is."""


STACKS: Registry[type[Stack]] = Registry("stack", package="simsparse.lowering.stacks")


def stack_of(text: str | Stack) -> Stack:
    """The stack called ``text``, such as ``eager`` or ``compiled+graph``. Raises SpecError with the nearest name."""
    return text if isinstance(text, Stack) else _named_stack(text)


@cache
def _named_stack(text: str) -> Stack:
    name = text.removesuffix(GRAPH)
    allowed = [*STACKS, *(f"{known}{GRAPH}" for known in STACKS)]
    if name not in STACKS:
        raise SpecError(f"{text!r} is not a stack; {nearest(text, allowed)}", key="stack")
    return STACKS.get(name)(text.endswith(GRAPH))


def expanded(trace: Trace, kernels_of: Callable[[Op], Iterable[Op]]) -> Trace:
    """``trace`` with each op replaced by the kernels that ``kernels_of`` gives for it, one after another.

    A kernel is named after its op, a slash and its place. What depended on an op depends on its last kernel.
    """
    last: dict[str, str] = {}
    ops: list[Op] = []
    for op in trace.ops:
        before = tuple(last[dep] for dep in op.deps)
        for kernel in _named(op, kernels_of(op)):
            ops.append(_after(ops, kernel.with_(deps=before)))
            before = (kernel.name,)
        last[op.name] = ops[-1].name
    passed = sum(op.min_bytes for op in ops)
    return Trace(trace.name, tuple(_passed(op, passed) for op in ops), trace.meta)


def _passed(op: Op, passed: int) -> Op:
    return op.with_(dims={**op.dims, "passed_bytes": passed}) if op.kind == OpKind.LAUNCHED else op


def _after(ops: Sequence[Op], kernel: Op) -> Op:
    """``kernel``, told how much of what it reads the kernel launched right before it wrote."""
    if kernel.kind != OpKind.LAUNCHED or not ops or ops[-1].name not in kernel.deps:
        return kernel
    fresh = min(kernel.dims["read_bytes"], ops[-1].output_bytes)
    return kernel.with_(dims={**kernel.dims, "fresh_bytes": fresh})


def called(trace: Trace, inside: Collection[str] = ()) -> Trace:
    """``trace`` with its kernels launched by a host, a call each but for kernels labelled as one ``inside`` a call."""
    number, ops = 0, []
    for op in trace.ops:
        number += op.unit is not Unit.LINK and op.label not in inside
        ops.append(op.with_(call=number))
    return Trace(trace.name, tuple(ops), trace.meta)


def _named(op: Op, kernels: Iterable[Op]) -> Iterator[Op]:
    listed = list(kernels)
    if len(listed) == 1:
        yield listed[0].with_(name=op.name, module=op.module, weight=op.weight)
        return
    for i, kernel in enumerate(listed):
        yield kernel.with_(name=f"{op.name}/{i}", module=op.module)


@by_identity(maxsize=64)
def launched_by(trace: Trace, stack: Stack) -> Trace:
    """What ``stack`` launches for ``trace``; the last 64 are kept."""
    return stack.launched(trace)
