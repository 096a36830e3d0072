# SPDX-License-Identifier: Apache-2.0
"""The code that answers depend on, by hash."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import metadata
from pathlib import Path

import simsparse
from simsparse.errors import SimulationError

_NOT_COMPUTING = ("cli/", "report/", "validate/", "probe/")
_GROUP = "simsparse."


@cache
def code_sha256() -> str:
    """Hash of the package's sources that an answer can depend on and of the versions of what extends it.

    Raises SimulationError when a source was changed after this process had imported the package: what it runs is then
    not what lies in the files.
    """
    package = Path(simsparse.__file__).resolve().parent
    total = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        if name.startswith(_NOT_COMPUTING):
            continue
        if path.stat().st_mtime_ns > simsparse.IMPORTED_NS:
            raise SimulationError("was changed after this process had started; start it again", file=str(path))
        total.update(f"{name}\0".encode() + path.read_bytes())
    for line in _extensions():
        total.update(line.encode())
    return total.hexdigest()


def _extensions() -> list[str]:
    """Name, value, package and version of every entry point that adds something to the package."""
    found = metadata.entry_points()
    entries = [entry for group in found.groups if group.startswith(_GROUP) for entry in found.select(group=group)]
    return sorted(
        f"\0{entry.group}\0{entry.name}\0{entry.value}\0{entry.dist and (entry.dist.name, entry.dist.version)}"
        for entry in entries
    )
