# SPDX-License-Identifier: Apache-2.0
"""Registries: a device, format, dataflow or policy is one file and one registration line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module, metadata
from pkgutil import iter_modules
from typing import Generic, TypeVar

from simsparse.errors import SpecError, nearest

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to implementations of one role.

    Parameters: role, the word used in messages and in the entry-point group ``simsparse.<role>``
    (spaces as underscores); modules, the package's own modules that register, imported on first use;
    package, all modules of which are imported on first use; some may register nothing; beside, ``MODULE:NAME`` of
    another registry whose modules may register here too. They are imported when a name is not found without them.
    """

    def __init__(self, role: str, modules: tuple[str, ...] = (), package: str = "", beside: str = "") -> None:
        self.role = role
        self._modules = modules
        self._package = package
        self._beside = beside
        self._items: dict[str, T] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: register an implementation as ``name``. Raises SpecError when it is taken."""

        def add(item: T) -> T:
            if name in self._items and self._items[name] is not item:
                raise SpecError(f"{self.role} {name!r} is registered twice")
            self._items[name] = item
            return item

        return add

    def get(self, name: str) -> T:
        """The implementation called ``name``. Raises SpecError with the nearest valid name."""
        self._find(name)
        try:
            return self._items[name]
        except KeyError:
            raise SpecError(f"{name!r} is not a {self.role}; {nearest(name, self._items)}") from None

    def __contains__(self, name: object) -> bool:
        self._find(name)
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        self.load()
        self._load_beside()
        return iter(sorted(self._items))

    def _find(self, name: object) -> None:
        self.load()
        if name not in self._items:
            self._load_beside()

    def _load_beside(self) -> None:
        if self._beside:
            module, _, other = self._beside.partition(":")
            getattr(import_module(module), other).load()

    def load(self) -> None:
        """Import what registers here."""
        if self._loaded:
            return
        self._loaded = True
        for module in (*self._modules, *self._found()):
            import_module(module)
        for entry in metadata.entry_points(group=f"simsparse.{self.role.replace(' ', '_')}"):
            self.register(entry.name)(entry.load())

    def _found(self) -> list[str]:
        if not self._package:
            return []
        folder = import_module(self._package).__path__
        return [f"{self._package}.{module.name}" for module in iter_modules(folder)]
