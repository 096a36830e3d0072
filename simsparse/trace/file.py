"""Trace files."""

from __future__ import annotations

from pathlib import Path

from simsparse.core import Trace


def save_trace(trace: Trace, path: str | Path) -> Path:
    raise NotImplementedError


def load_trace(path: str | Path) -> Trace:
    raise NotImplementedError
