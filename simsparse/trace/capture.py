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
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from simsparse.core import DENSE, DType, Op
from simsparse.core.ops import attention
from simsparse.errors import SpecError
from simsparse.trace.aten import Call, lower
from simsparse.trace.event import Access, Event, Recording, Role
from simsparse.trace.label import path_join
from simsparse.trace.prune import WeightFacts, weight_facts

_BY_ITEMSIZE = {1: DType.INT8, 2: DType.INT16, 4: DType.INT32, 8: DType.INT64}


def dtype_of(tensor: torch.Tensor) -> DType:
    """Element type of a tensor; one of the same size when the tool has no name for it."""
    try:
        return DType.parse(str(tensor.dtype))
    except SpecError:
        return _BY_ITEMSIZE.get(tensor.element_size(), DType.INT64)


def tensors_in(tree: Any) -> list[torch.Tensor]:
    """The tensors in nested tuples, lists and dicts, in order."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


class Capture(TorchDispatchMode):  # type: ignore[misc]
    """Records what runs while it is active; ``recording`` is the result.

    ``paused()`` runs something unrecorded. ``model`` gives the module paths and parameter names.
    """

    def __init__(self, model: torch.nn.Module, cache_tensors: list[torch.Tensor]) -> None:
        super().__init__()
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
        if not self._paused and func.namespace != "prim":
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
        return dtype_of(tensor)

    def weight_facts(self, weight: torch.Tensor) -> WeightFacts:
        """Measured pattern of a real weight (outputs first), once per parameter; dense on meta."""
        if weight.device.type == "meta":
            return DENSE, {}
        key = (_storage(weight), weight.storage_offset(), *weight.shape)
        if key not in self._facts:
            self._facts[key] = weight_facts(weight)
        return self._facts[key]

    def input_facts(self, x: torch.Tensor) -> dict[str, float]:
        """Share of non-zeros of a real input, measured where it is consumed."""
        if x.device.type == "meta" or not x.numel():
            return {}
        return {"input_density": round(int(torch.count_nonzero(x)) / x.numel(), 4)}

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
        dtype = str(dtype_of(outputs[0])) if outputs else "fp32"
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


class AttentionCalls(TorchFunctionMode):  # type: ignore[misc]
    """Records each call of scaled_dot_product_attention as one op, however the device would run it."""

    def __init__(self, capture: Capture) -> None:
        super().__init__()
        self._capture = capture

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is not torch.nn.functional.scaled_dot_product_attention or self._capture._paused:
            return func(*args, **(kwargs or {}))
        return _sdpa(self._capture, func, args, dict(kwargs or {}))


def _sdpa(capture: Capture, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    given = dict(zip(names, args, strict=False)) | kwargs
    query, key, value = given["query"], given["key"], given["value"]
    with capture.paused():
        if query.device.type == "meta":
            out = query.new_empty(*query.shape[:-1], value.shape[-1])
        else:
            out = func(*args, **kwargs)
    record_attention(capture, query, key, value, out, causal=bool(given.get("is_causal", False)))
    return out


def record_attention(
    capture: Capture, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, out: torch.Tensor, *, causal: bool,
    window: int | None = None,
) -> None:  # fmt: skip
    """Record one attention op.

    Shapes: query (..., heads, q_len, head_dim), key and value (..., kv_heads, kv_len, head_dim).
    A single query sees at most ``window`` keys; a window over several queries is not modelled, and
    stands in the op's stats.
    """
    heads, kv_heads = (tensor.shape[-3] if tensor.dim() > 3 else 1 for tensor in (query, key))
    batch = query.shape[:-3].numel() if query.dim() > 3 else query.shape[:-2].numel()
    q_len, kv_len = query.shape[-2], key.shape[-2]
    stats = {"window": window} if window and window < kv_len else {}
    if stats and q_len == 1:
        kv_len = min(kv_len, window or kv_len)
    op = attention(
        batch, heads, kv_heads, query.shape[-1], q_len, kv_len, causal, dtype_of(query), v_head_dim=value.shape[-1],
        name=path_join(capture.module, "attention"), module=capture.module, stats=stats,
    )  # fmt: skip
    capture.add(Role.OWN, "attention", [capture.access(t) for t in (query, key, value)], [out], op=op)


def _storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _scope(path: str, module: torch.nn.Module) -> str:
    leaf = not any(True for _ in module.children())
    bare = leaf and not list(module.parameters()) and not list(module.buffers())
    return path.rpartition(".")[0] if bare else path
