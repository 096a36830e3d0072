# SPDX-License-Identifier: Apache-2.0
"""JSON Schemas of the YAML files, for editors that complete and check them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema

from simsparse.config.experiment import Experiment, Sweep
from simsparse.config.hardware import PARTS
from simsparse.config.hardware import _SystemSpec as SystemSpec
from simsparse.config.quantity import Basis, Quantity
from simsparse.config.serving import ServeSpec
from simsparse.config.study import Study
from simsparse.errors import SpecError, nearest

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SYSTEM = "system"
_QUANTITY: JsonSchemaValue = {
    "type": "object",
    "properties": {
        "value": {"type": ["string", "number"], "description": "a number with its unit, such as 3.35 TB/s"},
        "source": {"type": ["string", "null"], "description": "a key of hw_models/sources.yaml"},
        "basis": {"enum": [str(basis) for basis in Basis if basis is not Basis.OVERRIDE]},
        "note": {"type": "string"},
    },
    "required": ["value", "source", "basis"],
    "additionalProperties": False,
}


class _AsWritten(GenerateJsonSchema):
    """Quantities as files write them: {value, source, basis, note}."""

    def model_schema(self, schema: Any) -> JsonSchemaValue:
        return dict(_QUANTITY) if schema["cls"] is Quantity else super().model_schema(schema)


def _of(models: Sequence[type[BaseModel]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """References to the schemas of ``models``, and the definitions that they refer to."""
    inputs: list[Any] = [(model, "validation") for model in models]
    references, definitions = models_json_schema(inputs, schema_generator=_AsWritten)
    return [references[model, "validation"] for model in models], definitions["$defs"]


def experiment_schema() -> dict[str, Any]:
    """Schema of an experiment."""
    return _alone(Experiment)


def sweep_schema() -> dict[str, Any]:
    """Schema of a sweep."""
    return _alone(Sweep)


def study_schema() -> dict[str, Any]:
    """Schema of a study."""
    return _alone(Study)


def serving_schema() -> dict[str, Any]:
    """Schema of a serving experiment."""
    return _alone(ServeSpec)


def _alone(model: type[BaseModel]) -> dict[str, Any]:
    _, definitions = _of([model])
    return {"$schema": DIALECT, **definitions.pop(model.__name__), "$defs": definitions}


def hardware_schema(kind: str | None = None) -> dict[str, Any]:
    """Schema of a part of ``kind`` or of a system, or of any of them. Raises SpecError on another kind."""
    kinds = [*PARTS, SYSTEM]
    if kind is not None and kind not in kinds:
        raise SpecError(f"{kind!r} is not a part kind; {nearest(kind, kinds)}", key="kind")
    models = [SystemSpec if name == SYSTEM else PARTS.get(name) for name in ([kind] if kind else kinds)]
    references, definitions = _of(models)
    for model in models:
        _without_name(definitions[model.__name__])
    return {"$schema": DIALECT, "oneOf": references, "$defs": definitions}


def _without_name(schema: dict[str, Any]) -> None:
    """Drop ``name``, which the loader takes from the path."""
    schema["properties"].pop("name", None)
    schema["required"] = [key for key in schema["required"] if key != "name"]


SCHEMAS: Mapping[str, Callable[..., dict[str, Any]]] = {
    "experiment": experiment_schema, "sweep": sweep_schema, "study": study_schema, "hardware": hardware_schema,
    "serving": serving_schema,
}  # fmt: skip
