"""Segments with a right mark that mltrack never wrote: refused with words, whatever Parquet they hold."""

from __future__ import annotations

import resource
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mltrack.disk.codec import encode_segment_mark
from mltrack.disk.segment import POINTS_SCHEMA, PointColumns, write_segment
from mltrack.disk.segment_metric import read_metric
from mltrack.disk.segment_reader import read_blocks, verify_segment
from mltrack.errors import CorruptionError

ROWS = 100
NAME = f"18bcfe568000a1b2.0-{ROWS - 1}.parquet"


def mark(path: Path, change: Callable[[bytes], bytes] = lambda footer: footer) -> None:
    """Set the mark, with a footer that may say something else."""
    import zlib

    data = path.read_bytes()
    at = len(data) - 8 - struct.unpack("<I", data[-8:-4])[0]
    rows, footer = data[:at], change(data[at:])
    path.write_bytes(rows + encode_segment_mark(zlib.crc32(rows), footer) + footer)


def table(rows: int = ROWS, **columns: Any) -> pa.Table:
    """A table of points; ``columns`` stand in place of its own, and None for one that is not there."""
    numbers = np.arange(rows)
    names = ["accuracy" if number < rows // 2 else "loss" for number in range(rows)]
    held: dict[str, Any] = {
        "metric": pa.array(names),
        "seq": pa.array(numbers),
        "step": pa.array(numbers),
        "time": pa.array(numbers).cast(pa.timestamp("ns", tz="UTC")),
        "value": pa.array(numbers / 7),
        **columns,
    }
    return pa.table({name: column for name, column in held.items() if column is not None})


def written(path: Path, points: pa.Table, *, groups: int = 1 << 15, **how: Any) -> Path:
    options = {"compression": "zstd", "store_schema": False, "use_dictionary": ["metric"], **how}
    pq.write_table(points, path / NAME, row_group_size=groups, **options)
    return path / NAME


def refused(path: Path) -> str:
    """What is said of a segment when it is verified."""
    with pytest.raises(CorruptionError) as found:
        verify_segment(path)
    return str(found.value)


numbers = np.arange(ROWS)
SHAPES: dict[str, dict[str, Any]] = {
    "is of type INT32": {"step": pa.array(numbers, pa.int32())},
    "is of type BYTE_ARRAY": {"value": pa.array(["x"] * ROWS)},
    "timeUnit=milliseconds": {"time": pa.array(numbers).cast(pa.timestamp("ms", tz="UTC"))},
    "4 columns": {"value": None},
    "not 'value'": {"value": pa.array([[1.0]] * ROWS)},
    "no column 'metric'": {"metric": pa.array([{"a": "x"}] * ROWS)},
    "which is reserved": {"FileName": pa.array(numbers)},
    "a value is missing": {"value": pa.array([None, *([1.0] * (ROWS - 1))])},
    "has no name, or one that is too long": {"metric": pa.array([""] * ROWS)},
    "or one that is too long": {"metric": pa.array(["x" * 70_000] * ROWS)},
    "it holds points 50 to 149": {"seq": pa.array(numbers + 50)},
    "it holds points -1 to 98": {"seq": pa.array(numbers - 1)},
}


@pytest.mark.parametrize("said", SHAPES)
def test_other_columns_and_values_are_refused(tmp_path: Path, said: str) -> None:
    path = written(tmp_path, table(**SHAPES[said]))
    mark(path)
    assert said in refused(path)
    with pytest.raises(CorruptionError):
        list(read_blocks(path))


def test_the_same_file_with_valid_content_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, table(more=pa.array([[{"a": [1]}]] * ROWS)))
    mark(path)
    verify_segment(path)
    assert sum(map(len, read_blocks(path))) == ROWS
    assert len(read_metric(path, "loss")) == ROWS // 2


