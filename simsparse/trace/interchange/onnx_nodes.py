# SPDX-License-Identifier: Apache-2.0
"""Nodes of ONNX graphs: made, and walked with those inside others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

AXES_AS_INPUT = 13
"""The opset from which Unsqueeze takes its axes as an input."""


def node_of(kind: str, inputs: Sequence[str], outputs: Sequence[str], **attrs: Any) -> Any:
    """A node of the standard domain."""
    import onnx

    return onnx.helper.make_node(kind, list(inputs), list(outputs), **attrs)


def constant(name: str, value: int | bool | Sequence[int]) -> Any:
    """A node that gives whole numbers, or a truth."""
    import numpy as np
    import onnx

    dtype = np.bool_ if isinstance(value, bool) else np.int64
    return node_of("Constant", [], [name], value=onnx.numpy_helper.from_array(np.array(value, dtype)))


def unsqueezed(value: str, made: str, axis: int, opset: int) -> list[Any]:
    """Nodes that give ``value`` an axis of length 1."""
    if opset < AXES_AS_INPUT:
        return [node_of("Unsqueeze", [value], [made], axes=[axis])]
    return [constant(f"{made}/axis", [axis]), node_of("Unsqueeze", [value, f"{made}/axis"], [made])]


def nodes_within(nodes: Sequence[Any]) -> Iterator[Any]:
    """Nodes and those of the graphs in their attributes."""
    pending = list(nodes)
    while pending:
        node = pending.pop()
        yield node
        for attr in node.attribute:
            for graph in (*((attr.g,) if attr.HasField("g") else ()), *attr.graphs):
                pending += graph.node
