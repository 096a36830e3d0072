"""Where the data lies: the checkout's folders, or the copies that a wheel carries."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from simsparse.errors import SpecError, nearest


@cache
def data_root() -> Path:
    """The folder that holds hw_models/, configs/ and traces/."""
    package = Path(__file__).resolve().parent.parent
    return package / "_data" if (package / "_data" / "hw_models").is_dir() else package.parent


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
        if path.suffix in (".yaml", ".yml") and _is_file(path):
            return path
    raise SpecError(f"{name[:200]!r} is no part and no YAML file; {nearest(name, part_names())}")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, holds a zero byte or lies where one may not look
        return False


def find_file(name: str, beside: Path | None = None) -> Path:
    """A file named in a spec: as given, beside the spec, or under the data root. Raises SpecError."""
    places = [Path.cwd(), *([beside] if beside else []), data_root()]
    for place in places:
        if _is_file(place / name):
            return place / name
    raise SpecError(f"{name[:200]!r} is not a file; looked in {', '.join(str(place) for place in places)}")
