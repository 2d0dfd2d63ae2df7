"""Records of a ``.wandb`` or ``.swanlab`` file: LevelDB's log of 32 KiB blocks, behind a header of 7 bytes.

A record is one fragment, or several that end with their blocks. A fragment has a checksum (4 bytes), a size (2) and a
kind (1).
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from mltrack.importers.source import SourceError

if TYPE_CHECKING:
    from mltrack.importers.findings import Findings

__all__ = ["WANDB", "LogFile"]

WANDB = b":W&B\xe1\xbe\x00"
"""What wandb's files begin with, version 0 included."""

BLOCK = 32_768
CHUNK = 64 * BLOCK
HEADER = 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
_SEEDS = [zlib.crc32(bytes([kind])) for kind in range(5)]
_header_at = struct.Struct("<IHB").unpack_from

Place = tuple[int, int, int, bool]
"""Where a fragment's content begins and ends, its kind, and whether its checksum is right."""


class LogFile:
    """A file that may still be growing: what is in it at the first reading is what later ones give."""

    def __init__(self, path: Path, where: str, findings: Findings, magic: bytes = WANDB) -> None:
        """``magic`` is what the file begins with: 7 bytes."""
        self._magic = magic
        self.path = path
        self.where = where
        self._findings = findings
        self._end: int | None = None

    def records(self) -> Iterator[bytes]:
        """Its whole records; what is damaged or cut is named.

        Raises:
            SourceError: it is another sort of file.
            OSError: it can't be read.
        """
        with self.path.open("rb", buffering=0) as file:
            if self._end is None:
                self._end = os.fstat(file.fileno()).st_size
            head = file.read(HEADER)
            if head != self._magic:
                begun = self._magic.startswith(head)
                raise SourceError("no whole record yet" if begun else "it does not begin as such files do")
            yield from self._joined(file, self._end)

    def _joined(self, file: BinaryIO, end: int) -> Iterator[bytes]:
        parts: list[bytes] = []
        begun, lost = 0, False
        for data, base in _chunks(file, end):
            for start, stop, kind in self._fragments(data, base, end):
                if kind == FULL:
                    if parts:
                        self._cut(begun)
                    parts, lost = [], False
                    yield data[start:stop]
                elif kind == FIRST:
                    if parts:
                        self._cut(begun)
                    parts, lost, begun = [data[start:stop]], False, base + start - HEADER
                elif parts:
                    parts.append(data[start:stop])
                    if kind == LAST:
                        yield b"".join(parts)
                        parts = []
                elif not lost:
                    lost = True
                    self._say(base + start - HEADER, "a record without its beginning, left out")
        if parts:
            self._cut(begun)

    def _fragments(self, data: bytes, base: int, end: int) -> Iterator[tuple[int, int, int]]:
        """The whole fragments of a chunk, which begins with a block."""
        at, size = HEADER if not base else 0, len(data)
        crc32, seeds = zlib.crc32, _SEEDS
        while at < size:
            limit = min((at // BLOCK + 1) * BLOCK, size)
            if limit - at < HEADER:
                if limit % BLOCK:
                    self._torn(base + at, end)
                at = limit
                continue
            crc, length, kind = _header_at(data, at)
            start, stop = at + HEADER, at + HEADER + length
            if stop <= limit and FULL <= kind <= LAST and crc32(data[start:stop], seeds[kind]) == crc:
                yield start, stop, kind
                at = stop
            elif stop > limit and limit % BLOCK and at // BLOCK == (size - 1) // BLOCK:
                self._torn(base + at, end)
                return
            else:
                at = self._after_damage(data, at, limit, base)

    def _after_damage(self, data: bytes, at: int, limit: int, base: int) -> int:
        """Where reading goes on: after the fragment if another one is there, else with the next block."""
        _, length, _ = _header_at(data, at)
        after: int = at + HEADER + length
        if after + HEADER <= limit:
            crc, following, kind = _header_at(data, after)
            start, stop = after + HEADER, after + HEADER + following
            if FULL <= kind <= LAST and stop <= limit and zlib.crc32(data[start:stop], _SEEDS[kind]) == crc:
                self._say(base + at, "a record is damaged (its checksum differs), left out")
                return after
        self._say(base + at, f"damaged, left out up to byte {base + limit:,}")
        return limit

    def _torn(self, at: int, end: int) -> None:
        self._say(
            at,
            f"ends within a record, {end - at:,} bytes of it are here: still being written, or cut; "
            "what is before was read",
        )

    def _cut(self, at: int) -> None:
        self._say(at, "a record without its end, left out: still being written, or cut")

    def _say(self, at: int, words: str) -> None:
        self._findings.problem(self.where, f"byte {at:,}: {words}")


def _chunks(file: BinaryIO, end: int) -> Iterator[tuple[bytes, int]]:
    """Pieces of whole blocks, and where they are."""
    for base in range(0, end, CHUNK):
        data = os.pread(file.fileno(), min(CHUNK, end - base), base)
        if data:
            yield data, base
