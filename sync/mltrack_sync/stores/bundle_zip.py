"""The zip file around a bundle: stored members only, zip64 throughout, no times, no comments, nothing else.

Every byte that is not a member's content follows from the names, sizes and CRC-32s of the members. A reader computes
these bytes and compares them: a file with anything else in it (links, compressed members, a second directory, a
comment) is not a bundle. Any zip program can list and extract one.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Member", "crc_of", "directory", "local_header"]

_VERSION = 45  # of zip64
_MADE_BY = 3 << 8 | _VERSION  # on Unix
_FLAGS = 0x0800  # names are UTF-8
_DATE = 0x21  # 1980-01-01, the first that zip knows
_MODE = 0o100644 << 16
_IN_EXTRA = 0xFFFFFFFF
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_LOCAL_EXTRA = struct.Struct("<HHQQ")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_CENTRAL_EXTRA = struct.Struct("<HHQQQ")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR = struct.Struct("<4sIQI")
_END = struct.Struct("<4sHHHHIIH")


@dataclass(frozen=True, slots=True)
class Member:
    """One member: its name, its content's size and CRC-32, and where its header begins."""

    name: str
    size: int
    crc: int
    offset: int

    @property
    def data_offset(self) -> int:
        """Where its content begins."""
        return self.offset + len(local_header(self.name, self.size, self.crc))

    @property
    def end(self) -> int:
        """Where its content ends."""
        return self.data_offset + self.size


def crc_of(data: bytes, crc: int = 0) -> int:
    """The CRC-32 of some bytes that follow others with the CRC-32 ``crc``."""
    return zlib.crc32(data, crc)


def local_header(name: str, size: int, crc: int) -> bytes:
    """What stands before a member's content; its length depends on the name alone."""
    named = name.encode("ascii")
    extra = _LOCAL_EXTRA.pack(1, 16, size, size)
    head = _LOCAL.pack(b"PK\x03\x04", _VERSION, _FLAGS, 0, 0, _DATE, crc, _IN_EXTRA, _IN_EXTRA, len(named), len(extra))
    return head + named + extra


def directory(members: Iterable[Member], start: int) -> Iterator[bytes]:
    """What stands behind the last member's content, at byte ``start``, in pieces."""
    count, size = 0, 0
    for member in members:
        record = _central(member)
        count += 1
        size += len(record)
        yield record
    yield _END64.pack(b"PK\x06\x06", _END64.size - 12, _MADE_BY, _VERSION, 0, 0, count, count, size, start)
    yield _LOCATOR.pack(b"PK\x06\x07", 0, start + size, 1)
    yield _END.pack(b"PK\x05\x06", 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, _IN_EXTRA, _IN_EXTRA, 0)


def _central(member: Member) -> bytes:
    named = member.name.encode("ascii")
    extra = _CENTRAL_EXTRA.pack(1, 24, member.size, member.size, member.offset)
    head = _CENTRAL.pack(
        b"PK\x01\x02",
        _MADE_BY,
        _VERSION,
        _FLAGS,
        0,
        0,
        _DATE,
        member.crc,
        _IN_EXTRA,
        _IN_EXTRA,
        len(named),
        len(extra),
        0,
        0,
        0,
        _MODE,
        _IN_EXTRA,
    )
    return head + named + extra
