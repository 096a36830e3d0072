# SPDX-License-Identifier: Apache-2.0
"""Where parts and systems lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simsparse.errors import SpecError, nearest
from simsparse.paths import data_root, is_file


def part_names() -> list[str]:
    """Names of all parts and systems: paths under hw_models/ without the suffix."""
    root = data_root() / "hw_models"
    return sorted(str(path.relative_to(root).with_suffix("")) for path in root.glob("*/*.yaml"))


def find_part(name: str, beside: Path | None = None, systems: bool = True) -> Path:
    """The file of a part or system: a name under hw_models/, a path to a YAML file, or a short name of one of them.

    A short name is taken when it is that of one part alone, or one begins with it alone, in any case and without
    folder, dashes or blanks: ``H100``, ``RTX 4090``, ``Vegeta``; hosts, which are named after their machine, have none.
    ``systems``: whether systems count among those, before a part of the same name. Raises SpecError with the nearest
    names.
    """
    candidates = [data_root() / "hw_models" / f"{name}.yaml"] if not Path(name).is_absolute() else []
    candidates.append(Path(name))
    if beside is not None:
        candidates.append(beside / name)
    for path in candidates:
        if path.suffix in (".yaml", ".yml") and is_file(path):
            return path
    known = [each for each in part_names() if systems or not each.startswith("systems/")]
    meant = _meant(name, known)
    if len(meant) == 1:
        return data_root() / "hw_models" / f"{meant[0]}.yaml"
    if meant:
        raise SpecError(f"{name[:200]!r} is no part and no YAML file; did you mean {' or '.join(meant[:6])}?")
    raise SpecError(f"{name[:200]!r} is no part and no YAML file; {nearest(name, known)}")


def _meant(name: str, known: Sequence[str]) -> list[str]:
    """The names that are ``name`` in other letters or without a folder; else those that begin with it."""
    word = _plain(name)
    ends = {each: (_plain(each), _plain(each.partition("/")[2])) for each in known if not each.endswith("-host")}
    same = [each for each, (whole, end) in ends.items() if word in (whole, end)]
    if same or not word:
        return [each for each in same if each.startswith("systems/")] or same
    return [each for each, (whole, end) in ends.items() if whole.startswith(word) or end.startswith(word)]


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum() or c == "/")
