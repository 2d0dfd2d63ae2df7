"""How far an append-only file counts, and the checksum of its end by which two copies are compared."""

from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING

from mltrack.disk.codec import HEADER_SIZE, RECORD_SIZE, decode_records

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "MARK_BYTES",
    "committed_end",
    "ends_committed",
    "line_end",
    "mark_of",
    "mark_of_bytes",
    "valid_lines_end",
    "valid_records_end",
]

MARK_BYTES = 4096
CHUNK_BYTES = 1 << 20
_COMMIT = struct.Struct("<I")
_CRC_HEAD = b'{"crc":"'


def mark_of(fd: int, size: int) -> str:
    """The CRC-32 of the last 4,096 bytes before ``size``, as 8 hex digits."""
    start = max(0, size - MARK_BYTES)
    return f"{zlib.crc32(os.pread(fd, size - start, start)):08x}"


def mark_of_bytes(data: bytes) -> str:
    """The same of what is in a file."""
    return f"{zlib.crc32(data[-MARK_BYTES:]):08x}"


def line_end(fd: int) -> int:
    """The byte after the last whole line of a log."""
    end = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - (1 << 16))
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def committed_end(fd: int, *, live: bool) -> int:
    """The byte after the last logged record of a points file; the header's end where there is none.

    A live writer's records have no gap, so the first missing mark is found by halving; in a dead writer's file one may
    be missing by damage, so it is searched from the end.
    """
    records = max(0, os.fstat(fd).st_size - HEADER_SIZE) // RECORD_SIZE
    if not records or _is_committed(fd, records - 1):
        return HEADER_SIZE + RECORD_SIZE * records
    if live:
        low, high = 0, records - 1  # record `high` is not committed, all before `low` are
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if _is_committed(fd, middle) else (low, middle)
        return HEADER_SIZE + RECORD_SIZE * low
    end = HEADER_SIZE + RECORD_SIZE * records
    while end > HEADER_SIZE:
        start = max(HEADER_SIZE, end - CHUNK_BYTES)
        slots = _slots(fd, start, end)
        if len(slots):
            return start + RECORD_SIZE * (int(slots[-1]) + 1)
        end = start
    return HEADER_SIZE


def ends_committed(data: bytes) -> bool:
    """Whether a points file with these bytes ends with a logged record: all of it counts."""
    offset = len(data) - RECORD_SIZE
    whole = offset >= HEADER_SIZE and offset % RECORD_SIZE == 0
    return whole and _COMMIT.unpack_from(data, len(data) - _COMMIT.size)[0] == offset


def _is_committed(fd: int, record: int) -> bool:
    offset = HEADER_SIZE + RECORD_SIZE * record
    data = os.pread(fd, 4, offset + RECORD_SIZE - 4)
    return len(data) == 4 and _COMMIT.unpack(data)[0] == offset


def _slots(fd: int, start: int, end: int) -> npt.NDArray[np.int64]:
    return decode_records(os.pread(fd, end - start, start), start)[1]


def valid_records_end(fd: int) -> int:
    """The byte up to which a copy of a points file has every record: a power failure may have left zeros."""
    size = os.fstat(fd).st_size
    at = HEADER_SIZE
    while at + RECORD_SIZE <= size:
        end = min(at + CHUNK_BYTES, size)
        slots = _slots(fd, at, end)
        whole = (end - at) // RECORD_SIZE
        if len(slots) != whole:
            missing = next((slot for slot, found in enumerate(slots.tolist()) if slot != found), len(slots))
            return at + RECORD_SIZE * int(missing)
        at += RECORD_SIZE * whole
    return at if size >= HEADER_SIZE else 0


def valid_lines_end(fd: int) -> int:
    """The byte up to which a copy of a log has whole lines with the right checksums."""
    at, held = 0, b""
    while chunk := os.pread(fd, max(CHUNK_BYTES, len(held)), at + len(held)):
        *lines, held = (held + chunk).split(b"\n")
        for line in lines:
            if not _is_line(line):
                return at
            at += len(line) + 1
    return at


def _is_line(line: bytes) -> bool:
    body = line[len(_CRC_HEAD) + 10 :]
    return line.startswith(_CRC_HEAD) and line[len(_CRC_HEAD) : len(_CRC_HEAD) + 8] == b"%08x" % zlib.crc32(body)