def test_names_of_many_kilobytes_are_written_and_read(tmp_path: Path) -> None:
    rows = 1 << 15
    keys = [f"{number}{'x' * 20_000}" for number in range(100)]
    at = np.arange(rows)
    path = tmp_path / f"18bcfe568000a1b2.0-{rows - 1}.parquet"
    write_segment(path, [PointColumns(keys, at % 100, at, at, at, at / 3)])
    verify_segment(path)
    assert sum(map(len, read_blocks(path))) == rows


def test_a_duplicated_point_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, table(seq=pa.array(numbers // 2)))
    mark(path)
    with pytest.raises(CorruptionError, match="a point twice"):
        list(read_blocks(path))


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        (b"\x04loss", b"\x04best"),
        (b"accuracy", b"bccuracy"),
        (struct.pack("<q", ROWS - 1), struct.pack("<q", 3)),
        (struct.pack("<d", (ROWS - 1) / 7), struct.pack("<d", 0.5)),
        (struct.pack("<d", (ROWS - 1) / 7), struct.pack("<d", float("nan"))),
    ],
)
def test_statistics_that_would_make_readers_skip_points_are_refused(
    tmp_path: Path, there: bytes, instead: bytes
) -> None:
    path = written(tmp_path, table())

    def lie(footer: bytes) -> bytes:
        assert there in footer
        return footer.replace(there, instead)

    mark(path, lie)
    assert "outside of the range in its footer" in refused(path)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"compression": "gzip"}, "not one of a segment"),
        ({"write_page_index": True}, "has an index"),
        ({"bloom_filter_options": {"metric": True}}, "has an index"),
        ({"groups": 1}, "row groups for"),
        ({"store_schema": True}, "fields that a segment's does not"),
    ],
)
def test_parquet_features_that_segments_do_not_use_are_refused(tmp_path: Path, how: dict[str, Any], said: str) -> None:
    path = written(tmp_path, table(), **how)
    mark(path)
    assert said in refused(path)


_READ = """
import sys
from pathlib import Path
from mltrack.errors import CorruptionError
from mltrack.disk.segment_metric import read_metric
from mltrack.disk.segment_reader import read_blocks, verify_segment
for read in (verify_segment, lambda path: list(read_blocks(path)), lambda path: read_metric(path, "loss")):
    try:
        read(Path(sys.argv[1]))
    except CorruptionError as error:
        print(error)
    else:
        print("read")
"""


def _in_little_memory(path: Path) -> list[str]:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))

    answer = subprocess.run(
        [sys.executable, "-c", _READ, str(path)], capture_output=True, text=True, preexec_fn=limit, timeout=120
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout.splitlines()


@pytest.mark.slow
def test_names_that_decompress_to_gigabytes_take_no_memory(tmp_path: Path) -> None:
    names = pa.DictionaryArray.from_arrays(
        pa.array(numbers % 10, pa.int32()), pa.array([f"{number}{'x' * 50_000_000}" for number in range(10)])
    )
    path = written(tmp_path, table(metric=names), dictionary_pagesize_limit=1 << 30)
    mark(path)
    assert path.stat().st_size < 1 << 20
    assert all("too many bytes" in said for said in _in_little_memory(path))


@pytest.mark.slow
def test_unordered_row_groups_are_not_held_in_memory_at_once(tmp_path: Path) -> None:
    rows, groups = 1 << 18, 200
    path = tmp_path / f"18bcfe568000a1b2.0-{rows * groups - 1}.parquet"
    zeros = np.zeros(rows, np.int64)
    points = table(
        rows, metric=pa.array(["loss"] * rows), seq=pa.array(zeros), step=pa.array(zeros), value=pa.array(zeros / 1)
    ).cast(POINTS_SCHEMA)
    with pq.ParquetWriter(path, POINTS_SCHEMA, compression="zstd", store_schema=False) as writer:
        for _ in range(groups):
            writer.write_table(points, row_group_size=rows)
    mark(path)
    said = _in_little_memory(path)
    assert "without an order" in said[1]
