# SPDX-License-Identifier: Apache-2.0
"""torch's ExecutionTraceObserver JSON: import only.

Schema 1.0.2 to 1.1.1 with chakra 0.0.4, as torch 2.1 and later write it: ``nodes`` with ``inputs``
and ``outputs`` of values, shapes and types. Such a file has shapes and storages, but no module path
and no weights, so ops are named by operator and node.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from simsparse.errors import TraceError
from simsparse.limits import check_json
from simsparse.trace.interchange.aten_nodes import Lowering
from simsparse.trace.interchange.aten_tensors import AtenNode
from simsparse.trace.interchange.base import (
    TRACE_FORMATS,
    Imported,
    ImportOptions,
    TraceFormat,
    read_bounded,
)


def read_torch_et(path: Path, options: ImportOptions) -> Imported:
    """The trace of an ExecutionTraceObserver file, plain or gzip'd. Raises TraceError naming file and node."""
    text = read_bounded(path, options.limits)
    check_json(text, options.limits)
    data = json.loads(text)
    del text
    raw = data.get("nodes") if isinstance(data, dict) else None
    if not isinstance(raw, list) or "schema" not in data:
        raise TraceError("is no execution trace: no schema and nodes")
    options.limits.check("values", len(raw))
    nodes = [_node(each, i) for i, each in enumerate(raw)]
    meta = {"source": "torch execution trace", "schema": str(data["schema"])[:60]}
    trace, notes = Lowering(path.name.split(".")[0], options, meta).run(nodes)
    return Imported(trace, notes.lines())


def _node(raw: Any, i: int) -> AtenNode:
    try:
        attrs = {attr["name"]: attr["value"] for attr in raw.get("attrs", [])}
        parent = raw["ctrl_deps"] if "ctrl_deps" in raw else raw["parent"]
        if type(raw["id"]) is not int or type(parent) is not int or not isinstance(raw["name"], str):
            raise TypeError("id, parent and name are two whole numbers and text")
        schema = attrs.get("op_schema", raw.get("op_schema", ""))
        return AtenNode(
            raw["id"], parent, raw["name"], str(schema), _slots(raw["inputs"]), _slots(raw["outputs"]), attrs
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TraceError(f"is not a node of an execution trace: {error}", key=f"nodes[{i}]") from error


def _slots(side: Any) -> list[tuple[Any, Any, str]]:
    return list(zip(side["values"], side["shapes"], side["types"], strict=True))


TRACE_FORMATS.register("torch-et")(
    TraceFormat("torch-et", (".json", ".json.gz"), "torch ExecutionTraceObserver JSON", read=read_torch_et)
)
