"""JSON Schemas of the YAML files, for editors that complete and check them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from simsparse.config.experiment import Experiment, Sweep
from simsparse.config.hardware import PARTS
from simsparse.config.quantity import Basis, Quantity

DIALECT = "https://json-schema.org/draft/2020-12/schema"
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


def _of(model: type[BaseModel]) -> dict[str, Any]:
    return {"$schema": DIALECT, **TypeAdapter(model).json_schema(schema_generator=_AsWritten, by_alias=True)}


def experiment_schema() -> dict[str, Any]:
    """Schema of an experiment."""
    return _of(Experiment)


def sweep_schema() -> dict[str, Any]:
    """Schema of a sweep."""
    return _of(Sweep)


def hardware_schema(kind: str | None = None) -> dict[str, Any]:
    """Schema of a part of ``kind``, or of any part. Raises SpecError when there is no such kind."""
    kinds = [kind] if kind is not None else list(PARTS)
    schemas = [_part(name) for name in kinds]
    if kind is not None:
        return {"$schema": DIALECT, **schemas[0]}
    return {"$schema": DIALECT, "oneOf": schemas}


def _part(kind: str) -> dict[str, Any]:
    """A part's schema without ``name``, which the loader takes from the path."""
    schema = _of(PARTS.get(kind))
    schema.pop("$schema")
    schema["properties"].pop("name", None)
    schema["required"] = [key for key in schema.get("required", []) if key != "name"]
    return schema


SCHEMAS: Mapping[str, Callable[..., dict[str, Any]]] = {
    "experiment": experiment_schema, "sweep": sweep_schema, "hardware": hardware_schema,
}  # fmt: skip
