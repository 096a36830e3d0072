# SPDX-License-Identifier: Apache-2.0
"""Blocks at parameters of one's own: what a parameter of the module is in the block's fields is found by trying."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from simsparse.errors import SpecError
from simsparse.rtl.block import BLOCKS, RtlBlock
from simsparse.rtl.build import bench

_FOLLOWS = {"WeightWidth"}
"""Parameters whose default is another one's value."""


def varied(module: str, settings: Mapping[str, int]) -> RtlBlock:
    """The first parameter set of ``module`` with ``settings`` instead, built.

    Raises SpecError on an unknown module or parameter, SimulationError when the module refuses a value.
    """
    block = BLOCKS.get(module)[0]
    for name, value in settings.items():
        block = _with(block, name, value)
    bench(block)
    return block


def setting(text: str) -> tuple[str, int]:
    """``N=3`` as name and value. Raises SpecError on anything else."""
    name, equals, value = text.partition("=")
    if not equals or not value.lstrip("-").isdigit():
        raise SpecError(f"{text!r}; expected NAME=NUMBER, such as N=3", key="--param")
    return name, int(value)


def _with(block: RtlBlock, name: str, value: int) -> RtlBlock:
    for candidate in _replaced(block, value):
        now = candidate.parameters
        others = {key for key in {*now, *block.parameters} - {name} if now.get(key) != block.parameters.get(key)}
        if now.get(name) == value and others <= _FOLLOWS and isinstance(candidate, RtlBlock):
            return candidate
    known = ", ".join(block.parameters)
    raise SpecError(f"{block.module} can't be verified with {name}={value}; its parameters are {known}", key="--param")


def _replaced(thing: Any, value: int) -> Iterator[Any]:
    """``thing`` with each of its numbers, and those of what it holds, replaced by ``value``, one at a time."""
    for field in fields(thing):
        now = getattr(thing, field.name)
        if is_dataclass(now):
            yield from (replace(thing, **{field.name: inner}) for inner in _replaced(now, value))
        elif isinstance(now, int):
            yield replace(thing, **{field.name: type(now)(value)})
