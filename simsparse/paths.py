# SPDX-License-Identifier: Apache-2.0
"""Where the data lies: the checkout's folders, or the copies that a wheel carries."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from functools import cache
from glob import escape
from pathlib import Path

from simsparse.errors import SpecError


@cache
def data_root() -> Path:
    """The folder that holds hw_models/, configs/ and traces/."""
    package = Path(__file__).resolve().parent
    return package / "_data" if (package / "_data" / "hw_models").is_dir() else package.parent


def is_file(path: Path) -> bool:
    """Whether ``path`` is a file; False for names that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, holds a zero byte or lies where one may not look
        return False


def find_file(name: str, beside: Path | None = None) -> Path:
    """A file by name: as given, beside the spec that names it, or under the data root. Raises SpecError."""
    places = [Path(), *([beside] if beside else []), data_root()]
    for place in places:
        if is_file(place / name):
            return place / name
    looked = ", ".join(str(place.resolve()) for place in places)
    raise SpecError(f"{name[:200]!r} is not a file; looked in {looked}")


def temporary_prefix(target: Path) -> str:
    """How this process begins the name of what it writes beside ``target`` until that is whole.

    What processes that were killed have left there under such a name is removed first.
    """
    for left in target.parent.glob(f".{escape(target.name)}.*"):
        owner = left.name[len(target.name) + 2 :].partition(".")[0]
        if owner.isdigit() and not _runs(int(owner)):
            with suppress(OSError):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    return f".{target.name}.{os.getpid()}."


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
