# SPDX-License-Identifier: Apache-2.0
"""Models to trace: the zoo, models with trained weights, and what makes the committed traces.

Importing this package does not import torch; its functions do when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "extract": "simsparse.models.by_name",
    "MODELS": "simsparse.models.by_name",
    "prune_nm": "simsparse.models.prune",
}

__all__ = ["MODELS", "extract", "prune_nm"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'simsparse.models' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
