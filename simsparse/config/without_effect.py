# SPDX-License-Identifier: Apache-2.0
"""Numbers of parts that move no result: stated for the reader, or for a check against measurements."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from simsparse.config.quantity import Part
from simsparse.config.yaml import read_yaml
from simsparse.paths import data_root

FILE = "without_effect.yaml"


def without_effect(part: Part) -> dict[str, str]:
    """Why numbers of a shipped part move no result, by path; hw_models/without_effect.yaml lists them.

    The file maps shell patterns of names of parts to patterns of paths, and these to reasons. Raises
    SpecError when it is of another form.
    """
    reasons = [(path, reason) for name, paths in listed().items() if fnmatchcase(part.name, name)
               for path, reason in paths.items()]  # fmt: skip
    return {path: reason for path, _ in part.quantities() for pattern, reason in reasons if fnmatchcase(path, pattern)}


def listed() -> Mapping[str, Mapping[str, str]]:
    """The whole list. Raises SpecError that names file, line and key."""
    document = read_yaml(data_root() / "hw_models" / FILE)
    if not isinstance(document.data, dict):
        raise document.error((), "expected a mapping of parts")
    for name, paths in document.data.items():
        if not isinstance(paths, dict):
            raise document.error((name,), "expected a mapping of paths to reasons")
        for path, reason in paths.items():
            if not isinstance(reason, str) or not reason.strip():
                raise document.error((name, path), "expected a reason")
    return document.data
