"""A segment open for reading: its footer checked before Arrow sees it, and every damage as one kind of error.

Segments never change, so a footer that was checked is not checked again while the process lives.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mltrack.disk.arrow_columns import column_array
from mltrack.disk.codec import SEGMENT_MARK_SIZE, SEGMENT_TAIL_SIZE, BadLine, decode_segment_mark
from mltrack.disk.fields import COUNT_MAX, KEY_CHARACTERS_MAX
from mltrack.disk.filesystem import EXHAUSTED, NotRegularError, reading
from mltrack.disk.segment import SegmentName, read_footer, segment_name
from mltrack.disk.segment_check import check_footer, check_pages
from mltrack.errors import CorruptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from typing import IO

    import numpy.typing as npt

    Needless = Callable[["GroupRange"], bool]  # whether a reader has no use for a row group with these bounds

__all__ = ["UNREADABLE", "GroupRange", "Segment", "damaged", "metric_codes", "opened"]


class GroupRange(NamedTuple):
    """The bounds of a row group, as its statistics say: metrics, seqs, steps."""

    metric_min: str
    metric_max: str
    seq_min: int
    seq_max: int
    step_min: int
    step_max: int


UNREADABLE = (pa.ArrowException, OSError, LookupError, TypeError, ValueError, OverflowError)
"""What damaged pages raise: Arrow's own errors; LookupError where codes exceed a dictionary that was cut short, or a
column is missing; the rest where statistics, names or numbers are of another kind, or text is not UTF-8."""


def _check_footer(path: Path, file: IO[bytes]) -> tuple[int, int]:
    """The byte where the mark is, and the checksum that it gives for all before it."""
    try:
        at, data = read_footer(file, SEGMENT_MARK_SIZE)
        return at, decode_segment_mark(data[:SEGMENT_MARK_SIZE], data[SEGMENT_MARK_SIZE:])
    except BadLine as error:
        size = file.seek(0, os.SEEK_END)
        raise damaged(path, error, max(0, size - SEGMENT_TAIL_SIZE)) from None


def damaged(path: Path, error: Exception | str, offset: int | None = None) -> CorruptionError:
    """The error for a damaged segment; ``offset`` is where the damaged part begins, if that is known."""
    return CorruptionError(
        f"{path}: {error}",
        path=str(path),
        offset=offset,
        hint="restore the file from a copy; the other files are not affected",
    )


class MetricNames(NamedTuple):
    """The first and the last metric of a row group, and whether a row may have none."""

    first: str
    last: str
    nulls: bool


@dataclass(slots=True, eq=False)
class _Footer:
    """A footer that was checked: where the rows end, their checksum, and what Arrow reads from it."""

    rows_end: int
    rows_crc: int
    metadata: pq.FileMetaData
    pages_checked: set[tuple[int, int]] = field(default_factory=set)
    """Row groups whose pages were checked, each with the first column of these."""
    _metrics: list[MetricNames | None] | None = None
    _ranges: dict[int, GroupRange | None] = field(default_factory=dict)

    @property
    def metrics(self) -> list[MetricNames | None]:
        """The metrics of each row group; None where its statistics lack them."""
        if self._metrics is None:
            self._metrics = [_metrics_of(self.metadata.row_group(at)) for at in range(self.metadata.num_row_groups)]
        return self._metrics

    def range_of(self, number: int) -> GroupRange | None:
        """The bounds of a row group; None where its statistics lack one."""
        if number not in self._ranges:
            self._ranges[number] = _range_of(self.metadata.row_group(number))
        return self._ranges[number]


def _metrics_of(group: pq.RowGroupMetaData) -> MetricNames | None:
    names = group.column(0).statistics
    if names is None or not names.has_min_max:
        return None
    return MetricNames(names.min, names.max, not names.has_null_count or names.null_count > 0)


def _range_of(group: pq.RowGroupMetaData) -> GroupRange | None:
    metric, seq, step = (group.column(at).statistics for at in (0, 1, 2))
    if not all(one is not None and one.has_min_max for one in (metric, seq, step)):
        return None
    return GroupRange(metric.min, metric.max, seq.min, seq.max, step.min, step.max)


_FileId = tuple[int, int, int, int, int]

_FOOTERS: dict[_FileId, _Footer] = {}
"""The footers that were read last, by device, inode, size, and times of change of their files."""

FOOTERS_BYTES_MAX = 4 << 20

AGE_MIN_NS = 2_000_000_000
"""A file that was changed so lately could be changed once more and have the same time; so it is read again."""


def _file_id(file: IO[bytes]) -> _FileId:
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _keep(file_id: _FileId, footer: _Footer) -> None:
    """Keep a footer for the next reader, if its file is old enough."""
    size = footer.metadata.serialized_size
    if size > FOOTERS_BYTES_MAX or time.time_ns() - file_id[3] < AGE_MIN_NS:
        return
    if size + sum(held.metadata.serialized_size for held in list(_FOOTERS.values())) > FOOTERS_BYTES_MAX:
        _FOOTERS.clear()
    _FOOTERS[file_id] = footer


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A segment with a verified footer: the file, what its name says, the footer, and Arrow's reader of it."""

    path: Path
    name: SegmentName | None
    plain: IO[bytes]
    footer: _Footer
    parquet: pq.ParquetFile

    def check_pages(self, groups: Iterable[int], first_column: int = 0) -> None:
        """Check that these row groups unpack to no more than they can hold, from some column on.

        Raises:
            CorruptionError: they do not.
        """
        checked = self.footer.pages_checked
        wanted = [(group, first_column) for group in groups if (group, first_column) not in checked]
        try:
            check_pages(self.plain.fileno(), self.footer.metadata, [group for group, _ in wanted], first_column)
        except BadLine as error:
            raise damaged(self.path, error, 0) from None
        checked.update(wanted)

    def check_seqs(self, seqs: npt.NDArray[np.int64]) -> None:
        """Check that these are in the range of the file's name.

        Raises:
            BadLine: one is not.
        """
        name = self.name
        if name is not None and len(seqs) and not (name.first <= seqs.min() and seqs.max() <= name.last):
            raise BadLine(f"it holds points {seqs.min()} to {seqs.max()}, its name says {name.first} to {name.last}")


