# SPDX-License-Identifier: Apache-2.0
"""Where parts and systems lie."""

from __future__ import annotations

from pathlib import Path

from simsparse.errors import SpecError, nearest
from simsparse.paths import data_root, is_file


def part_names() -> list[str]:
    """Names of all parts and systems: paths under hw_models/ without the suffix."""
    root = data_root() / "hw_models"
    return sorted(str(path.relative_to(root).with_suffix("")) for path in root.glob("*/*.yaml"))


def find_part(name: str, beside: Path | None = None) -> Path:
    """The file of a part or system: a name under hw_models/, or a path to a YAML file.

    Raises SpecError with the nearest name.
    """
    candidates = [data_root() / "hw_models" / f"{name}.yaml"] if not Path(name).is_absolute() else []
    candidates.append(Path(name))
    if beside is not None:
        candidates.append(beside / name)
    for path in candidates:
        if path.suffix in (".yaml", ".yml") and is_file(path):
            return path
    raise SpecError(f"{name[:200]!r} is no part and no YAML file; {nearest(name, part_names())}")
