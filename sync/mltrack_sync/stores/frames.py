"""Frames on a stream of bytes between two mltracks: bounded, checked, and preceded by a hello that ends any noise.

A stream is ``MAGIC``, then frames. A frame is a header of 24 bytes, a head (a JSON object) and data (bytes):

    offset  bytes  what
    0       4      bytes of the head, at most HEAD_BYTES_MAX
    4       4      bytes of the data, at most DATA_BYTES_MAX
    8       4      the stream of messages that it belongs to; 0 is the connection itself
    12      1      its kind
    13      3      zero
    16      4      CRC-32 of the head and the data
    20      4      CRC-32 of the header up to here

All numbers are little-endian and unsigned. Because the header has a checksum of its own, a damaged length is found
before anybody waits for that many bytes. The first frame of each side is a HELLO. What an ssh login prints before the
magic (a motd, an echo in .bashrc) is skipped, up to NOISE_BYTES_MAX.
"""

from __future__ import annotations

import enum
import json
import os
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from mltrack_sync.stores.transfer import PIECE_BYTES_MAX, InterruptedCopyError, TransferError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

__all__ = [
    "DATA_BYTES_MAX",
    "HEADER_BYTES",
    "HEAD_BYTES_MAX",
    "MAGIC",
    "NOISE_BYTES_MAX",
    "ConnectionLostError",
    "Frame",
    "FrameKind",
    "encode_frame",
    "read_frame",
    "skip_noise",
    "write_all",
]

MAGIC = b"\x00mltrack store\x00"
HEAD_BYTES_MAX = 1 << 20
DATA_BYTES_MAX = PIECE_BYTES_MAX
NOISE_BYTES_MAX = 64 << 10
NOISE_KEPT_BYTES = 2000

_FIELDS = struct.Struct("<IIIB3xI")
_CHECK = struct.Struct("<I")
HEADER_BYTES = _FIELDS.size + _CHECK.size
_VECTOR_MAX = 512


class ConnectionLostError(InterruptedCopyError):
    """The stream ended or was damaged in the middle; what was written is valid, and can be continued."""

    def __init__(self, message: str, *, hint: str = "run it again: it continues where it was") -> None:
        super().__init__(message, hint=hint, in_doubt=False)


class FrameKind(enum.IntEnum):
    """What a frame is."""

    HELLO = 1
    """The first frame of each side: versions."""
    REQUEST = 2
    """Opens a stream of messages: what is asked for."""
    DATA = 3
    """One message of a stream."""
    END = 4
    """The last message of this side in a stream."""
    ERROR = 5
    """As END, with what went wrong."""
    CREDIT = 6
    """Let the other side send so many more bytes in this stream."""
    CANCEL = 7
    """The rest of this stream's messages is not wanted."""
    PING = 8
    """Nothing; it shows that this side is alive."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it was read: its checksums are right, and its head is an object."""

    kind: FrameKind
    stream: int
    head: dict[str, Any]
    data: bytes = b""
    size: int = 0
    """Bytes of it all."""


def encode_frame(kind: FrameKind, stream: int, head: dict[str, Any], data: bytes = b"") -> list[bytes]:
    """A frame as the parts that are written one after the other.

    Raises:
        TransferError: it is larger than a frame may be.
    """
    text = json.dumps(head, separators=(",", ":"), allow_nan=False).encode("ascii") if head else b"{}"
    if len(text) > HEAD_BYTES_MAX or len(data) > DATA_BYTES_MAX:
        raise TransferError(f"a message of {len(text):,} and {len(data):,} bytes is too large to be sent")
    fields = _FIELDS.pack(len(text), len(data), stream, kind, zlib.crc32(data, zlib.crc32(text)))
    first = b"".join((fields, _CHECK.pack(zlib.crc32(fields)), text))
    return [first, data] if data else [first]


def read_frame(file: BinaryIO) -> Frame | None:
    """The next frame of a stream; None where it ends between two frames.

    Raises:
        ConnectionLostError: it ends within a frame, or is damaged.
    """
    header = file.read(HEADER_BYTES)
    if not header:
        return None
    if len(header) < HEADER_BYTES:
        raise ConnectionLostError("the connection ended in the middle of a message")
    fields = header[: _FIELDS.size]
    if zlib.crc32(fields) != _CHECK.unpack(header[_FIELDS.size :])[0]:
        _damaged()
    head_size, data_size, stream, number, check = _FIELDS.unpack(fields)
    if head_size > HEAD_BYTES_MAX or data_size > DATA_BYTES_MAX or number not in _KINDS:
        _damaged()
    text, data = file.read(head_size), file.read(data_size)
    if len(text) < head_size or len(data) < data_size:
        raise ConnectionLostError("the connection ended in the middle of a message")
    if zlib.crc32(data, zlib.crc32(text)) != check:
        _damaged()
    return Frame(FrameKind(number), stream, _parse(text), data, HEADER_BYTES + head_size + data_size)


_KINDS = frozenset(int(kind) for kind in FrameKind)


def _parse(text: bytes) -> dict[str, Any]:
    try:
        head = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):  # also of a number with thousands of digits
        _damaged()
    if not isinstance(head, dict):
        _damaged()
    return head


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(text)


def _damaged() -> NoReturn:
    raise ConnectionLostError("the connection is damaged: what came is not a message of mltrack")


def skip_noise(file: BinaryIO) -> tuple[bool, str]:
    """Read up to and including the magic; whether it came, and what was printed before it, shortened.

    Raises:
        ConnectionLostError: too much was printed.
    """
    noise = bytearray()
    while True:
        byte = file.read(1)
        if not byte:
            return False, _shown(noise)
        noise += byte
        if noise.endswith(MAGIC):
            return True, _shown(noise[: -len(MAGIC)])
        if len(noise) > NOISE_BYTES_MAX + len(MAGIC):
            raise ConnectionLostError(
                f"something else answered: it began with {bytes(noise[:60])!r}",
                hint="the login's shell must print nothing but a few lines before it runs a command",
            )


def _shown(noise: bytes | bytearray) -> str:
    return bytes(noise[-NOISE_KEPT_BYTES:]).decode("utf-8", "replace").strip()


def write_all(fd: int, parts: Sequence[bytes]) -> None:
    """Write the parts one after the other, however little the other side takes at once.

    Raises:
        OSError: the other side is gone.
    """
    left = [part for part in parts if part]
    while left:
        count = os.writev(fd, left[:_VECTOR_MAX])
        done = 0
        while done < len(left) and count >= len(left[done]):
            count -= len(left[done])
            done += 1
        left = left[done:]
        if count:
            left[0] = left[0][count:]
