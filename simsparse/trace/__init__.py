"""Traces: extraction from torch models, the trace file, generated routing.

Importing this package does not import torch; ``trace_model``, ``extract`` and ``prune_nm`` do when
they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "trace_model": "simsparse.trace.tracing",
    "extract": "simsparse.trace.models",
    "MODELS": "simsparse.trace.models",
    "prune_nm": "simsparse.trace.prune",
    "save_trace": "simsparse.trace.file",
    "load_trace": "simsparse.trace.file",
}

__all__ = ["MODELS", "extract", "load_trace", "prune_nm", "save_trace", "trace_model"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'simsparse.trace' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
