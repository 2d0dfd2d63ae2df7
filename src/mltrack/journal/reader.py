"""Reading a writer's points from its journals, which may be growing, its segments, or both during a seal.

A sealer publishes the segment before it deletes the journals, so a reader opens the journals first and lists the
segments afterwards: it misses nothing, and takes each seq once.
"""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mltrack.disk.arrow_columns import array_column, column_array, take_rows
from mltrack.disk.codec import (
    HEADER_SIZE,
    POINTS_BYTES_MAX,
    RECORD_SIZE,
    BadLine,
    decode_header,
    decode_records,
    placeholder_name,
)
from mltrack.disk.fields import COUNT_MAX
from mltrack.disk.filesystem import EXHAUSTED, NotRegularError, open_regular
from mltrack.disk.segment import BLOCK_ROWS, POINTS_SCHEMA, PointColumns, SegmentName, segment_name
from mltrack.disk.segment_metric import NUMBERS, read_bounds, read_metric
from mltrack.disk.segment_reader import read_blocks
from mltrack.errors import CorruptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt
    import pyarrow as pa

    from mltrack.disk.codec import PointsHeader
    from mltrack.disk.layout import RunFolder
    from mltrack.disk.segment_file import Needless
    from mltrack.disk.segment_metric import GroupBounds, RowRule

    Keys = Callable[[int], Sequence[str]]  # keys(n): a writer's metric names by number, at least up to number n

__all__ = ["JournalFile", "count_points", "open_journals", "read_key", "read_key_bounds", "read_points", "segments_of"]

PIECE_BYTES = RECORD_SIZE << 15  # 1 MiB, 32,768 records: the bytes of a journal that are read at a time

_JOURNAL_NAME = re.compile(r"([0-9a-f]{16})\.(\d+)\.points")


