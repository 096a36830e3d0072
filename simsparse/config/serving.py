# SPDX-License-Identifier: Apache-2.0
"""Serving experiments as YAML, checked before anything runs."""

from __future__ import annotations

from copy import deepcopy
from itertools import product
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from simsparse.config.keys import OptionValue, Seed, Text
from simsparse.config.quantity import Frozen
from simsparse.config.run_spec import RunName, load_document
from simsparse.config.validated import validate_document
from simsparse.config.yaml import Document

Options = dict[str, Any]
Count = Annotated[int, Field(strict=True, ge=1, le=10_000_000)]
PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class RequestsSpec(Frozen):
    """Requests: those of a file, or ``count`` drawn ones.

    ``file`` is looked up as given, then beside the spec; ``count`` takes its first ones. ``scale`` multiplies the rate
    of a file's arrivals. ``shared_prefix``: leading tokens that all drawn prompts have in common.
    """

    file: Text | None = None
    count: Count | None = None
    arrivals: Options | str | None = None
    input: int | Options | None = None
    output: int | Options | None = None
    shared_prefix: Annotated[int, Field(strict=True, ge=0)] = 0
    scale: PositiveNumber = 1.0

    @model_validator(mode="after")
    def _one_source(self) -> RequestsSpec:
        drawn = {"count": self.count, "arrivals": self.arrivals, "input": self.input, "output": self.output}
        if self.file is None and (missing := [name for name, value in drawn.items() if value is None]):
            raise ValueError(f"expected a file, or {', '.join(missing)} too")
        if self.file is not None and (self.input is not None or self.output is not None or self.shared_prefix):
            raise ValueError("a file has lengths and prefixes of its own")
        return self


class KvSpec(Frozen):
    """The cache of keys and values: tokens of a block, blocks in all, whether prompts' blocks stay for others,
    and whether caches of sequences that lose their place go to the host instead of being read anew."""

    block: Annotated[int, Field(strict=True, ge=1, le=65536)] = 16
    blocks: Annotated[int, Field(strict=True, ge=1)] | None = None
    prefix_cache: bool = False
    swap: bool = False


class SloSpec(Frozen):
    """Seconds within which a request is good."""

    ttft: PositiveNumber | None = None
    tpot: PositiveNumber | None = None
    e2e: PositiveNumber | None = None


class ServeSpec(Frozen):
    """Requests over time on replicas of a model.

    ``price_per_device_hour`` is in any currency. ``override`` maps DEVICE_OR_LINK.FIELD[.FIELD] to a value with its
    unit. ``axes`` maps keys of this file, such as requests.arrivals.rate or policy.max_seqs, to lists of values, all of
    which are combined.
    """

    name: RunName
    description: str = ""
    model: Text
    system: Text
    requests: RequestsSpec
    policy: Options | str = "chunked"
    engine: Text = "asynchronous/1"
    stack: Text = "fused+graph"
    kv: KvSpec = KvSpec()
    replicas: Annotated[int, Field(strict=True, ge=1, le=4096)] = 1
    router: Literal["round_robin", "least_loaded", "cache_aware"] = "round_robin"
    parallel: Options | str = ""
    weights: str = ""
    residency: Text = "resident"
    speculation: Options | None = None
    disaggregated: Options | None = None
    slo: SloSpec = SloSpec()
    price_per_device_hour: PositiveNumber | None = None
    seed: Seed = 0
    override: dict[str, OptionValue] = Field(default_factory=dict)
    axes: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)


def load_serving(name: str) -> tuple[ServeSpec, Document]:
    """The serving experiment in the YAML file ``name``. Raises SpecError that names file, line and key."""
    document = load_document(name)
    spec: ServeSpec = validate_document(document, ServeSpec, document.data)
    return spec, document


class ServingPoint(NamedTuple):
    """One point of ``axes``: its values by key, and the experiment with them as data."""

    values: dict[str, Any]
    data: dict[str, Any]


def serving_points(spec: ServeSpec, document: Document) -> list[ServingPoint]:
    """All combinations of the values of ``axes``, the last key's changing first; each is a valid experiment.

    Raises SpecError that names file, line and key.
    """
    found = []
    for combined in product(*spec.axes.values()):
        values = dict(zip(spec.axes, combined, strict=True))
        data = {key: deepcopy(value) for key, value in document.data.items() if key != "axes"}
        for name, value in values.items():
            _put(data, name, value, document)
        validate_document(document, ServeSpec, data)
        found.append(ServingPoint(values, data))
    return found


def _put(data: dict[str, Any], name: str, value: Any, document: Document) -> None:
    *above, last = name.split(".", 1) if name.startswith("override.") else name.split(".")
    inside = data
    for step in above:
        inside = inside.setdefault(step, {})
        if not isinstance(inside, dict):
            raise document.error(("axes", name), f"{step} is {inside!r}; an axis below it needs a mapping there")
    if name in ("name", "axes"):
        raise document.error(("axes", name), "is no axis")
    inside[last] = deepcopy(value)
