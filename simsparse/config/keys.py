# SPDX-License-Identifier: Apache-2.0
"""Every key of an experiment: how its value is read, what it changes in a run, and what reports call it.

Experiments, sweeps, the command line, the store's columns and reports read this table, so that a new key, and with it
a new axis of sweeps, is one line here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, WithJsonSchema

from simsparse.config.composition import composed_text, composition
from simsparse.config.layout import Layout
from simsparse.core import DType, Trace
from simsparse.core.active_channels import ActiveChannels
from simsparse.core.attention_mask import AttentionMask
from simsparse.errors import SpecError
from simsparse.sparsity import USUAL, Sparsity
from simsparse.sparsity.formats.storage import storage_text
from simsparse.sparsity.statement import syntax

Scalar = str | int | float | bool
"""A value of a key, as YAML gives it."""
LEVELS = (0, 1, 2)
"""Fidelities that an experiment may ask for: closed forms, discrete events, and these with cycle cores."""


def _said(read: Callable[[str], object]) -> BeforeValidator:
    """A validator that gives the canonical text of what ``read`` makes of a text, its SpecError as a ValueError."""

    def validate(value: Any) -> str:
        try:
            return str(read(value if isinstance(value, str) else repr(value)))
        except SpecError as error:
            raise ValueError(error.message) from None

    return BeforeValidator(validate)


def _level(value: int) -> int:
    if value not in LEVELS:
        raise ValueError(f"{value} is not a level; allowed: {', '.join(map(str, LEVELS))}")
    return value


def _scalar(value: Any) -> Any:
    if not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} is not a word or a number")
    return value


def _policy(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    try:
        return composed_text(composition(value))
    except SpecError as error:
        raise ValueError(f"{error.key}: {error.message}") from None


def _parallel(value: Any) -> str:
    try:
        return str(Layout.parse(value))
    except SpecError as error:
        raise ValueError(f"{error.key}: {error.message}") from None


AS_TRACED = "as traced"
"""The weight sparsity, or type, of a run that leaves it as its trace has it."""


def _weight_sparsity(text: str) -> str:
    return AS_TRACED if text == AS_TRACED else str(Sparsity.parse(text))


def _dtype(text: str) -> str:
    return AS_TRACED if text == AS_TRACED else str(DType.parse(text))


def _attention_mask(text: str) -> str:
    return AS_TRACED if text == AS_TRACED else str(AttentionMask.parse(text))


def _active_channels(text: str) -> str:
    return AS_TRACED if text == AS_TRACED else str(ActiveChannels.parse(text))


Text = Annotated[str, Field(min_length=1)]
PolicyText = Annotated[Text, BeforeValidator(_policy), WithJsonSchema({"type": ["string", "object"]})]
ParallelText = Annotated[str, BeforeValidator(_parallel), WithJsonSchema({"type": ["string", "object"]})]
StepCount = Annotated[int, Field(strict=True, ge=1, le=100_000)]
SparsityText = Annotated[str, _said(_weight_sparsity), Field(description=f"a sparsity: {syntax()}; or {AS_TRACED}")]
DTypeText = Annotated[str, _said(_dtype), Field(description=f"an element type such as fp16; or {AS_TRACED}")]
MaskText = Annotated[
    str, _said(_attention_mask), Field(description=f"an attention mask, such as a-shape:64+4096; or {AS_TRACED}")
]
ChannelsText = Annotated[str, _said(_active_channels), Field(description=f"a share such as 0.5 topk; or {AS_TRACED}")]
BatchSize = Annotated[int, Field(strict=True, ge=0, le=1_000_000)]
FormatText = Annotated[str, _said(storage_text), Field(description="a storage format: usual, csr, bsr:32, ...")]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
LevelNumber = Annotated[int, Field(strict=True), AfterValidator(_level)]
OptionValue = Annotated[Scalar, BeforeValidator(_scalar)]


class Shown(StrEnum):
    """What a key's value is part of in a report."""

    WORKLOAD = "workload"
    CONFIGURATION = "configuration"
    SPARSITY = "sparsity"
    AXIS = "axis"


