# SPDX-License-Identifier: Apache-2.0
"""Traces: extraction from torch models, the trace file, statistics, generated routing.

Importing this package does not import torch; ``trace_model`` does when it is
first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "trace_model": "simsparse.trace.capture.tracing",
    "save_trace": "simsparse.trace.file",
    "load_trace": "simsparse.trace.file",
}

__all__ = ["load_trace", "save_trace", "trace_model"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'simsparse.trace' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
