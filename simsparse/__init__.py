# SPDX-License-Identifier: Apache-2.0
"""simsparse: how long a sparse model takes on a machine, what energy it costs, and why."""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

__version__ = "0.1.0"
IMPORTED_NS = time.time_ns()
"""When this process imported the package, on the clock of file systems."""

_WHERE = {
    "ops": "simsparse.core.ops",
    "Op": "simsparse.core",
    "Sparsity": "simsparse.core",
    "Trace": "simsparse.core",
    "TraceBuilder": "simsparse.core",
    "Result": "simsparse.core",
    "SimsparseError": "simsparse.errors",
    "load_hardware": "simsparse.config.hardware",
    "load_system": "simsparse.config.hardware",
    "load_trace": "simsparse.trace.file",
    "trace_model": "simsparse.trace",
    "estimate": "simsparse._estimate",
    "estimate_many": "simsparse._estimate",
    "cycles": "simsparse._estimate",
    "trace_cycles": "simsparse._estimate",
    "map_ops": "simsparse.devices.mapping",
    "dram_stream": "simsparse.dram",
    "simulate": "simsparse._simulate",
    "Steps": "simsparse.sources",
    "serve": "simsparse._serve",
    "Requests": "simsparse.sources.requests",
    "draw_requests": "simsparse.sources.draw_requests",
    "read_requests": "simsparse.sources.request_files",
    "run_sweep": "simsparse.sweep",
}

__all__ = ["__version__", *_WHERE]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    module = _WHERE.get(name)
    if module is None:
        raise AttributeError(f"module 'simsparse' has no attribute {name!r}")
    loaded = import_module(module)
    return loaded if module == f"simsparse.core.{name}" else getattr(loaded, name)


def __dir__() -> list[str]:
    return sorted(__all__)
