"""What experiments and sweeps share: their common fields, and values by key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from simsparse.config.quantity import Frozen
from simsparse.config.yaml import Document, read_yaml
from simsparse.errors import SpecError
from simsparse.paths import find_file
from simsparse.sparsity.statement import Sparsity, syntax

Scalar = str | int | float | bool
"""A value of a key of an experiment, as YAML gives it."""

LEVELS = (0, 1, 2)
"""Fidelities that an experiment may ask for: closed forms, discrete events."""


def sparsity_text(value: Any) -> str:
    """The canonical text of a sparsity. Raises ValueError that says what is allowed."""
    try:
        return str(Sparsity.parse(value if isinstance(value, str) else repr(value)))
    except SpecError as error:
        raise ValueError(error.message) from None


def _level(value: int) -> int:
    if value not in LEVELS:
        raise ValueError(f"{value} is not a level; allowed: {', '.join(map(str, LEVELS))}")
    return value


def _scalar(value: Any) -> Any:
    if not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} is not a word or a number")
    return value


Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]
SparsityText = Annotated[str, BeforeValidator(sparsity_text), Field(description=f"a sparsity: {syntax()}")]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Level = Annotated[int, Field(strict=True), AfterValidator(_level)]
Value = Annotated[Scalar, BeforeValidator(_scalar)]


class WorkloadSpec(Frozen):
    """What is run: a trace file, looked up as given, beside the spec, then among the shipped traces."""

    trace: Text


class Setting(Frozen):
    """The fields that an experiment and a sweep share.

    ``exclude`` are words: weights whose module or op name holds one stay dense. ``override`` maps
    DEVICE_OR_LINK.FIELD[.FIELD] of the system to a value with its unit.
    """

    name: Name
    description: str = ""
    policy: Text = "resident"
    policy_options: dict[str, Value] = Field(default_factory=dict)
    seed: Seed = 0
    level: Level = 1
    weight_sparsity: SparsityText = "dense"
    exclude: tuple[Text, ...] = ("lm_head", "router")
    override: dict[str, Value] = Field(default_factory=dict)


def load_document(name: str) -> Document:
    """The YAML file ``name``, as a path or among the shipped configs. Raises SpecError."""
    document = read_yaml(find_file(name))
    if not isinstance(document.data, dict):
        raise document.error((), "expected a mapping")
    return document


def settings(setting: Setting) -> dict[str, Scalar]:
    """What ``setting`` says by key, in the keys that axes use: ``policy``, ``override.PATH``, ..."""
    flat: dict[str, Scalar] = {
        "policy": setting.policy, "seed": setting.seed, "level": setting.level,
        "weight_sparsity": setting.weight_sparsity,
    }  # fmt: skip
    workload, system = getattr(setting, "workload", None), getattr(setting, "system", None)
    flat |= {"workload.trace": workload.trace} if workload else {}
    flat |= {"system": system} if system else {}
    return flat | _prefixed("policy_options", setting.policy_options) | _prefixed("override", setting.override)


def _prefixed(prefix: str, values: Mapping[str, Scalar]) -> dict[str, Scalar]:
    return {f"{prefix}.{key}": value for key, value in values.items()}


def folder(document: Document) -> Path:
    """The folder of a spec, where relative names are looked up."""
    return Path(document.file).parent
