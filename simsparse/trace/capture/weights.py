# SPDX-License-Identifier: Apache-2.0
"""Which tensors of a pass are weights: parameters, buffers, and what is computed from them alone.

A pruned weight with its mask attached, weight norm, a merged low-rank update, a dequantised or fake-quantised weight
and a parametrisation are functions of parameters and buffers. A product with one of them is a product with a weight.
What makes a weight of the width of its parameter is left out of an inference pass (see ``fold``); what casts or
dequantises one stays, as the parameter is stored in another width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from simsparse.trace.capture.layout import held_bytes, inner_tensors, is_wrapper, parts_of

PRODUCTS = frozenset({"mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "convolution", "dot", "linalg_matrix_exp"})
SPREAD = frozenset({"diag", "diag_embed"})
"""They give a weight more elements than it is made of."""
JOINED = frozenset({"cat", "stack", "_chunk_cat"})
"""They give a weight the elements of all tensors that it is made of."""
_DEEPEST = 3
"""Containers within containers in which an attribute's tensors are looked for."""
_LEAST_BITS = 2
"""Bits of the narrowest element that is packed into integers."""


@dataclass(frozen=True)
class WeightOrigin:
    """The parameter or buffer that a weight is, or is mostly made of: the one with most elements.

    ``trained``: it is a parameter. ``whole``: the weight is that tensor itself, or a view of it. ``product``: a
    product of matrices was among what made it.
    """

    name: str
    elements: int
    bytes: int
    trained: bool
    integer: bool
    whole: bool = True
    product: bool = False

    def holds(self, tensor: torch.Tensor) -> bool:
        """Whether ``tensor`` has no more elements than the origin, packed ones counted."""
        packed = self.bytes * 8 // _LEAST_BITS if self.integer else 0
        return int(tensor.numel()) <= max(self.elements, packed)

    def is_as_wide_as(self, weight: torch.Tensor) -> bool:
        """Whether the origin is stored in elements of the size of ``weight``'s, none of them packed."""
        wide = self.bytes == self.elements * int(weight.element_size())
        return wide and not (self.integer and weight.numel() > self.elements)


class WeightTable:
    """The origin of every weight that is known so far, by storage."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._origins: dict[int, WeightOrigin] = {}
        self._spread: dict[int, WeightOrigin] = {}
        self._constants: set[int] = set()
        for name, tensor in _own_tensors(model):
            size = held_bytes(tensor)
            trained = isinstance(tensor, torch.nn.Parameter)
            integer = not parts_of(tensor)[0].is_floating_point()
            self._origins.setdefault(storage_key(tensor), WeightOrigin(name, tensor.numel(), size, trained, integer))
        self._own = frozenset(key for key, origin in self._origins.items() if origin.trained)

    def of(self, tensor: torch.Tensor) -> WeightOrigin | None:
        """The origin of a weight; None of an activation."""
        return self._origins.get(storage_key(tensor))

    def note(self, name: str, inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Note that the aten function ``name`` made ``outputs`` of ``inputs``; returns those that no activation is in.

        What is made of no tensor at all (a constant) is neither a weight nor an activation. What has more elements than
        it is made of, such as a scale spread over a group, is a weight only together with one.
        """
        read = [storage_key(tensor) for tensor in inputs]
        known = [self._origins.get(key) or self._spread.get(key) for key in read if key not in self._constants]
        found = [origin for origin in known if origin is not None]
        if len(found) < len(known):
            self._forget(outputs)
            return []
        if not found:
            self._forget(outputs)
            self._constants.update(map(storage_key, outputs))
            return list(outputs)
        most = max(found, key=lambda origin: (origin.elements, origin.trained))
        if name in JOINED:
            parts = {origin.name: origin for origin in found}.values()
            most = replace(most, elements=sum(o.elements for o in parts), bytes=sum(o.bytes for o in parts))
        product = name in PRODUCTS or any(origin.product for origin in found)
        made = [tensor for tensor in outputs if product or name in SPREAD or most.holds(tensor)]
        self._forget(outputs)
        origin = replace(most, whole=False, product=product)
        for tensor in outputs:
            kept = self._origins if any(tensor is each for each in made) else self._spread
            kept.setdefault(storage_key(tensor), origin)
        return list(outputs)

    def adopt(self, tensor: torch.Tensor, name: str) -> None:
        """Note that ``tensor``, which the model keeps where no module shows it, is a weight called ``name``."""
        size = held_bytes(tensor)
        origin = WeightOrigin(name, tensor.numel(), size, False, not tensor.is_floating_point())
        self._origins.setdefault(storage_key(tensor), origin)

    def spread(self, tensor: torch.Tensor) -> WeightOrigin | None:
        """The origin of what is made of weights alone and has more elements than they."""
        return self._spread.get(storage_key(tensor))

    def _forget(self, tensors: Iterable[torch.Tensor]) -> None:
        for key in map(storage_key, tensors):
            self._constants.discard(key)
            self._spread.pop(key, None)
            if key not in self._own:
                self._origins.pop(key, None)


def storage_key(tensor: torch.Tensor) -> int:
    """Identity of a tensor's storage, that of its views too; of a sparse layout, of its values' storage."""
    return int(parts_of(tensor)[0].untyped_storage()._cdata)


def _own_tensors(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters, buffers and other tensors that modules keep as attributes, with their names; of a wrapper, those that
    hold it too."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        yield name, tensor
        if is_wrapper(tensor):
            yield from ((f"{name}.{part}", inner) for part, inner in inner_tensors(tensor).items())
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if not name.startswith("_"):
                yield from _inside(f"{path}.{name}" if path else name, value, _DEEPEST)


def _inside(name: str, value: Any, depth: int) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors in an attribute: itself, or what lists and mappings hold."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif depth and isinstance(value, (list, tuple, dict)):
        for key, held in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _inside(f"{name}.{key}", held, depth - 1)
