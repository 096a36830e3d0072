# SPDX-License-Identifier: Apache-2.0
"""Recording of a pass at the level of aten, with the module path of every operation.

Values are known by the identity of their storage. A capture holds weak references to storages: they
keep an identity from being given out twice, not the data alive.

In a backward pass the module is that of the forward operation whose gradient is computed: autograd
numbers its nodes in the order of the forward pass, and the capture notes at which number a module
starts and ends.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nested._internal.nested_tensor import NestedTensor
from torch.utils._python_dispatch import TorchDispatchMode

from simsparse.core import DENSE, DType, Op
from simsparse.errors import SpecError
from simsparse.trace.capture.aten import lower
from simsparse.trace.capture.aten_names import CHOICES
from simsparse.trace.capture.call import Call, given_to_write, signature_of, tensors_in
from simsparse.trace.capture.event import Access, Event, EventRole, Recording
from simsparse.trace.capture.layout import dense, held_bytes, parts_of
from simsparse.trace.capture.weights import WeightOrigin, WeightTable, storage_key
from simsparse.trace.masks import MaskStore
from simsparse.trace.statistics.sparsity_stats import (
    WeightFacts,
    WidthWindow,
    input_facts,
    input_mask,
    interior,
    mask_of,
    weight_facts,
    weight_rows,
)

_BY_ITEMSIZE = {1: DType.INT8, 2: DType.INT16, 4: DType.INT32, 8: DType.INT64}


@lru_cache(maxsize=64)
def _dtype(dtype: torch.dtype) -> DType:
    try:
        return DType.parse(str(dtype))
    except SpecError:
        return _BY_ITEMSIZE.get(dtype.itemsize, DType.INT64)


MOST_CHOICES = 2**22
"""Ids of one choice that are kept."""


class Capture(TorchDispatchMode):  # type: ignore[misc]
    """Records what runs while it is active; ``recording`` is the result.

    ``paused()`` runs something unrecorded. ``model`` gives the module paths and parameter names, ``given`` are its
    inputs: a tensor that is none of both and that nothing in the pass made is a constant of the model, as a weight is.
    ``stage`` is the part of a training step that runs (fwd, bwd or update), "" in inference; in bwd,
    ``node`` is the op whose gradient is computed, when that has a weight. ``failed_at`` is the module
    and the operation, if any, in which the first exception rose.
    """

    def __init__(
        self, model: torch.nn.Module, cache_tensors: list[torch.Tensor], masks: MaskStore | None = None,
        given: Iterable[torch.Tensor] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        self._masks = masks
        self._last_input: tuple[Any, dict[str, Any]] = (None, {})
        self._padded: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        self.recording = Recording(
            classes={path: type(module).__name__ for path, module in model.named_modules()},
            shapes={name: tuple(own.shape) for name, own in (*model.named_parameters(), *model.named_buffers())},
        )
        self.stage = ""
        self.node: Op | None = None
        self.failed_at: tuple[str, str] | None = None
        self._path = [""]
        self._ragged = False
        self._paused = 0
        self._marks: list[tuple[int, str]] = [(0, "")]
        self._op_of_node: dict[int, Op] = {}
        self._facts: dict[tuple[int, ...], WeightFacts] = {}
        self._values: dict[int, int] = {}
        self._held: list[StorageWeakRef] = []
        self._weights = WeightTable(model)
        self._not_ours: set[int] = set()
        self._not_kept([*given, *cache_tensors])
        self._parameters = {storage_key(value): name for name, value in reversed(list(model.named_parameters()))}
        self.cache_values = {self.value(tensor) for tensor in cache_tensors}
        self._scopes = {path: _scope(path, module) for path, module in model.named_modules()}

    @property
    def module(self) -> str:
        """Path of the module that runs now."""
        return self._path[-1]

    def enter(self, path: str) -> None:
        """Note that the module at ``path`` starts."""
        self._path.append(path)
        self._mark()

    def leave(self) -> None:
        """Note that the module entered last ends, by an exception or not."""
        if sys.exc_info()[0] is not None:
            self._fail("")
        self._path.pop()
        self._mark()

    def _mark(self) -> None:
        if self.stage:
            self._marks.append((torch.autograd._get_sequence_nr(), self.module))

    def _fail(self, operation: str) -> None:
        self.failed_at = self.failed_at or (self.module, operation)

    def enter_node(self, number: int) -> None:
        """Note that the gradient of the operation of autograd node ``number`` is computed from here on."""
        place = bisect_right(self._marks, number, key=lambda mark: mark[0]) - 1
        self._path = [self._marks[place][1]]
        self.node = self._op_of_node.get(number)

    @contextmanager
    def inside(self, path: str) -> Iterator[None]:
        """Runs the body as if in the module at ``path``."""
        self._path.append(path)
        try:
            yield
        finally:
            self._path.pop()

    def label(self, word: str) -> str:
        """``word`` after the stage of a training step."""
        return f"{self.stage} {word}".strip()

    @property
    def is_paused(self) -> bool:
        """Whether what runs now is left unrecorded."""
        return self._paused > 0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Runs the body without recording it."""
        self._paused += 1
        try:
            yield
        finally:
            self._paused -= 1

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        ragged = next((each for each in types if issubclass(each, NestedTensor)), None)
        if ragged is not None:
            with self, self._inside_ragged():
                return ragged.__torch_dispatch__(func, types, args, given)
        if (self._ragged or torch.is_inference_mode_enabled()) and func._can_decompose():
            with self:
                parts = func.decompose(*args, **given)
            if parts is not NotImplemented:
                return parts
        try:
            out = func(*args, **given)
        except Exception:
            self._fail(func._schema.name.replace("::", "."))
            raise
        if not self._paused and func.namespace != "prim":
            self._record(func, args, given, out)
        self._not_kept(tensors_in(out))
        return out

    @contextmanager
    def _inside_ragged(self) -> Iterator[None]:
        """While the values of sequences of several lengths are worked on, which torch does not take apart before."""
        before, self._ragged = self._ragged, True
        try:
            yield
        finally:
            self._ragged = before

    def _not_kept(self, tensors: Iterable[torch.Tensor]) -> None:
        """Note that ``tensors`` are inputs or results, and none that the model keeps."""
        for tensor in tensors:
            key = storage_key(tensor)
            if key not in self._values and key not in self._not_ours:
                self._held.append(StorageWeakRef(parts_of(tensor)[0].untyped_storage()))
                self._not_ours.add(key)

    def _adopt(self, tensors: Iterable[torch.Tensor]) -> None:
        """Take what was there before the pass, and is no input, for a constant of the model."""
        for tensor in tensors:
            key = storage_key(tensor)
            if key not in self._values and key not in self._not_ours and self._weights.of(tensor) is None:
                name = f"constant.{len(self._values)}"
                self._weights.adopt(tensor, f"{self.module}.{name}" if self.module else name)

    def value(self, tensor: torch.Tensor) -> int:
        """The value that a tensor shows; a tensor not seen before is an input of the pass."""
        key = storage_key(tensor)
        if key not in self._values:
            self.fresh(tensor)
        return self._values[key]

    def parameter(self, tensor: torch.Tensor) -> str | None:
        """Name of the parameter that a tensor is, or is a view of."""
        return self._parameters.get(storage_key(tensor))

    def weight(self, tensor: torch.Tensor) -> WeightOrigin | None:
        """Where a weight comes from: a parameter, a buffer, or what is made of them alone; None of an activation."""
        return self._weights.of(tensor)

    def weight_name(self, tensor: torch.Tensor) -> str | None:
        """Name of the parameter or buffer that a weight mostly is made of."""
        origin = self._weights.of(tensor) or self._weights.spread(tensor)
        return origin.name if origin is not None else None

    def is_weight_matrix(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is a weight, or a matrix that is made of weights alone and larger than they."""
        return self.weight(tensor) is not None or (tensor.dim() == 2 and self._weights.spread(tensor) is not None)

    def _is_foldable(self, weight: torch.Tensor) -> bool:
        origin = self._weights.of(weight) or self._weights.spread(weight)
        return origin is not None and origin.is_as_wide_as(weight)

    def inherit(self, copy: torch.Tensor, source: torch.Tensor) -> None:
        """Note that ``copy`` is a parameter still when ``source`` is one: a cast, or another layout."""
        name = self.parameter(source)
        if name is not None and copy.numel() * source.element_size() == source.untyped_storage().nbytes():
            self._parameters[storage_key(copy)] = name

    def dtype(self, tensor: torch.Tensor) -> DType:
        """Element type of a tensor; one of the same size when the tool has no name for it."""
        return _dtype(tensor.dtype)

    def weight_facts(self, weight: torch.Tensor) -> WeightFacts:
        """Measured pattern of a real weight (outputs first), once per parameter; dense on meta."""
        if weight.device.type == "meta":
            return DENSE, {}
        weight = dense(weight)
        key = (storage_key(weight), weight.storage_offset(), *weight.shape, *weight.stride())
        if key not in self._facts:
            self._held.append(StorageWeakRef(parts_of(weight)[0].untyped_storage()))
            pattern, facts = weight_facts(weight)
            if self._masks is not None:
                facts["weight_mask"] = self._masks.add(mask_of(weight_rows(weight)))
            self._facts[key] = pattern, facts
        return self._facts[key]

    def input_facts(self, x: torch.Tensor, window: WidthWindow | None = None) -> dict[str, Any]:
        """What a real input shows where it is consumed, padding apart; a convolution gives its ``window``."""
        if x.device.type == "meta" or not x.numel() or x.layout is not torch.strided:
            return {}
        value = self.value(x)
        key = (value, x.storage_offset(), x.shape, x.stride(), window)
        if self._last_input[0] == key:
            return self._last_input[1]
        shape, pads = self._padded.get(value, ((), ()))
        pads = pads if shape == x.shape else ()
        facts = input_facts(x, pads, window)
        if self._masks is not None:
            facts["input_mask"] = self._masks.add(input_mask(interior(x, pads), window))
        self._last_input = key, facts
        return facts

    def note_padding(self, tensor: torch.Tensor, pads: tuple[int, ...]) -> None:
        """Note that ``tensor`` was made by padding with zeros, as torch's pad does with ``pads``."""
        self._padded[self.value(tensor)] = (tuple(tensor.shape), pads)

    def access(self, tensor: torch.Tensor, elements: int | None = None) -> Access:
        """An access to all that ``tensor`` shows, or to ``elements`` of it."""
        if tensor.layout is not torch.strided:
            return Access(self.value(tensor), held_bytes(tensor), (0, held_bytes(tensor), 1), elements is not None)
        shape, stride = tensor.shape, tensor.stride()
        shown = math.prod(size for size, step in zip(shape, stride, strict=True) if step)
        count = (shown if tensor.numel() else 0) if elements is None else elements
        region = (tensor.storage_offset(), *shape, *stride)
        return Access(self.value(tensor), count * tensor.element_size(), region, elements is not None)

    def add(
        self, role: EventRole, aten: str, reads: list[Access], outputs: list[torch.Tensor], flops: int = 0,
        op: Op | None = None, written: int | None = None, weights: Sequence[torch.Tensor] = (),
    ) -> None:  # fmt: skip
        """Record one event that makes ``outputs``, of which it writes ``written`` elements or all.

        ``weights`` are those of its inputs that it reads as weight and bias.
        """
        weighed = tuple(self.value(tensor) for tensor in weights if self._is_foldable(tensor))
        writes = []
        for tensor in outputs:
            before = self._values.get(storage_key(tensor))
            self.fresh(tensor)
            access = self.access(tensor, written)
            if before is not None and access.bytes < self.recording.value_bytes[access.value]:
                self.recording.updated[access.value] = before
            writes.append(access)
        dtype = str(self.dtype(outputs[0])) if outputs else "fp32"
        scope = self._scopes.get(self.module, self.module)
        event = Event(
            aten, self.module, scope, role, dtype, tuple(reads), tuple(writes), flops, op, self.stage, weighed
        )
        self.recording.events.append(event)
        if self.stage == "fwd" and op is not None and op.weight is not None:
            self._op_of_node[torch.autograd._get_sequence_nr() - 1] = op

    def finish(self, output: Any, states: Sequence[torch.Tensor] = ()) -> Recording:
        """The recording, told what the model returned, and which states a cache keeps of it."""
        self.recording.states |= {self.value(state): state.nbytes for state in states}
        shown = output if isinstance(output, (torch.Tensor, tuple, list, Mapping)) else getattr(output, "__dict__", {})
        self.recording.returned |= {self.value(tensor) for tensor in tensors_in(shown)}
        return self.recording

    def _record(self, func: Any, args: Any, kwargs: dict[str, Any], out: Any) -> None:
        signature = signature_of(func)
        read = {name: value for name, value in kwargs.items() if name not in signature.out} if kwargs else kwargs
        inputs, outputs = tensors_in((args, read)), tensors_in(out)
        self._adopt(inputs)
        mutated = given_to_write(signature, args, kwargs)
        if not mutated and outputs:
            sources = {storage_key(tensor) for tensor in inputs}
            if all(storage_key(tensor) in sources for tensor in outputs):
                return
        call = Call(
            signature.name, func, args, kwargs, inputs, mutated or outputs, out, bool(mutated) and not signature.out
        )
        lower(self, call)
        if call.name in CHOICES:
            self._note_choices(outputs)
        made = self._weights.note(call.name, call.inputs, call.outputs)
        for tensor in made:
            spread = self._weights.spread(tensor) is not None
            self.recording.made_weights[self.value(tensor)] = "" if spread else self.weight_name(tensor)

    def _note_choices(self, outputs: Iterable[torch.Tensor]) -> None:
        """Keep the ids that an operation chose, a row per token."""
        for tensor in outputs:
            if (
                tensor.dtype is torch.int64
                and not tensor.is_meta
                and 0 < tensor.numel() <= MOST_CHOICES
                and tensor.dim()
            ):
                rows = tensor.detach().reshape(-1, tensor.shape[-1])
                self.recording.choices[self.value(tensor)] = rows.cpu().numpy().copy()

    def fresh(self, tensor: torch.Tensor) -> None:
        """Note that a tensor's storage holds a new value."""
        key, value = storage_key(tensor), len(self.recording.value_bytes)
        if key not in self._values:
            self._held.append(StorageWeakRef(parts_of(tensor)[0].untyped_storage()))
        self._values[key] = value
        sparse = tensor.layout is not torch.strided
        self.recording.value_bytes[value] = held_bytes(tensor) if sparse else tensor.untyped_storage().nbytes()
        if key in self._parameters:
            self.recording.parameters[value] = self._parameters[key]
        origin = self._weights.of(tensor)
        if origin is not None and origin.whole:
            self.recording.stored[value] = origin.name, origin.bytes


def _scope(path: str, module: torch.nn.Module) -> str:
    leaf = not any(True for _ in module.children())
    bare = leaf and not list(module.parameters()) and not list(module.buffers())
    return path.rpartition(".")[0] if bare else path
