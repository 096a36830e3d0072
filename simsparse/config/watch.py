# SPDX-License-Identifier: Apache-2.0
"""Which numbers of a system a run reads: copies of its parts whose numbers note that they are read.

A value that no run read can't have changed its result, so that studies do not move it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

from pydantic import PrivateAttr

from simsparse.config.hardware import System
from simsparse.config.quantity import Frozen, Part, Quantity

_numbers = count()


class _Watched(Quantity):
    """A number that calls ``_on_read`` when its value is read. It equals no other number, so no cache hides a read."""

    _on_read: Callable[[], None] = PrivateAttr()

    def __getattribute__(self, name: str) -> Any:
        if name == "si":
            self._on_read()
        return super().__getattribute__(name)


class SystemReads:
    """A copy of a system to run, ``system``, and ``seen``: part and path of each number that was read of it."""

    def __init__(self, system: System) -> None:
        self.seen = set[tuple[str, str]]()
        self._copies: dict[int, Part] = {}
        links = tuple(replace(link, part=self._copy(link.part)) for link in system.links)
        cluster = replace(system.cluster, nic=self._copy(system.cluster.nic)) if system.cluster else None
        devices = {name: self._copy(part) for name, part in system.devices.items()}
        self.system = replace(system, devices=devices, links=links, cluster=cluster)

    def _copy(self, part: Part) -> Part:
        """The copy of ``part``, one for all that share it, under a description that no other copy has."""
        if id(part) not in self._copies:
            inside = {key: self._watched(getattr(part, key), part.name, key) for key in type(part).model_fields}
            inside["description"] = f"{part.description} [read {next(_numbers)}]"
            copy = type(part).model_construct(**inside)
            copy._stated = part._stated
            self._copies[id(part)] = copy
        return self._copies[id(part)]

    def _watched(self, node: Any, part: str, path: str) -> Any:
        if isinstance(node, Quantity):
            return self._number(node, part, path)
        if isinstance(node, dict):
            return {key: self._watched(value, part, f"{path}.{key}") for key, value in node.items()}
        if isinstance(node, Frozen):
            fields = {key: getattr(node, key) for key in type(node).model_fields}
            return type(node).model_construct(**self._watched(fields, part, path))
        return node

    def _number(self, number: Quantity, part: str, path: str) -> _Watched:
        watched = _Watched.model_construct(**{key: getattr(number, key) for key in Quantity.model_fields})
        watched._on_read = lambda: self.seen.add((part, path))
        return watched
