# SPDX-License-Identifier: Apache-2.0
"""Traces: a workload as operators with dependencies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simsparse.core.active_channels import ActiveChannels
from simsparse.core.attention_mask import AttentionMask
from simsparse.core.kind import OpKind
from simsparse.core.op import Op
from simsparse.core.rescale import cast, resize
from simsparse.core.table import table_of_ops
from simsparse.core.tensor import DType
from simsparse.errors import SpecError, TraceError
from simsparse.registry import Registry
from simsparse.sparsity import Sparsity
from simsparse.sparsity.formats.storage import storage_text

if TYPE_CHECKING:
    import pandas as pd

WRITERS: Registry[Callable[[Trace, str | Path], Path]] = Registry("trace writer", ("simsparse.trace.file",))
"""How a trace becomes a file; the module that knows the format registers itself."""


@dataclass(frozen=True)
class Trace:
    """Operators in program order, each depending on earlier ones.

    ``meta`` says where the trace comes from: model, phase, batch, lengths, versions, seed, routing.
    Raises TraceError when a name repeats or a dependency is not an earlier op.
    """

    name: str
    ops: tuple[Op, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for op in self.ops:
            if op.name in seen:
                raise TraceError(f"op name {op.name!r} is used twice", key=self.name)
            for dep in op.deps:
                if dep not in seen:
                    raise TraceError(f"op {op.name!r} depends on {dep!r}, which is not an earlier op", key=self.name)
            seen.add(op.name)

    def alike(self, ops: Iterable[Op]) -> Trace:
        """This trace with other ops of the same names and dependencies, which is not checked."""
        copy: Trace = object.__new__(Trace)
        for key, value in (("name", self.name), ("ops", tuple(ops)), ("meta", self.meta)):
            object.__setattr__(copy, key, value)
        return copy

    @cached_property
    def flops(self) -> int:
        return sum(op.flops for op in self.ops)

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of weights read, each op's own; shared parameters count each time they are read."""
        return sum(op.weight_bytes for op in self.ops)

    def map(self, change: Callable[[Op], Op]) -> Trace:
        """A trace with every op changed."""
        return replace(self, ops=tuple(change(op) for op in self.ops))

    def with_weight_sparsity(self, sparsity: str | Sparsity, exclude: Iterable[str] = ("lm_head", "router")) -> Trace:
        """The trace with ``sparsity`` on every weight but those whose module or name holds a word of ``exclude``.

        The gradient of a weight (``bwd_weight``) stays dense. Raises SpecError on text that is no sparsity.
        """
        pattern, words = Sparsity.parse(sparsity), tuple(exclude)
        return self.map(lambda op: op.with_(weight_sparsity=pattern) if _is_weight(op, words) else op)

    def with_weight_format(self, storage: str, exclude: Iterable[str] = ("lm_head", "router")) -> Trace:
        """The trace with the weights that ``with_weight_sparsity`` would change stored in the format ``storage``.

        Which values are zero stays as it is. Raises SpecError on text that is no format, and on a weight that the
        format cannot hold.
        """
        form, words = storage_text(storage), tuple(exclude)

        def stored(op: Op) -> Op:
            for _, _, n, k in op.gemms if _is_weight(op, words) else ():
                if reason := op.weight_sparsity.refusal(form, n, k, op.w_dtype.bits):
                    raise SpecError(f"{op.name} can't be stored as {form}: {reason}", key="weight_format")
            return op.with_(weight_format=form) if _is_weight(op, words) else op

        return self.map(stored)

    def with_dtype(self, dtype: str | DType, exclude: Iterable[str] = ()) -> Trace:
        """The trace with ``dtype`` in place of its main type; see simsparse.core.rescale. ``exclude`` is not heeded."""
        del exclude
        return cast(self, dtype)

    def with_batch(self, batch: int, exclude: Iterable[str] = ()) -> Trace:
        """The trace for ``batch`` sequences or images; see simsparse.core.rescale. ``exclude`` is not heeded."""
        del exclude
        return resize(self, batch)

    def with_attention_mask(self, mask: str | AttentionMask, exclude: Iterable[str] = ()) -> Trace:
        """The trace whose dense attentions read the keys that ``mask`` keeps, with operators before them that find
        these; see simsparse.core.attention_mask. ``exclude`` is not heeded.

        Raises SpecError on text that is no mask, and where the trace has no attention.
        """
        del exclude
        chosen = mask if isinstance(mask, AttentionMask) else AttentionMask.parse(mask)
        if not any(op.kind == OpKind.ATTENTION for op in self.ops):
            raise SpecError(f"{self.name} has no attention", key="attention_mask")
        return self._parted(chosen.applied)

    def with_active_channels(self, channels: str | ActiveChannels, exclude: Iterable[str] = ()) -> Trace:
        """The trace whose linear layers of few tokens read the weights of their active inputs alone; see
        simsparse.core.active_channels. Layers named by a word of ``exclude`` stay as they are.

        Raises SpecError on other text.
        """
        chosen = channels if isinstance(channels, ActiveChannels) else ActiveChannels.parse(channels)
        words, sorted_ = tuple(exclude), set[tuple[str, ...]]()
        return self._parted(lambda op: chosen.applied(op, words, sorted_))

    def _parted(self, parts_of: Callable[[Op], Sequence[Op]]) -> Trace:
        """A trace with one or more ops in place of each, one after the other."""
        made: list[Op] = []
        for op in self.ops:
            deps = op.deps
            for part in parts_of(op):
                made.append(part.with_(deps=deps))
                deps = (part.name,)
        return replace(self, ops=tuple(made))

    def table(self) -> pd.DataFrame:
        """One row per operator (a pandas DataFrame), which ``load_trace`` reads again but for launched kernels."""
        return table_of_ops(self.ops)

    def save(self, path: str | Path) -> Path:
        """Write the trace to ``path``; see simsparse.trace.file for the format."""
        return WRITERS.get("file")(self, path)


def _is_weight(op: Op, exclude: tuple[str, ...]) -> bool:
    """Whether ``op`` has a weight that may be sparse and none of the words ``exclude`` in its names."""
    named = f"{op.module} {op.name} {op.label}"
    return op.definition.prunable and op.label != "bwd_weight" and not any(word in named for word in exclude)


class TraceBuilder:
    """Build a trace op by op: ``TraceBuilder("decode").add(op).add(op2, deps=["a"]).build()``.

    An op without ``deps`` depends on the op before it. A name that is taken gets a suffix.
    """

    def __init__(self, name: str, **meta: Any) -> None:
        self.name, self.meta = name, meta
        self._ops: list[Op] = []
        self._names: dict[str, int] = {}

    def add(self, op: Op, deps: Iterable[str] | None = None) -> TraceBuilder:
        """Append ``op``; returns the builder."""
        name, copy = op.name, self._names.get(op.name, 0)
        while name in self._names:
            copy += 1
            name = f"{op.name}.{copy}"
        self._names[op.name] = copy
        self._names[name] = 0
        if deps is None:
            deps = op.deps or ((self._ops[-1].name,) if self._ops else ())
        self._ops.append(op.with_(name=name, deps=tuple(deps)))
        return self

    @property
    def last(self) -> str:
        """Name of the op added last. Raises TraceError when there is none."""
        if not self._ops:
            raise TraceError("the trace has no op yet", key=self.name)
        return self._ops[-1].name

    def build(self) -> Trace:
        """The finished trace. Raises TraceError on a dependency that is not an earlier op."""
        return Trace(self.name, tuple(self._ops), dict(self.meta))
