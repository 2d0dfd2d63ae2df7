"""An append-only file of checksummed JSON lines: events, the workspace and the ledgers are all one of these.

A torn last line counts as never written. A bad line in the middle is corruption: reported with its path and offset,
and the lines around it are still read. The torn end of a failed append is cut off, so the next one starts a line.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from mltrack.disk.codec import LINE_BYTES_MAX, LINE_BYTES_MIN, BadLine, decode_line, encode_line
from mltrack.disk.filesystem import LOCAL, FileSystem, NotRegularError, reading
from mltrack.errors import CorruptionError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import IO

    from mltrack.disk.fields import Records

__all__ = [
    "BAD_LINES_MAX",
    "BYTE",
    "JsonLog",
    "LogRead",
    "PlacedLine",
    "bad_line",
    "check_lines",
    "each_line",
    "placed_lines",
    "read_log",
]

CHUNK_BYTES = 1 << 20

BAD_LINES_MAX = 10_000
"""After so many bad lines reading stops: each takes memory and time, and little is left to find."""

_FILE_HINT = "give plain values, and store what is long as a file"

BYTE = "byte"
"""The field in which a line of a log without line numbers says where it begins."""


class LogRead(NamedTuple):
    """The result of read_log: the lines' fields, the byte after the last whole line, and the damage found."""

    lines: list[dict[str, Any]]
    end: int
    damage: list[CorruptionError]


class PlacedLine(NamedTuple):
    """A line of a file: the byte where it begins, its length with the line break, and its fields or its fault."""

    offset: int
    size: int
    fields: dict[str, Any]
    fault: str = ""


def read_log(path: Path, start: int = 0, *, records: Records | None = None) -> LogRead:
    """Every good line from byte ``start`` on, checked against ``records``. A missing file counts as empty.

    Anything but a regular file has no lines, and is damage.

    Raises:
        OSError: the file exists and can't be read.
    """
    lines: list[dict[str, Any]] = []
    damage: list[CorruptionError] = []
    end = start
    for offset, size, fields, fault in each_line(path, start, records=records):
        if fault:
            damage.append(bad_line(path, offset, fault))
        else:
            lines.append(fields)
        end = offset + size
    return LogRead(lines, end, damage)


def bad_line(path: Path, offset: int, fault: str) -> CorruptionError:
    """The error for a bad line."""
    return CorruptionError(
        f"{path}: bad line at byte {offset}: {fault}",
        path=str(path),
        offset=offset,
        hint="the lines around it are intact; restore the file from a copy to get this one back",
    )


def each_line(
    path: Path, start: int = 0, *, records: Records | None = None, holding: bytes = b""
) -> Iterator[PlacedLine]:
    """Every whole line from byte ``start`` on, good or bad, in order. A missing file counts as empty.

    Args:
        path: The log.
        start: The byte to start from, where a line begins.
        records: The schema that lines are checked against.
        holding: Lines without these bytes are skipped without a check.

    Raises:
        OSError: the file exists and can't be read.
    """
    try:
        file = reading(path)
    except FileNotFoundError:
        return
    except NotRegularError as error:
        yield PlacedLine(start, 0, {}, str(error.strerror))
        return
    with file:
        file.seek(start)
        yield from _each_line(file, start, records, holding)


def _each_line(file: IO[bytes], at: int, records: Records | None, holding: bytes) -> Iterator[PlacedLine]:
    held: list[bytes] = []  # the beginning of a line that goes on in the next chunk
    size = bad = 0
    while chunk := file.read(CHUNK_BYTES):
        *whole, last = chunk.split(b"\n")
        for line in whole:
            if held:
                line, held, size = b"".join([*held, line]), [], 0
            if holding in line:
                placed = _placed(line, at, records)
                bad += bool(placed.fault)
                if bad > BAD_LINES_MAX:
                    yield _the_rest(file, at, f"more than {BAD_LINES_MAX:,} bad lines; what follows is not read")
                    return
                yield placed
            at += len(line) + 1
        held.append(last)
        size += len(last)
        if size > LINE_BYTES_MAX:  # no writer makes such a line; lines after it are not searched for
            yield _the_rest(file, at, f"no line break in {LINE_BYTES_MAX:,} bytes; what follows is not read")
            return


def _the_rest(file: IO[bytes], at: int, fault: str) -> PlacedLine:
    return PlacedLine(at, os.fstat(file.fileno()).st_size - at, {}, fault)


def _placed(line: bytes, at: int, records: Records | None) -> PlacedLine:
    try:
        fields = decode_line(line, records)
    except BadLine as error:
        return PlacedLine(at, len(line) + 1, {}, str(error))
    seq = fields.get("seq", 0)  # in numbered logs, all lines before it take space
    if records is not None and type(seq) is int and seq * LINE_BYTES_MIN > at:
        return PlacedLine(at, len(line) + 1, {}, f"its number is {seq:,}, more than the lines that fit before it")
    return PlacedLine(at, len(line) + 1, fields)


