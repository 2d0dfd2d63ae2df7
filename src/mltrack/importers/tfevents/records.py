"""Records of a TFRecord file, in chunks: size (8 bytes), its checksum (4), the record, its checksum (4).

The first reading of a file checks every checksum and remembers what is whole; later ones give the same records,
whatever was appended since.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from mltrack.importers.tfevents.crc32c import masked_crcs

if TYPE_CHECKING:
    import numpy.typing as npt

    from mltrack.importers.findings import Findings

__all__ = ["CHUNK_BYTES", "Chunk", "RecordFile"]

CHUNK_BYTES = 4 << 20
"""So much of a file is in memory, or one record that is longer."""

HEADER = 12
FRAME = 16
_size_at = struct.Struct("<Q").unpack_from


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Whole records in a piece of a file: ``data[starts[i] : starts[i] + sizes[i]]``; ``place`` is the piece's."""

    data: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    place: int

    def __len__(self) -> int:
        return len(self.starts)

    def record(self, index: int) -> bytes:
        """The bytes of a record."""
        start = int(self.starts[index])
        return self.data[start : start + int(self.sizes[index])].tobytes()

    def take(self, index: npt.NDArray[np.bool_]) -> Chunk:
        """Some of its records."""
        return Chunk(self.data, self.starts[index], self.sizes[index], self.place)


class RecordFile:
    """A file of records that may still be growing."""

    def __init__(self, path: Path, where: str, findings: Findings) -> None:
        self.path = path
        self._where = where
        self._findings = findings
        self._extents: list[tuple[int, int]] | None = None
        self._damaged: set[int] = set()

    def chunks(self) -> Iterator[Chunk]:
        """Its whole records.

        Raises:
            OSError: it can't be read.
        """
        with self.path.open("rb", buffering=0) as file:
            if self._extents is None:
                yield from self._checked(file)
                return
            for start, end in self._extents:
                yield from self._known(file, start, end)

    def _known(self, file: BinaryIO, at: int, end: int) -> Iterator[Chunk]:
        want = CHUNK_BYTES
        while at < end:
            data = _read(file, at, min(want, end - at))
            places = _frames(data)
            if len(places) < 2:
                if len(data) < want:
                    return  # the file was changed since
                want *= 2
                continue
            chunk = _chunk(data, places, at)
            whole = np.array([at + place not in self._damaged for place in places[:-1]]) if self._damaged else None
            yield chunk if whole is None or whole.all() else chunk.take(whole)
            at += places[-1]
            want = CHUNK_BYTES

    def _checked(self, file: BinaryIO) -> Iterator[Chunk]:
        end = os.fstat(file.fileno()).st_size
        at, want, extents = 0, CHUNK_BYTES, list[tuple[int, int]]()
        start = at
        while at < end:
            data = _read(file, at, min(want, end - at))
            places = _frames(data)
            sound = _sound_sizes(data, places)
            if sound > 1:
                yield self._whole(data, places[:sound], at)
            used = places[sound - 1]
            at, want = at + used, CHUNK_BYTES
            rest = data[used:]
            if len(rest) < HEADER or _is_size(data, used):
                needed = FRAME + (_size_at(rest.data)[0] if len(rest) >= HEADER else 0)
                if at + needed > end:
                    if at < end:
                        self._torn(at, end)
                    break
                want = max(CHUNK_BYTES, needed)
                continue
            extents.append((start, at))
            at = start = self._resumed(file, at, end)
        extents.append((start, at))
        self._extents = [extent for extent in extents if extent[0] < extent[1]]

    def _whole(self, data: npt.NDArray[np.uint8], places: list[int], at: int) -> Chunk:
        """The records whose checksums are right; the others are named."""
        chunk = _chunk(data, places, at)
        said = _numbers(data, chunk.starts + chunk.sizes)
        sound = masked_crcs(data, chunk.starts, chunk.sizes) == said
        if sound.all():
            return chunk
        for index in np.flatnonzero(~sound).tolist():
            place = at + places[index]
            self._damaged.add(place)
            self._findings.problem(self._where, f"byte {place:,}: a record is damaged (its checksum differs), left out")
        return chunk.take(sound)

    def _torn(self, at: int, end: int) -> None:
        self._findings.problem(
            self._where,
            f"byte {at:,}: ends within a record, {end - at:,} bytes of it are here: "
            "still being written, or cut; what is before was read",
        )

    def _resumed(self, file: BinaryIO, damaged: int, end: int) -> int:
        """Where the next record begins whose size has the right checksum; the end if none does."""
        at = damaged + 1
        while at + HEADER <= end:
            data = _read(file, at, min(CHUNK_BYTES // 16, end - at))
            if len(data) < HEADER:
                break
            places = np.arange(len(data) - HEADER + 1)
            sizes = np.lib.stride_tricks.sliding_window_view(data[:-4], 8)[places].copy().view("<u8")[:, 0]
            possible = places[sizes <= end - at]
            right = masked_crcs(data, possible, np.full(len(possible), 8)) == _numbers(data, possible + 8)
            if right.any():
                at += int(possible[right][0])
                self._findings.problem(
                    self._where, f"bytes {damaged:,} to {at:,}: the size of a record is damaged, left out"
                )
                return at
            at += len(places)
        self._findings.problem(self._where, f"from byte {damaged:,} on: the size of a record is damaged, left out")
        return end


def _read(file: BinaryIO, at: int, size: int) -> npt.NDArray[np.uint8]:
    """Bytes of a file, fewer where it ends."""
    data = np.empty(size, np.uint8)
    view, have = data.data, 0
    while have < size and (count := os.preadv(file.fileno(), [view[have:]], at + have)):
        have += count
    return data[:have]


def _frames(data: npt.NDArray[np.uint8]) -> list[int]:
    """Where records begin, as far as their sizes say, and where the last whole one ends."""
    view, end, at = data.data, len(data), 0
    last, places = end - FRAME, [0]
    while at <= last:
        at += _size_at(view, at)[0] + FRAME
        if at > end:
            break
        places.append(at)
    return places


def _sound_sizes(data: npt.NDArray[np.uint8], places: list[int]) -> int:
    """How many of the places are right: the first, and each that follows a size with the right checksum."""
    starts = np.array(places[:-1], np.int64)
    wrong = masked_crcs(data, starts, np.full(len(starts), 8)) != _numbers(data, starts + 8)
    return int(wrong.argmax()) + 1 if wrong.any() else len(places)


def _is_size(data: npt.NDArray[np.uint8], place: int) -> bool:
    """Whether a size with the right checksum is there."""
    if place + HEADER > len(data):
        return False
    return _sound_sizes(data, [place, place]) == 2


def _numbers(data: npt.NDArray[np.uint8], places: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    """The 4-byte numbers at places."""
    if not len(places):
        return np.zeros(0, np.uint32)
    return np.lib.stride_tricks.sliding_window_view(data, 4)[places].copy().view("<u4")[:, 0]


def _chunk(data: npt.NDArray[np.uint8], places: list[int], at: int) -> Chunk:
    limits = np.array(places, np.int64)
    return Chunk(data, limits[:-1] + HEADER, np.diff(limits) - FRAME, at)
