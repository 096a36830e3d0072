# SPDX-License-Identifier: Apache-2.0
"""What a device is there for in a system."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What a device does in a system.

    A part has a role of its own; a system's file may give a device another.
    """

    PROCESSOR = "processor"
    """Runs a trace's operators."""
    HOST = "host"
    """Keeps what does not fit elsewhere; runs operators where a placement allows it, or where nothing else can."""
    MEMORY = "memory"
    """Holds bytes and moves them, as fast as DRAM."""
    STORAGE = "storage"
    """Holds bytes and moves them, page by page."""
    SWITCH = "switch"
    """Passes on what crosses it; it holds nothing."""
