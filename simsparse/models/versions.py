# SPDX-License-Identifier: Apache-2.0
"""Versions of the libraries that shape a trace."""

from __future__ import annotations


def versions() -> dict[str, str]:
    """Versions of the libraries that shape a trace."""
    from importlib.metadata import version

    return {"torch": version("torch").partition("+")[0], "transformers": version("transformers")}
