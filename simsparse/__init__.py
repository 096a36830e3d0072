"""simsparse: how long a sparse model takes on a machine, what energy it costs, and why."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

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
    "estimate": "simsparse.estimate",
    "estimate_many": "simsparse.estimate",
    "cycles": "simsparse.estimate",
    "trace_cycles": "simsparse.estimate",
    "simulate": "simsparse.simulate",
    "run_sweep": "simsparse.sweep",
}

__all__ = ["__version__", *_WHERE]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    module = _WHERE.get(name)
    if module is None:
        raise AttributeError(f"module 'simsparse' has no attribute {name!r}")
    loaded = import_module(module)
    return loaded if module.rsplit(".", 1)[-1] == name and not hasattr(loaded, name) else getattr(loaded, name)


class _Package(ModuleType):
    """``simulate`` and ``estimate`` are functions here, although modules of the same names are imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        shadowed = isinstance(value, ModuleType) and _WHERE.get(name) == value.__name__
        super().__setattr__(name, getattr(value, name) if shadowed else value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted(__all__)