def placed_lines(lines: Iterable[Mapping[str, Any]], at: int = 0) -> bytes:
    """Encoded lines, each with the byte of the file where it begins; the first at ``at``."""
    found: list[bytes] = []
    for line in lines:
        found.append(encode_line({**line, BYTE: at}))
        at += len(found[-1])
    return b"".join(found)


def check_lines(lines: Iterable[Mapping[str, Any]], records: Records, name: str) -> None:
    """Check lines before anything of them is written; ``name`` is that of their file, for the message.

    Raises:
        UsageError: readers would refuse one.
    """
    for line in lines:
        fault = records.fault(line)
        if fault is not None:
            raise UsageError(f"a line of {name} can't be stored: {fault}", hint="give values of these kinds")


class JsonLog:
    """One such file open for appending by one process."""

    def __init__(
        self,
        path: Path,
        *,
        records: Records | None,
        fs: FileSystem = LOCAL,
        create: bool = False,
        placed: bool = False,
    ) -> None:
        """Open a log. A torn tail left by a crash is cut off.

        Args:
            path: The file, made when missing.
            records: The schema of its lines: one that readers would refuse is not added.
            fs: The file system to write with.
            create: The file must be new.
            placed: Each line says at which byte it begins, which shows doubled or missing lines in logs without line
                numbers.

        Raises:
            OSError: the file can't be opened (FileExistsError with ``create`` when it exists).
        """
        self.path = path
        self._records = records
        self._fs = fs
        self._placed = placed
        self.fd = fs.create(path) if create else fs.open_append(path)
        self._size = 0 if create else self._cut_torn_tail()
        self._is_new = self._size == 0  # its name may not be on the disk yet
        self.count = 0  # lines appended by this object
        self._torn = False  # set while the end of the file is not known for sure

    @property
    def size(self) -> int:
        """Bytes of whole lines: where the next line will begin."""
        return self._size

    def _cut_torn_tail(self) -> int:
        size = os.fstat(self.fd).st_size
        step, end = 1 << 16, size
        while end > 0:
            at = max(0, end - step)
            newline = os.pread(self.fd, end - at, at).rfind(b"\n")
            if newline >= 0:
                end = at + newline + 1
                break
            end = at
        if end != size:
            self._fs.truncate(self.fd, end)
        return end

    def append(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Add lines in one write: when this returns they survive ``kill -9``; sync() makes them survive power loss.

        Raises:
            UsageError: readers would refuse one, or it is longer than a line may be; nothing was added.
            OSError: not all of them were added (a full disk, a lost mount). Those that were stay, as readers may have
                seen them: ``count`` says how many.
        """
        self.settle()
        data = self._encoded(lines)
        self._torn = True
        try:
            self._fs.write_all(self.fd, data)
        except BaseException:  # even an interrupt may come when some or all of it is written
            with contextlib.suppress(OSError):
                self.settle()
            raise
        self._size, self.count, self._torn = self._size + len(data), self.count + data.count(b"\n"), False

    def _encoded(self, lines: Iterable[Mapping[str, Any]]) -> bytes:
        if self._records is not None:
            lines = list(lines)
            check_lines(lines, self._records, self.path.name)
        try:
            return placed_lines(lines, self._size) if self._placed else b"".join([encode_line(line) for line in lines])
        except BadLine as error:
            raise UsageError(f"a line of {self.path.name} can't be stored: {error}", hint=_FILE_HINT) from None

    def settle(self) -> None:
        """After an append that failed: count the lines that went in whole, and cut off what follows them.

        Raises:
            OSError: the file can't be read or cut; nothing can be appended until it can.
        """
        if not self._torn:
            return
        added = os.pread(self.fd, os.fstat(self.fd).st_size - self._size, self._size)
        whole = added.rfind(b"\n") + 1
        end = self._size + whole
        if whole != len(added):
            self._fs.truncate(self.fd, end)
        os.lseek(self.fd, end, os.SEEK_SET)
        self._size, self.count, self._torn = end, self.count + added.count(b"\n"), False

    def move_to(self, path: Path) -> None:
        """Note the file's new path: its folder was renamed, and the open file went with it."""
        self.path = path

    def sync(self) -> None:
        """Return when all appended lines are on the disk, and the file's name in its folder."""
        self._fs.sync(self.fd)
        if self._is_new:
            self._fs.sync_folder(self.path.parent)
            self._is_new = False

    def close(self) -> None:
        """Close the file (without a sync). Calling it again does nothing.

        A child that is forked meanwhile finds it closed: the number may be another file's there.
        """
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
