# SPDX-License-Identifier: Apache-2.0
"""Masks of non-zeros beside a trace: an ``.npz`` of packed bits whose SHA-256 the trace holds.

Nothing is unpickled, and sizes are checked before memory is taken.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from simsparse.core import Op, Trace
from simsparse.errors import TraceError
from simsparse.limits import Limits, read_whole
from simsparse.trace.file import save_trace

MAX_FILE_BYTES = 4 * 1024**3
_HEADER_BYTES = 4096

Mask = NDArray[np.bool_]


@dataclass
class MaskStore:
    """Masks that a capture collects; equal masks are kept once. ``masks``: packed bits by key."""

    masks: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    _keys: dict[tuple[bytes, int], str] = field(default_factory=dict)

    def add(self, mask: Mask) -> dict[str, Any]:
        """Keep ``mask`` (rows, k); returns what an op's stats say of it."""
        packed = np.packbits(mask, axis=1)
        identity = (hashlib.sha256(packed.tobytes()).digest(), mask.shape[1])
        key = self._keys.setdefault(identity, f"m{len(self.masks)}")
        self.masks.setdefault(key, packed)
        return {"key": key, "rows": int(mask.shape[0]), "k": int(mask.shape[1])}


@dataclass(frozen=True)
class Masks:
    """The masks of one trace, read when they are asked for; ``limits``: the most bytes of a mask, one per element."""

    file: Path
    content: bytes
    limits: Limits = field(default_factory=Limits)

    def weight(self, op: Op) -> Mask | None:
        """Mask (outputs, k) of the op's weight; None when none was kept. Raises TraceError."""
        return self._of(op, "weight_mask")

    def input(self, op: Op) -> Mask | None:
        """Mask (rows, k) of the op's input without padding; None when none was kept. Raises TraceError."""
        return self._of(op, "input_mask")

    def _of(self, op: Op, name: str) -> Mask | None:
        said = op.stats.get(name)
        if said is None:
            return None
        rows, k = _shape(said, f"{op.name}.{name}", self.limits)
        try:
            packed = _member(self.content, str(said.get("key")), (rows, -(-k // 8)))
        except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError, OSError, NotImplementedError) as error:
            raise TraceError(f"can't be read: {error}", file=str(self.file), key=f"{op.name}.{name}") from error
        return np.unpackbits(packed, axis=1, count=k).view(np.bool_)


def save_with_masks(trace: Trace, store: MaskStore, path: str | Path) -> Path:
    """Write the masks to ``NAME.masks.npz`` and the trace, which names them, to ``path``; returns the latter.

    Equal masks give equal files. Raises TraceError when a file can't be written.
    """
    target = Path(path)
    content = _npz(store.masks)
    beside = target.with_name(target.name.removesuffix(".gz").removesuffix(".trace") + ".masks.npz")
    said = {"file": beside.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    try:
        beside.write_bytes(content)
    except OSError as error:
        raise TraceError(f"can't be written: {error.strerror or error}", file=str(beside)) from error
    return save_trace(replace(trace, meta={**trace.meta, "masks": said}), target)


def load_masks(trace: Trace, folder: str | Path, limits: Limits | None = None) -> Masks:
    """The masks of ``trace`` from the ``folder`` of its file; ``limits`` bound one mask as it is unpacked.

    Raises TraceError when the trace has none, or the file is missing, too large or not the one that
    the trace was saved with.
    """
    said = trace.meta.get("masks")
    if not isinstance(said, Mapping) or not all(isinstance(said.get(key), str) for key in ("file", "sha256")):
        raise TraceError("the trace was saved without masks", key=trace.name)
    if Path(said["file"]).name != said["file"]:
        raise TraceError(f"{said['file']!r:.80} is not the name of a file beside the trace", key="masks.file")
    path = Path(folder) / said["file"]
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            _fail(path, f"{size} bytes; at most {MAX_FILE_BYTES} are read")
        content = read_whole(path, size)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise TraceError(f"can't be read: {getattr(error, 'strerror', None) or error}", file=str(path)) from error
    if hashlib.sha256(content).hexdigest() != said["sha256"]:
        _fail(path, "is not the file that the trace was saved with (SHA-256 differs)")
    return Masks(path, content, limits or Limits())


def _npz(masks: Mapping[str, NDArray[np.uint8]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, packed in masks.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, packed, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{key}.npy")
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, member.getvalue())
    return buffer.getvalue()


def _member(content: bytes, key: str, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """The packed mask ``key``, which must have ``shape``: no more is read than that takes."""
    size = shape[0] * shape[1]
    with zipfile.ZipFile(io.BytesIO(content)) as archive, archive.open(f"{key}.npy") as file:
        data = file.read(size + _HEADER_BYTES)
    array = np.load(_checked_header(data, shape), allow_pickle=False)
    return np.asarray(array, np.uint8)


def _checked_header(data: bytes, shape: tuple[int, int]) -> io.BytesIO:
    """``data`` as a stream, after its header was seen to say the very array that is expected."""
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("not an array file of version 1.0")
    said, fortran, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=_HEADER_BYTES)
    if (tuple(said), fortran, dtype) != (shape, False, np.dtype(np.uint8)):
        raise ValueError(f"an array of {dtype} {tuple(said)!r:.80}; the trace says uint8 {shape}")
    if len(data) - stream.tell() != shape[0] * shape[1]:
        raise ValueError("the array ends early")
    stream.seek(0)
    return stream


def _shape(said: Any, key: str, limits: Limits) -> tuple[int, int]:
    rows, k = (said.get(name) for name in ("rows", "k")) if isinstance(said, Mapping) else (None, None)
    if type(rows) is not int or type(k) is not int or rows < 1 or k < 1:
        raise TraceError(f"{rows!r:.40} x {k!r:.40} is not the size of a mask", key=key)
    try:
        limits.check("bytes", rows * k)
    except TraceError as error:
        raise TraceError(f"a mask of {rows!r:.40} x {k!r:.40}: {error.message}", key=key) from None
    return rows, k


def _fail(path: Path, message: str) -> NoReturn:
    raise TraceError(message, file=str(path))
