# SPDX-License-Identifier: Apache-2.0
"""Documents against schemas: the first fault, with its file, line, key and value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from simsparse.config.quantity import Frozen, shown
from simsparse.config.yaml import Document, KeyPath
from simsparse.errors import nearest


def fault_message(detail: Any) -> str:
    """What is wrong, in one line, from one item of pydantic's ``errors()``."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return "unknown key"
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return str(context.get("error", detail["msg"]))
    return f"{shown(detail['input'])}: {detail['msg']}"


def validate_document(document: Document, model: type[Frozen], data: Mapping[str, Any]) -> Any:
    """``data`` as ``model``; the first fault as a SpecError that names file, line, key and value."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        detail = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")  # a slip, before what it hides
        path: KeyPath = tuple(step for step in detail["loc"] if step != "[key]")
        message = fault_message(detail)
        if detail["type"] == "extra_forbidden":
            message = f"unknown key; {nearest(str(path[-1]), _fields(model, path[:-1]))}"
        raise document.error(path, message) from error


def _fields(model: type[Frozen], path: KeyPath) -> list[str]:
    """Names that may stand at ``path`` of ``model``; an index or a free key stays with its items' type."""
    current = _types(model)
    for step in path:
        owner = next((kind for kind in current if step in getattr(kind, "model_fields", {})), None)
        current = _types(owner.model_fields[step].annotation) if owner else current
    fields = [name for kind in current for name in getattr(kind, "model_fields", {})]
    return [name for name in fields if path or name != "name"]


def _types(annotation: Any) -> list[Any]:
    arguments = getattr(annotation, "__args__", ())
    return [annotation, *(found for argument in arguments for found in _types(argument))]