@contextlib.contextmanager
def opened(path: Path, *, fresh: bool = False) -> Iterator[Segment]:
    """A segment open for reading; ``fresh``: its footer is read and checked even if it was before.

    Raises:
        CorruptionError: it is not a segment, or its footer claims the impossible.
        FileNotFoundError: it does not exist.
    """
    with contextlib.ExitStack() as stack:
        try:
            plain = stack.enter_context(reading(path))
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno in EXHAUSTED:
                raise
            what = f"can't be read: {error.strerror}"
            if isinstance(error, NotRegularError):
                what = str(error.strerror)
            raise damaged(path, what) from None
        file_id = _file_id(plain)
        footer = None if fresh else _FOOTERS.get(file_id)
        at, rows_crc = (footer.rows_end, footer.rows_crc) if footer is not None else _check_footer(path, plain)
        name = segment_name(path.name)
        points_max = name.last - name.first + 1 if name is not None else COUNT_MAX
        try:
            parquet = stack.enter_context(
                pq.ParquetFile(
                    path,
                    metadata=None if footer is None else footer.metadata,
                    page_checksum_verification=True,
                    read_dictionary=["metric"],
                    memory_map=False,
                    pre_buffer=False,
                )
            )
            if footer is None:
                check_footer(parquet.metadata, at, points_max)
        except FileNotFoundError:
            raise
        except KeyError as error:
            raise damaged(path, "it has no column 'metric'") from error
        except (*UNREADABLE, BadLine) as error:
            raise damaged(path, error) from error
        if footer is None:
            footer = _Footer(at, rows_crc, parquet.metadata)
            _keep(file_id, footer)
        yield Segment(path, name, plain, footer, parquet)


def metric_codes(column: pa.ChunkedArray) -> tuple[list[str], npt.NDArray[np.int64]]:
    """The metric column as names and the index of each row's name.

    Raises:
        UNREADABLE: an index has no name, or a name can't be one.
    """
    if not pa.types.is_dictionary(column.type):
        column = pc.dictionary_encode(column)
    whole = pa.chunked_array(column.unify_dictionaries().chunks, column.type).combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0) if whole.num_chunks else pa.nulls(0, column.type)
    codes = column_array(whole.indices, np.int32).astype(np.int64)
    if len(codes) and codes.max() >= len(whole.dictionary):
        raise IndexError("a metric that is not in the dictionary")
    keys = whole.dictionary.to_pylist()
    if not all(keys) or max(map(len, keys), default=0) > KEY_CHARACTERS_MAX:
        raise pa.ArrowInvalid("a metric has no name, or one that is too long")
    return keys, codes
