# SPDX-License-Identifier: Apache-2.0
"""Points of a sweep that differ in the texts of overrides alone: planned, sent and keyed together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from json.encoder import encode_basestring_ascii
from typing import Any, overload

from simsparse.config.keys import OVERRIDE, Scalar
from simsparse.store.forms import Holes, form_of
from simsparse.sweep.point import PointRun, SweepPoint, identity_of


@dataclass(frozen=True)
class Alike(Sequence[PointRun]):
    """Runs that differ in the texts of overrides alone.

    ``run`` is one of them, whose keys and texts of ``paths`` each other one replaces by its own.
    """

    run: PointRun
    paths: tuple[str, ...]
    keys: Sequence[str]
    texts: Sequence[tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[PointRun]:
        return (self[i] for i in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> PointRun: ...
    @overload
    def __getitem__(self, index: slice) -> Alike: ...
    def __getitem__(self, index: int | slice) -> PointRun | Alike:
        if isinstance(index, slice):
            return replace(self, keys=self.keys[index], texts=self.texts[index])
        own = dict(zip(self.paths, self.texts[index], strict=True))
        override = tuple((path, own.get(path, text)) for path, text in self.run.override)
        return replace(self.run, key=self.keys[index], override=override)


@dataclass(frozen=True, eq=False)
class AlikeSet:
    """What points have in common that differ in overrides alone: ``point`` is one of them.

    ``names``: the keys and axes among the columns that differ, in the order in which points say their values.
    """

    point: SweepPoint
    names: tuple[str, ...]

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """The paths of the overrides that differ."""
        return tuple(name.removeprefix(OVERRIDE) for name in self.names if name.startswith(OVERRIDE))

    @cached_property
    def form(self) -> str:
        """The form of the columns."""
        return form_of(self.point.columns, [name for name in self.point.columns if name in self.names])

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Places among ``names`` of the columns that differ, in their order."""
        return tuple(self.names.index(name) for name in self.point.columns if name in self.names)

    @cached_property
    def _keyed(self) -> tuple[Any, tuple[tuple[int, bytes], ...]]:
        """The hash of what stands before the first text, and for each text its place and what follows it."""
        run, holes = self.point.run, Holes()
        tokens = {path: holes.token(i) for i, path in enumerate(self.paths)}
        marked = replace(run, override=tuple((path, tokens.get(path, text)) for path, text in run.override))
        form, numbers = holes.form(json.dumps(identity_of(marked)))
        first, *rest = (piece.encode() for piece in form.split("\x01"))
        return hashlib.sha256(first), tuple(zip(numbers, rest, strict=True))

    def key(self, texts: Sequence[str]) -> str:
        """The key of the run with ``texts`` at ``paths``."""
        start, pieces = self._keyed
        found = start.copy()
        for number, after in pieces:
            found.update(encode_basestring_ascii(texts[number]).encode() + after)
        digest: str = found.hexdigest()
        return digest


@dataclass(frozen=True, slots=True)
class AlikePoint:
    """A point of a family: its place, its key, the values of ``family.names``, and the texts of its overrides."""

    index: int
    key: str
    family: AlikeSet
    values: tuple[Scalar, ...]
    texts: tuple[str, ...]

    @property
    def run(self) -> PointRun:
        """What it runs."""
        return Alike(self.family.point.run, self.family.paths, [self.key], [self.texts])[0]
