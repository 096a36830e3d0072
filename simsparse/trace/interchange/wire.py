# SPDX-License-Identifier: Apache-2.0
"""The protobuf wire format, as much of it as trace schemas use.

Source: Protocol Buffers documentation, "Encoding": a field is a key ``number << 3 | wire type`` and
a varint (0), 8 bytes (1), a length and bytes (2) or 4 bytes (5); a file of messages has each
message's length as a varint before it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from simsparse.errors import TraceError
from simsparse.limits import Limits

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_MESSAGE_BYTES = 16 * 1024**2
_LONGEST_VARINT = 10
WireValue = int | bytes


def messages(content: bytes, limits: Limits | None = None) -> Iterator[tuple[int, bytes]]:
    """Offset and bytes of each message.

    Raises TraceError naming the byte where the file is damaged, and beyond the limits of values, which count messages,
    and of seconds.
    """
    limits = limits or Limits()
    at, count, clock = 0, 0, limits.clock()
    while at < len(content):
        count += 1
        if count % 4096 == 0:
            limits.check("values", count)
            clock()
        size, start = varint(content, at)
        if size > MAX_MESSAGE_BYTES or start + size > len(content):
            raise TraceError(f"a message of {size} bytes does not end in the file", key=f"byte {at}")
        yield at, content[start : start + size]
        at = start + size


def fields(message: bytes) -> Iterator[tuple[int, int, WireValue]]:
    """Number, wire type and value of each field; fixed-width values as their bytes. Raises TraceError."""
    at = 0
    while at < len(message):
        key, at = varint(message, at)
        number, kind = key >> 3, key & 7
        if not number:
            raise TraceError("a field has number 0")
        if kind == VARINT:
            value, at = varint(message, at)
            yield number, kind, value
            continue
        length, at = varint(message, at) if kind == BYTES else (_width(kind), at)
        if at + length > len(message):
            raise TraceError(f"field {number} does not end in its message")
        yield number, kind, message[at : at + length]
        at += length


def _width(kind: int) -> int:
    if kind not in (FIXED64, FIXED32):
        raise TraceError(f"wire type {kind} is not known")
    return 8 if kind == FIXED64 else 4


def varint(content: bytes, at: int) -> tuple[int, int]:
    """An unsigned varint of up to 64 bits at ``at``, and where it ends. Raises TraceError."""
    if at < len(content) and content[at] < 0x80:
        return content[at], at + 1
    value = 0
    for i, byte in enumerate(content[at : at + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            if value >= 1 << 64:
                break
            return value, at + i + 1
    raise TraceError("a number does not end", key=f"byte {at}")


def numbers(kind: int, value: WireValue) -> list[int]:
    """The numbers of a repeated varint field, packed or not."""
    if isinstance(value, int):
        return [value]
    if kind == BYTES and value.isascii():
        return [*value]
    found, at = [], 0
    while at < len(value) and kind == BYTES:
        number, at = varint(value, at)
        found.append(number)
    return found


def signed(value: int) -> int:
    """A varint read as int32 or int64."""
    return value - (1 << 64) if value >= 1 << 63 else value


def text(value: WireValue) -> str:
    """A string field. Raises TraceError when it is not UTF-8 text."""
    if isinstance(value, int):
        raise TraceError("a text field holds a number")
    return value.decode("utf-8")


def double(value: WireValue) -> float:
    """A double or float field. Raises TraceError when it is of another length."""
    if isinstance(value, int) or len(value) not in (4, 8):
        raise TraceError("a number is not of 4 or 8 bytes")
    number: float = struct.unpack("<d" if len(value) == 8 else "<f", value)[0]
    return number


def put_varint(value: int) -> bytes:
    """``value``, as 64 bits of two's complement when it is negative."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def put(number: int, value: int | str | bytes | float) -> bytes:
    """A field: a varint, text, bytes or a double."""
    if isinstance(value, int):
        return put_varint(number << 3 | VARINT) + put_varint(value)
    if isinstance(value, float):
        return put_varint(number << 3 | FIXED64) + struct.pack("<d", value)
    content = value.encode() if isinstance(value, str) else value
    return put_varint(number << 3 | BYTES) + put_varint(len(content)) + content


def put_message(content: bytes) -> bytes:
    """A message of a file, its length before it."""
    return put_varint(len(content)) + content