@dataclass(frozen=True)
class Key:
    """One key.

    ``type`` reads its value, a pydantic annotation; ``default`` holds where a spec does not say the key, which it must
    where it is ``required``. ``meaning`` is for schemas and docs, ``label`` and ``shown`` for reports; ``label`` may
    format the value, as ``level {}`` does. A value other than the default is handed to ``on_trace`` with the trace and
    the words of ``exclude``; the value of an ``argument`` is handed to ``simulate`` under the key's name.
    """

    name: str
    type: Any
    default: Scalar | None
    meaning: str
    label: str
    shown: Shown = Shown.AXIS
    on_trace: Callable[[Trace, Any, tuple[str, ...]], Trace] | None = None
    argument: bool = False
    required: bool = False

    @cached_property
    def reader(self) -> TypeAdapter[Any]:
        """Reads a value. Its ``validate_python`` raises ValidationError."""
        return TypeAdapter(self.type)

    def text(self, value: str) -> str:
        """``value`` as a report names it."""
        return self.label.format(value) if "{" in self.label else value


_TABLE = (
    Key("workload.trace", Text, None, "a trace file", "workload", Shown.WORKLOAD, required=True),
    Key("system", Text, None, "a system, or a part alone", "system", Shown.CONFIGURATION, required=True),
    Key("policy", PolicyText, "resident", "what lies where and is copied when: a name, or a mapping of parts", "policy",
        Shown.CONFIGURATION, argument=True),
    Key("stack", Text, "fused+graph", "the software that launches kernels: eager, compiled or fused, +graph replayed",
        "stack", Shown.CONFIGURATION, argument=True),
    Key("steps", StepCount, 1, "decode steps of the trace, one after another", "{} steps", argument=True),
    Key("routing", str, "", "the process that routes tokens in each step; empty: that of the trace", "routing",
        argument=True),
    Key("parallel", ParallelText, "", "how the model is split over GPUs: a mapping such as {tp: 2, ep: 4}; empty: not",
        "layout", Shown.CONFIGURATION, argument=True),
    Key("seed", Seed, 0, "for policies that draw", "seed", argument=True),
    Key("level", LevelNumber, 1, "0 closed forms, 1 discrete events, 2 these with cycle cores", "level {}",
        Shown.CONFIGURATION, argument=True),
    Key("dtype", DTypeText, AS_TRACED, "the element type in place of the trace's main one", "type",
        on_trace=Trace.with_dtype),
    Key("batch", BatchSize, 0, "sequences or images in place of the trace's; 0: that of the trace", "batch {}",
        on_trace=Trace.with_batch),
    Key("weight_sparsity", SparsityText, AS_TRACED, "what every weight is taken to be", "sparsity", Shown.SPARSITY,
        on_trace=Trace.with_weight_sparsity),
    Key("attention_mask", MaskText, AS_TRACED, "which keys attention reads", "attention", Shown.SPARSITY,
        on_trace=Trace.with_attention_mask),
    Key("active_channels", ChannelsText, AS_TRACED, "the share of inputs that linear layers of few tokens read",
        "active channels", Shown.SPARSITY, on_trace=Trace.with_active_channels),
    Key("weight_format", FormatText, USUAL, "how every weight is stored", "stored as",
        on_trace=Trace.with_weight_format),
)  # fmt: skip
KEYS: Mapping[str, Key] = {key.name: key for key in _TABLE}
"""The keys by name."""
OVERRIDE, OPTION = "override.", "policy_options."
PREFIXES: Mapping[str, str] = {OVERRIDE: "override.PATH", OPTION: "policy_options.NAME"}
"""How keys with a free name begin, values of the system and options of the policy, and how messages show them."""
_SCALAR: TypeAdapter[Any] = TypeAdapter(OptionValue)


def is_key(name: str) -> bool:
    """Whether ``name`` is a key that an axis may set."""
    return name in KEYS or name.startswith(tuple(PREFIXES))


def known_keys() -> list[str]:
    """All keys, as messages show them."""
    return [*KEYS, *PREFIXES.values()]


def read_value(name: str, value: Any) -> Scalar:
    """The value of the key ``name``. Raises pydantic's ValidationError."""
    read: Scalar = (KEYS[name].reader if name in KEYS else _SCALAR).validate_python(value)
    return read


def label_of(name: str) -> str:
    """What a report calls a key or a named axis: without its prefix, underscores as blanks."""
    if name in KEYS:
        return KEYS[name].label.replace("{}", "").strip()
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name.replace("_", " ")


def names_shown(shown: Shown) -> list[str]:
    """The keys that are ``shown`` as that, in the order of the table."""
    return [key.name for key in KEYS.values() if key.shown is shown]