class JournalFile(NamedTuple):
    """A points file held open: its path and the seq of its first record."""

    path: Path
    fd: int
    first_seq: int
    number: int

    def pieces(
        self, start: int, whole: bool, end: int | None = None
    ) -> Iterator[tuple[npt.NDArray[np.void], npt.NDArray[np.int64]]]:
        """Committed records and their seqs from seq ``start`` on, up to, not including, ``end``.

        A live file is read up to its first missing mark; ``whole``: the writer is dead, so read past such marks.
        """
        offset = HEADER_SIZE + RECORD_SIZE * max(0, start - self.first_seq)
        stop = POINTS_BYTES_MAX if end is None else HEADER_SIZE + RECORD_SIZE * (end - self.first_seq)
        while offset < stop:
            data = os.pread(self.fd, min(PIECE_BYTES, stop - offset), offset)
            records, slots = decode_records(data, offset)
            if not whole and len(slots) and slots[-1] + 1 != len(slots):
                end = int(np.flatnonzero(slots != np.arange(len(slots)))[0])
                records, slots = records[:end], slots[:end]
            if len(slots):
                yield records, slots + (self.first_seq + (offset - HEADER_SIZE) // RECORD_SIZE)
            if len(data) < PIECE_BYTES or (not whole and len(slots) < PIECE_BYTES // RECORD_SIZE):
                return
            offset += len(data)


def open_journals(folder: RunFolder, writer: str, stack: ExitStack, damage: list[CorruptionError]) -> list[JournalFile]:
    """The writer's points files in order of seq, held open until ``stack`` closes. One that disappears was sealed.

    Args:
        folder: The run's folder.
        writer: The writer's name.
        stack: Closes the files.
        damage: Gets the damage found.
    """
    found: list[JournalFile] = []
    for name in _names(folder.points):
        match = _JOURNAL_NAME.fullmatch(name)
        if match is None or match[1] != writer:
            continue
        path = folder.points / name
        try:
            fd = open_regular(path)
            stack.callback(os.close, fd)
            header = _header(fd, writer)
        except FileNotFoundError:
            continue
        except (BadLine, OSError) as error:
            if isinstance(error, OSError) and error.errno in EXHAUSTED:
                raise
            what = _words(error)
            damage.append(CorruptionError(f"{path}: {what}", path=str(path), offset=0, hint="restore it from a copy"))
            continue
        if header is not None:
            found.append(JournalFile(path, fd, header.first_seq, int(match[2])))
    # by seq; if two have the same first seq, an interrupt left the earlier one empty
    return sorted(found, key=lambda journal: (journal.first_seq, journal.number))


def _words(error: BadLine | OSError) -> str:
    if isinstance(error, NotRegularError):
        return str(error.strerror)
    return f"can't be read: {error.strerror}" if isinstance(error, OSError) else str(error)


def _header(fd: int, writer: str) -> PointsHeader | None:
    """The header of a writer's points file.

    Raises:
        BadLine: it is not a header, or another writer's, or the file is longer than any can be.
    """
    header = decode_header(os.pread(fd, HEADER_SIZE, 0))
    if header is not None and header.writer != writer:
        raise BadLine(f"belongs to writer {header.writer!a}")
    size = os.fstat(fd).st_size
    if header is not None and size > POINTS_BYTES_MAX:
        raise BadLine(f"has {size:,} bytes, more than the {POINTS_BYTES_MAX:,} of the largest")
    return header


def segments_of(folder: RunFolder, writer: str) -> list[tuple[SegmentName, Path]]:
    """The writer's segments in order of seq."""
    names = [(segment_name(name), folder.segments / name) for name in _names(folder.segments)]
    return sorted((name, path) for name, path in names if name is not None and name.writer == writer)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def read_points(
    folder: RunFolder,
    writer: str,
    keys: Keys,
    *,
    first: int = 0,
    whole: bool,
    damage: list[CorruptionError],
    rows_max: int = BLOCK_ROWS,
    named_only: bool = False,
    end: int | None = None,
    needless: Needless | None = None,
) -> Iterator[PointColumns]:
    """A writer's points in the order of logging, in pieces.

    Args:
        folder: The run's folder.
        writer: The writer's name.
        keys: ``keys(n)`` gives the writer's metric names by number, at least up to number n.
        first: The seq to start from.
        whole: The writer is dead, so read past missing commit marks.
        damage: Gets the damage found.
        rows_max: How many rows a piece from a segment has at most.
        named_only: No line of the writer's events is damaged, so points of a metric without a name were never logged:
            the power failed before their name was on the disk.
        end: The seq to stop before.
        needless: Which row groups of segments may be left out.
    """
    names = _Names(keys)
    with ExitStack() as stack:
        journals = open_journals(folder, writer, stack, damage)
        sources: list[tuple[int, Any]] = [(name.first, path) for name, path in segments_of(folder, writer)]
        sources = sorted(
            [*sources, *((j.first_seq, j) for j in journals)], key=lambda s: (s[0], type(s[1]) is JournalFile)
        )
        cursor = first
        for begins, source in sources:
            if end is not None and max(begins, cursor) >= end:
                return
            try:
                if isinstance(source, JournalFile):
                    pieces = _journal_columns(source, cursor, whole, names, named_only, end)
                else:
                    pieces = read_blocks(
                        source, cursor, rows_max, end=COUNT_MAX if end is None else end, needless=needless
                    )
                for columns in pieces:
                    if columns.seqs[0] < cursor:
                        columns = columns.take(columns.seqs >= cursor)
                    if end is not None and len(columns) and columns.seqs[-1] >= end:
                        columns = columns.take(slice(0, int(np.searchsorted(columns.seqs, end))))
                        if len(columns):
                            yield columns
                        return
                    if len(columns):
                        cursor = int(columns.seqs[-1]) + 1
                        yield columns
            except CorruptionError as error:
                damage.append(error)


class _Names:
    """A writer's metric names, then a placeholder for each number whose name is on a damaged line."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._placeholders: dict[int, int] = {}  # number -> its index after the names

    def have(self, numbers: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
        """Which of these numbers have a name."""
        found: npt.NDArray[np.bool_] = numbers < len(self._keys(int(numbers.max())))
        return found

    def of(self, numbers: npt.NDArray[np.int64]) -> tuple[Sequence[str], npt.NDArray[np.int64]]:
        """Names, and for each number the index of its name."""
        names = self._keys(int(numbers.max()))
        beyond = numbers >= len(names)
        if not beyond.any():
            return names, numbers
        codes, place = numbers.copy(), self._placeholders
        codes[beyond] = [len(names) + place.setdefault(n, len(place)) for n in numbers[beyond].tolist()]
        return [*names, *map(placeholder_name, self._placeholders)], codes


def _journal_columns(
    journal: JournalFile, first: int, whole: bool, names: _Names, named_only: bool, end: int | None
) -> Iterator[PointColumns]:
    for records, seqs in journal.pieces(first, whole, end):
        if named_only:
            named = names.have(records["number"])
            records, seqs = (records, seqs) if named.all() else (records[named], seqs[named])
            if not len(records):
                continue
        known, codes = names.of(records["number"].astype(np.int64))
        yield PointColumns(known, codes, seqs, records["step"], records["time"], records["value"])


def read_key(
    folder: RunFolder,
    writer: str,
    key: str,
    keys: Keys,
    *,
    whole: bool,
    damage: list[CorruptionError],
    named_only: bool = False,
    rule: RowRule | None = None,
    with_seqs: bool = True,
) -> list[pa.Table]:
    """One metric's points of one writer: tables of ``seq, step, time, value`` in the order of logging.

    Args:
        folder: The run's folder.
        writer: The writer's name.
        key: The metric's name.
        keys: As in read_points.
        whole: As in read_points.
        damage: Gets the damage found.
        named_only: As in read_points.
        rule: Which of the points are wanted; None: all.
        with_seqs: As in read_metric.
    """
    names = _Names(keys)
    stop = None if rule is None else rule.end
    with ExitStack() as stack:
        journals = open_journals(folder, writer, stack, damage)
        tables, end = _sealed_tables(folder, writer, key, damage, rule, with_seqs)
        parts = [
            part
            for journal in journals
            for points in _journal_columns(journal, end, whole, names, named_only, stop)
            if (part := _points_of_key(points, key, end, rule)) is not None
        ]
    return [*tables, *(table if with_seqs else table.select(NUMBERS[1:]) for table in _joined(parts))]


def read_key_bounds(
    folder: RunFolder, writer: str, key: str, *, damage: list[CorruptionError]
) -> list[GroupBounds] | None:
    """The bounds of one metric's points in the writer's segments; None where not all its points are in these, once.

    Args:
        folder: The run's folder.
        writer: The writer's name.
        key: The metric's name.
        damage: Gets the damage found.
    """
    with ExitStack() as stack:
        if open_journals(folder, writer, stack, damage):
            return None
    found: list[GroupBounds] = []
    end = 0
    for name, path in segments_of(folder, writer):
        if name.first < end:
            return None
        end = name.last + 1
        try:
            found += read_bounds(path, key)
        except CorruptionError as error:
            damage.append(error)
    return found


def _sealed_tables(
    folder: RunFolder, writer: str, key: str, damage: list[CorruptionError], rule: RowRule | None, with_seqs: bool
) -> tuple[list[pa.Table], int]:
    """The metric's points in the writer's segments, and the seq after the last readable segment."""

    tables: list[pa.Table] = []
    end = 0
    for name, path in segments_of(folder, writer):
        repeated = name.first < end
        try:
            table = read_metric(path, key, rule, with_seqs=with_seqs or repeated)
        except CorruptionError as error:
            damage.append(error)
            continue
        if repeated:
            table = take_rows(table, column_array(table.column("seq"), np.int64) >= end)
        end = max(end, name.last + 1)
        tables.append(table if with_seqs else table.select(NUMBERS[1:]))
    return tables, end


def _points_of_key(
    points: PointColumns, key: str, first: int, rule: RowRule | None
) -> tuple[npt.NDArray[Any], ...] | None:
    """Seqs, steps, times and values of a metric's wanted points from seq ``first`` on; None if there are none."""
    wanted = [code for code, name in enumerate(points.keys) if name == key]
    mine = (points.codes == wanted[0]) if len(wanted) == 1 else np.isin(points.codes, wanted)
    mine &= points.seqs >= first
    if rule is not None and (counting := rule.counting(points.seqs, points.steps)) is not None:
        mine &= counting
    return (points.seqs[mine], points.steps[mine], points.times[mine], points.values[mine]) if mine.any() else None


def _joined(parts: Sequence[tuple[npt.NDArray[Any], ...]]) -> Iterator[pa.Table]:
    """The parts as one table, or none."""
    if not parts:
        return
    import pyarrow as pa

    columns = zip(map(np.concatenate, zip(*parts, strict=True)), POINTS_SCHEMA.types[1:], strict=True)
    yield pa.Table.from_arrays([array_column(*pair) for pair in columns], names=NUMBERS)


def count_points(folder: RunFolder, writer: str, *, whole: bool, damage: list[CorruptionError]) -> int:
    """The seq after the writer's last point, reading as little as possible.

    Args:
        folder: The run's folder.
        writer: The writer's name.
        whole: As in read_points.
        damage: Gets the damage found.
    """
    with ExitStack() as stack:
        journals = open_journals(folder, writer, stack, damage)
        end = max((name.last + 1 for name, _ in segments_of(folder, writer)), default=0)
        if journals:  # seqs rise from file to file
            for _, seqs in journals[-1].pieces(end, whole):
                end = max(end, int(seqs[-1]) + 1)
            end = max(end, journals[-1].first_seq)
        return end
