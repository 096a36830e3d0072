# SPDX-License-Identifier: Apache-2.0
"""Where parts and systems lie."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from simsparse.errors import SpecError, nearest
from simsparse.paths import data_root, is_file


def part_names() -> list[str]:
    """Names of all parts and systems: paths under hw_models/ without the suffix."""
    root = data_root() / "hw_models"
    return sorted(str(path.relative_to(root).with_suffix("")) for path in root.glob("*/*.yaml"))


def own_part_names() -> list[str]:
    """Names of the user's parts and systems: files in folders of a ``hw_models/`` in the current folder."""
    own = Path("hw_models")
    if own.resolve() == (data_root() / "hw_models").resolve():
        return []
    return sorted(part_name(path) for path in own.glob("*/*.yaml"))


def part_name(path: Path) -> str:
    """The name of the part in the file ``path``: where it lies under hw_models/, without the suffix.

    A file of the user's is named by its folder and its own name. Where a part under hw_models/ has that name, folders
    further up stand before it: what was measured on that part holds for no other of its name.
    """
    shipped = data_root() / "hw_models"
    whole = path.resolve().with_suffix("")
    if whole.is_relative_to(shipped):
        return whole.relative_to(shipped).as_posix()
    steps = whole.parts[1:]
    names = ("/".join(steps[-count:]) for count in range(2, len(steps) + 1))
    return next((name for name in names if not is_file(shipped / f"{name}.yaml")), "/".join(steps))


_VENDORS = {"nvidia", "amd", "intel", "geforce", "tesla", "instinct"}


def find_part(name: str, beside: Path | None = None, systems: bool = True) -> Path:
    """The file of a part or system: a name under hw_models/, a path to a YAML file, or a short name of one of them.

    A name with a folder is looked up in the package, then in a hw_models/ of the current folder, then in the current
    folder itself; a path from the current folder, then from the folder ``beside``.

    A short name is taken when it is that of one part alone, or one begins with it alone, in any case and without
    folder, dashes or blanks: ``H100``, ``RTX 4090``, ``Vegeta``; else when its words, a vendor's name apart, are words
    of one part alone: ``NVIDIA A100 80GB``; hosts, which are named after their machine, have none.
    ``systems``: whether systems count among those, before a part of the same name. Raises SpecError with the nearest
    names.
    """
    for path in _candidates(name, beside):
        if path.suffix in (".yaml", ".yml") and is_file(path):
            return path
    known = [each for each in (*part_names(), *own_part_names()) if systems or not each.startswith("systems/")]
    meant = _meant(name, known)
    if len(meant) == 1:
        return next(path for path in _candidates(meant[0], None) if is_file(path))
    if meant:
        raise SpecError(f"{name[:200]!r} is no part and no YAML file; did you mean {' or '.join(meant[:6])}?")
    raise SpecError(f"{name[:200]!r} is no part and no YAML file; {nearest(name, known)}")


def _candidates(name: str, beside: Path | None) -> list[Path]:
    """Where the file of ``name`` may lie, in the order in which it is looked for."""
    places = [Path(), *([beside] if beside else [])]
    with_suffix = [place / name for place in places]
    if Path(name).is_absolute() or "/" not in name:
        return with_suffix
    roots = [data_root() / "hw_models", *(root for place in places for root in (place / "hw_models", place))]
    return [*(root / f"{name}.yaml" for root in roots), *with_suffix]


def _meant(name: str, known: Sequence[str]) -> list[str]:
    """The names that are ``name`` in other letters or without a folder; else those that begin with it."""
    name = " ".join(word for word in name.split() if word.lower() not in _VENDORS)
    word = _plain(name)
    ends = {each: (_plain(each), _plain(each.partition("/")[2])) for each in known if not each.endswith("-host")}
    same = [each for each, (whole, end) in ends.items() if word in (whole, end)]
    if same or not word:
        return [each for each in same if each.startswith("systems/")] or same
    begun = [each for each in ends if _begins(each, word) or _begins(each.partition("/")[2], word)]
    if begun or "/" in name or not (words := _words(name)):
        return _plainest(begun)
    return _plainest([each for each in ends if words <= _words(each)])


def _begins(name: str, word: str) -> bool:
    """Whether ``name`` begins with ``word``, which ends at no number's middle or suffix: ``l40`` begins no ``l40s``."""
    letters = [(c, i == 0 or not name[i - 1].isalnum()) for i, c in enumerate(name.lower()) if c.isalnum() or c == "/"]
    if "".join(c for c, _ in letters[: len(word)]) != word:
        return False
    return not word[-1].isdigit() or len(letters) == len(word) or letters[len(word)][1]


def _plainest(names: list[str]) -> list[str]:
    """``names`` but for those whose parts extend others of them, such as a card with further kernels."""
    extended = {name: _extended(name) for name in names} if len(names) > 1 else {}
    return [name for name in names if extended.get(name) not in names]


def _extended(name: str) -> str:
    """The name of the part that the part ``name`` extends, empty where none."""
    path = next(path for path in _candidates(name, None) if is_file(path))
    found = re.search(r"^extends:\s*(\S+)", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    return found[1] if found else ""


def _words(name: str) -> set[str]:
    """The words of a name, those of vendors apart; of a model such as ``rtx4090`` its number too."""
    words = {*re.split(r"[^a-z0-9]+", name.lower())} - _VENDORS - {""}
    return words | {number for word in words for number in re.findall(r"(?<=[a-z])\d{4,}$", word)}


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum() or c == "/")
