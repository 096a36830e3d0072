"""Recording of a forward pass at the level of aten, with the module path of every operation.

Values are known by the identity of their storage. A capture holds weak references to storages: they
keep an identity from being given out twice, not the data alive.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from simsparse.core import DENSE, DType, Op
from simsparse.errors import SpecError
from simsparse.trace.aten import Call, lower
from simsparse.trace.event import Access, Event, Recording, Role
from simsparse.trace.masks import MaskStore
from simsparse.trace.sparsity_stats import (
    WeightFacts,
    Window,
    input_facts,
    input_mask,
    interior,
    mask_of,
    weight_facts,
    weight_rows,
)

_BY_ITEMSIZE = {1: DType.INT8, 2: DType.INT16, 4: DType.INT32, 8: DType.INT64}


def tensors_in(tree: Any) -> list[torch.Tensor]:
    """The tensors in nested tuples, lists and dicts, in order."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


class Capture(TorchDispatchMode):  # type: ignore[misc]
    """Records what runs while it is active; ``recording`` is the result.

    ``paused()`` runs something unrecorded. ``model`` gives the module paths and parameter names.
    """

    def __init__(
        self, model: torch.nn.Module, cache_tensors: list[torch.Tensor], masks: MaskStore | None = None
    ) -> None:
        super().__init__()
        self._masks = masks
        self._padded: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        self.recording = Recording(classes={path: type(module).__name__ for path, module in model.named_modules()})
        self._path = [""]
        self._paused = 0
        self._facts: dict[tuple[int, ...], WeightFacts] = {}
        self._values: dict[int, int] = {}
        self._held: list[StorageWeakRef] = []
        self._parameters = {_storage(value): name for name, value in reversed(list(model.named_parameters()))}
        self.cache_values = {self.value(tensor) for tensor in cache_tensors}
        self._scopes = {path: _scope(path, module) for path, module in model.named_modules()}

    @property
    def module(self) -> str:
        """Path of the module that runs now."""
        return self._path[-1]

    def enter(self, path: str) -> None:
        """Note that the module at ``path`` starts."""
        self._path.append(path)

    def leave(self) -> None:
        """Note that the module entered last ends."""
        self._path.pop()

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
        mutated = self._mutated(func, args, kwargs or {})
        out = func(*args, **(kwargs or {}))
        if not self.is_paused and func.namespace != "prim":
            self._record(func, args, kwargs or {}, out, mutated)
        return out

    def value(self, tensor: torch.Tensor) -> int:
        """The value that a tensor shows; a tensor not seen before is an input of the pass."""
        key = _storage(tensor)
        if key not in self._values:
            self.fresh(tensor)
        return self._values[key]

    def parameter(self, tensor: torch.Tensor) -> str | None:
        """Name of the parameter that a tensor is, or is a view of."""
        return self._parameters.get(_storage(tensor))

    def dtype(self, tensor: torch.Tensor) -> DType:
        """Element type of a tensor; one of the same size when the tool has no name for it."""
        try:
            return DType.parse(str(tensor.dtype))
        except SpecError:
            return _BY_ITEMSIZE.get(tensor.element_size(), DType.INT64)

    def weight_facts(self, weight: torch.Tensor) -> WeightFacts:
        """Measured pattern of a real weight (outputs first), once per parameter; dense on meta."""
        if weight.device.type == "meta":
            return DENSE, {}
        key = (_storage(weight), weight.storage_offset(), *weight.shape)
        if key not in self._facts:
            pattern, facts = weight_facts(weight)
            if self._masks is not None:
                facts["weight_mask"] = self._masks.add(mask_of(weight_rows(weight)))
            self._facts[key] = pattern, facts
        return self._facts[key]

    def input_facts(self, x: torch.Tensor, window: Window | None = None) -> dict[str, Any]:
        """What a real input shows where it is consumed, padding apart; a convolution gives its ``window``."""
        if x.device.type == "meta" or not x.numel():
            return {}
        shape, pads = self._padded.get(self._values.get(_storage(x), -1), ((), ()))
        pads = pads if shape == x.shape else ()
        facts = input_facts(x, pads, window)
        if self._masks is not None:
            facts["input_mask"] = self._masks.add(input_mask(interior(x, pads), window))
        return facts

    def note_padding(self, tensor: torch.Tensor, pads: tuple[int, ...]) -> None:
        """Note that ``tensor`` was made by padding with zeros, as torch's pad does with ``pads``."""
        self._padded[self.value(tensor)] = (tuple(tensor.shape), pads)

    def access(self, tensor: torch.Tensor, elements: int | None = None) -> Access:
        """An access to all that ``tensor`` shows, or to ``elements`` of it."""
        shape, stride = tensor.shape, tensor.stride()
        shown = math.prod(size for size, step in zip(shape, stride, strict=True) if step)
        count = (shown if tensor.numel() else 0) if elements is None else elements
        return Access(self.value(tensor), count * tensor.element_size(), (tensor.storage_offset(), *shape, *stride))

    def add(
        self, role: Role, aten: str, reads: list[Access], outputs: list[torch.Tensor], flops: int = 0,
        op: Op | None = None, written: int | None = None,
    ) -> None:  # fmt: skip
        """Record one event that makes ``outputs``, of which it writes ``written`` elements or all."""
        writes = []
        for tensor in outputs:
            self.fresh(tensor)
            writes.append(self.access(tensor, written))
        dtype = str(self.dtype(outputs[0])) if outputs else "fp32"
        scope = self._scopes.get(self.module, self.module)
        event = Event(aten, self.module, scope, role, dtype, tuple(reads), tuple(writes), flops, op)
        self.recording.events.append(event)

    def finish(self, output: Any) -> Recording:
        """The recording, told what the model returned."""
        shown = output.values() if isinstance(output, Mapping) else output
        self.recording.returned = {self.value(tensor) for tensor in tensors_in(list(tree_leaves(shown)))}
        return self.recording

    def _record(self, func: Any, args: Any, kwargs: Any, out: Any, mutated: list[torch.Tensor]) -> None:
        inputs, outputs = tensors_in((args, kwargs)), tensors_in(out)
        if not mutated and outputs:
            sources = {_storage(tensor) for tensor in inputs}
            if all(_storage(tensor) in sources for tensor in outputs):
                return
        name = func._schema.name.split("::")[1]
        lower(self, Call(name, func, args, kwargs, inputs, mutated or outputs, bool(mutated)))

    def fresh(self, tensor: torch.Tensor) -> None:
        """Note that a tensor's storage holds a new value."""
        key, value = _storage(tensor), len(self.recording.value_bytes)
        if key not in self._values:
            self._held.append(StorageWeakRef(tensor.untyped_storage()))
        self._values[key] = value
        self.recording.value_bytes[value] = tensor.untyped_storage().nbytes()
        if key in self._parameters:
            self.recording.parameters[value] = self._parameters[key]

    @staticmethod
    def _mutated(func: Any, args: Any, kwargs: Any) -> list[torch.Tensor]:
        found = []
        for i, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                given = args[i] if i < len(args) else kwargs.get(argument.name)
                found += tensors_in(given)
        return found


def _storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _scope(path: str, module: torch.nn.Module) -> str:
    leaf = not any(True for _ in module.children())
    bare = leaf and not list(module.parameters()) and not list(module.buffers())
    return path.rpartition(".")[0] if bare else path
