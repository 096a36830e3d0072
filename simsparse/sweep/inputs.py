# SPDX-License-Identifier: Apache-2.0
"""What runs read: files as they were when the points were planned, named by the hash of their content.

A file is read once. Its content is hashed into the keys of points and travels to the processes that run them, so that
an answer belongs to its key whatever happens to the file meanwhile.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simsparse.config.hardware import System, load_system
from simsparse.errors import TraceError
from simsparse.trace.file import MAX_TEXT_BYTES


@dataclass(frozen=True)
class TraceInput:
    """The content of a trace file; ``path`` is for messages."""

    path: str
    digest: str
    content: bytes = field(compare=False, repr=False)

    @classmethod
    def read(cls, path: str) -> TraceInput:
        """The file ``path`` as it is now. Raises TraceError when it can't be read or is too large for a trace."""
        try:
            with Path(path).open("rb") as file:
                content = file.read(MAX_TEXT_BYTES + 1)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise TraceError(f"can't be read: {getattr(error, 'strerror', None) or error}", file=path) from error
        if len(content) > MAX_TEXT_BYTES:
            raise TraceError(f"is too large; a trace may have at most {MAX_TEXT_BYTES} bytes", file=path)
        return cls(path, hashlib.sha256(content).hexdigest(), content)


@dataclass(frozen=True)
class SystemInput:
    """A system as it was loaded."""

    name: str
    digest: str
    system: System = field(compare=False, repr=False)

    @classmethod
    def load(cls, name: str | Path) -> SystemInput:
        """The system called ``name``, or in that file, as its files are now. Raises SpecError."""
        return cls.of(load_system(name))

    @classmethod
    def of(cls, system: System) -> SystemInput:
        """``system``, named by the hash of its values."""
        return cls(system.name, system.fingerprint, system)


Input = TraceInput | SystemInput


class _Pickler(pickle.Pickler):
    """Writes digests in place of inputs, and collects the inputs."""

    def __init__(self, buffer: io.BytesIO) -> None:
        super().__init__(buffer)
        self.inputs: dict[str, Input] = {}

    def persistent_id(self, value: Any) -> str | None:
        if not isinstance(value, TraceInput | SystemInput):
            return None
        name = repr(value)
        self.inputs[name] = value
        return name


class _Unpickler(pickle.Unpickler):
    def __init__(self, buffer: io.BytesIO, inputs: Mapping[str, Input]) -> None:
        super().__init__(buffer)
        self._inputs = inputs

    def persistent_load(self, name: str) -> Input:
        return self._inputs[name]


def packed_runs(runs: object) -> tuple[bytes, dict[str, Input]]:
    """``runs`` as bytes, and the inputs that they name, by name."""
    buffer = io.BytesIO()
    pickler = _Pickler(buffer)
    pickler.dump(runs)
    return buffer.getvalue(), pickler.inputs


def unpacked_runs(data: bytes, inputs: Mapping[str, Input]) -> Any:
    """What ``packed_runs`` packed, with the same ``inputs``."""
    return _Unpickler(io.BytesIO(data), inputs).load()
