"""Segments: any points come back, any Parquet reader reads them, and damage is told, never taken for data."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltrack.disk.segment import BLOCK_ROWS, PointColumns, segment_name, write_segment
from mltrack.disk.segment_metric import read_bounds, read_metric
from mltrack.disk.segment_reader import read_blocks, verify_segment
from mltrack.errors import CorruptionError

if TYPE_CHECKING:
    import numpy.typing as npt

    from mltrack.disk.segment_file import GroupRange

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
KEYS = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=6, unique=True)


def columns(keys: list[str], rows: list[tuple[float, ...]]) -> PointColumns:
    codes, seqs, steps, times, values = (np.array(c) for c in zip(*rows, strict=True))
    return PointColumns(keys, codes, seqs, steps, times, values.astype(float))


def some(count: int, first: int = 0, metrics: int = 5) -> PointColumns:
    at = np.arange(first, first + count)
    values = np.random.default_rng(0).normal(size=count)
    return PointColumns([f"m{n}" for n in range(metrics)], at % metrics, at, at // metrics, 10**18 + at * 1000, values)


def rows_of(points: PointColumns) -> list[Any]:
    keys = [points.keys[code] for code in points.codes]
    values = [value.tobytes() for value in points.values]
    return list(zip(keys, points.seqs.tolist(), points.steps.tolist(), points.times.tolist(), values, strict=True))


def read_all(path: Path, first: int = 0) -> list[Any]:
    return [row for block in read_blocks(path, first) for row in rows_of(block)]


@pytest.mark.slow
@given(st.data(), KEYS)
def test_any_points_are_read_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, keys: list[str]
) -> None:
    path = tmp_path_factory.mktemp("any") / "any.parquet"
    point = st.tuples(st.integers(0, len(keys) - 1), INT64, INT64, st.floats())
    points = data.draw(st.lists(point, min_size=1, max_size=30))
    first = data.draw(st.integers(0, 1 << 40))
    held = columns(keys, [(code, first + n, *rest) for n, (code, *rest) in enumerate(points)])
    assert write_segment(path, [held]) == len(points)
    assert read_all(path) == rows_of(held)
    verify_segment(path)
    cut = first + len(points) // 2
    assert read_all(path, cut) == rows_of(held)[len(points) // 2 :]
    for key in keys:
        table = read_metric(path, key)
        wanted = [row[1:] for row in rows_of(held) if row[0] == key]
        found = zip(
            table.column("seq").to_pylist(),
            table.column("step").to_pylist(),
            table.column("time").cast("int64").to_pylist(),
            [value.tobytes() for value in table.column("value").to_numpy()],
            strict=True,
        )
        assert list(found) == wanted
    assert read_metric(path, "no such").num_rows == 0


def test_the_bounds_of_a_metric_are_those_of_its_points_with_and_without_a_footer_that_tells(tmp_path: Path) -> None:
    count = 70_000  # more than two row groups of m0; the third has m1, too
    for odd in ([], [np.nan], [np.inf, -np.inf], [np.nan] * 40_000):
        both = some(count + 9, metrics=1)
        both.codes[count:] = 1
        both.values[: len(odd)] = odd
        path = tmp_path / f"{len(odd)}.parquet"
        write_segment(path, [PointColumns(["m0", "m1"], both.codes, both.seqs, both.steps, both.times, both.values)])
        for code, key in enumerate(("m0", "m1")):
            mine, found = both.take(both.codes == code), read_bounds(path, key)
            finite = mine.values[np.isfinite(mine.values)]
            assert sum(one.points for one in found) == len(mine)
            assert (min(one.step_min for one in found), max(one.step_max for one in found)) == tuple(
                mine.steps[[0, -1]]
            )
            assert (min(one.time_min for one in found), max(one.time_max for one in found)) == tuple(
                mine.times[[0, -1]]
            )
            assert np.nanmin([one.value_min for one in found]) == finite.min()
            assert np.nanmax([one.value_max for one in found]) == finite.max()
        assert read_bounds(path, "no such") == []


@pytest.mark.slow
def test_blocks_are_read_in_the_order_of_logging(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    blocks = [some(100_000, 0), some(100_000, 100_000), some(50_000, 200_000)]
    assert write_segment(path, blocks) == 250_000
    seqs = np.concatenate([block.seqs for block in read_blocks(path)])
    assert (seqs == np.arange(250_000)).all()
    assert all(len(block) <= BLOCK_ROWS for block in read_blocks(path))
    assert [len(block) for block in read_blocks(path, 199_999)] == [1, 50_000]
    pieces = list(read_blocks(path, 1_000, rows_max=64_000))
    assert max(map(len, pieces)) == 64_000
    assert [row for piece in pieces for row in rows_of(piece)] == read_all(path, 1_000)
    table = read_metric(path, "m3")
    assert table.column("seq").to_pylist() == list(range(3, 250_000, 5))


def test_a_metric_of_many_row_groups_hides_none_after_it(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    at = np.arange(BLOCK_ROWS + 100_000)
    codes = (at % 5 == 0).astype(int)  # four of "a" to one of "b": several row groups of "a" alone come first
    held = PointColumns(["a", "b"], codes, at, at, at, at.astype(float))
    blocks = [held.take(slice(0, BLOCK_ROWS)), held.take(slice(BLOCK_ROWS, None))]
    write_segment(path, blocks)
    found = list(read_blocks(path))
    assert [len(block) for block in found] == [BLOCK_ROWS, 100_000]
    assert (np.concatenate([block.seqs for block in found]) == at).all()
    assert [len(block) for block in read_blocks(path, 1000)] == [BLOCK_ROWS - 1000, 100_000]
    for key, code in (("a", 0), ("b", 1)):
        assert (read_metric(path, key).column("seq").to_numpy() == at[codes == code]).all()


def test_a_metric_with_many_rows_has_row_groups_with_no_others_rows_and_names(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    at = np.arange(60_000)
    codes = np.where(at % 6 < 5, 1, np.where(at % 60 == 5, 0, 2))  # 50,000 of "b", 1,000 of "a" and 9,000 of "c"
    write_segment(path, [PointColumns(["a", "b", "c"], codes, at, at, at, at.astype(float))])
    metadata = pq.read_metadata(path)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    names = [(group.column(0).statistics.min, group.column(0).statistics.max) for group in groups]
    assert [(group.num_rows, *name) for group, name in zip(groups, names, strict=True)] == [
        (1_000, "a", "a"),
        (25_000, "b", "b"),
        (25_000, "b", "b"),
        (9_000, "c", "c"),
    ]
    verify_segment(path)
    for code, key in enumerate("abc"):
        assert (read_metric(path, key).column("seq").to_numpy() == at[codes == code]).all()
    assert [len(block) for block in read_blocks(path, 10, end=20)] == [10]


@dataclass
class Below:
    """The rows below a step that are before a seq."""

    step: int
    seq: int

    @property
    def end(self) -> int:
        return self.seq

    def hides_all(self, rows: GroupRange) -> bool:
        return rows.step_min >= self.step or rows.seq_min >= self.seq

    def step_limit(self, rows: GroupRange) -> int | None:
        return self.step - 1 if rows.seq_max < self.seq else None

    def counting(self, seqs: npt.NDArray[np.int64], steps: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_] | None:
        wanted: npt.NDArray[np.bool_] = (seqs < self.seq) & (steps < self.step)
        return None if wanted.all() else wanted


@pytest.mark.parametrize("metrics", [1, 3, 5000])
@pytest.mark.parametrize("step", [1, 9, 15_000, 10**9])
@pytest.mark.parametrize("seq", [0, 5, 60_000, 10**9])
def test_a_rule_gives_the_same_rows_whatever_row_groups_they_lie_in(
    segments: dict[int, Path], metrics: int, step: int, seq: int
) -> None:
    path, rule = segments[metrics], Below(step, seq)
    at = np.arange(0, ROWS, metrics)
    wanted = at[(at // metrics < step) & (at < seq)]
    table = read_metric(path, "m0", rule)
    assert (table.column("seq").to_numpy() == wanted).all() and len(table) == len(wanted)
    without = read_metric(path, "m0", rule, with_seqs=False)
    assert without == table.select(["step", "time", "value"])


ROWS = 90_000


@pytest.fixture(scope="module")
def segments(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Segments of so many metrics: in row groups of their own, or with others."""
    folder = tmp_path_factory.mktemp("segments")
    for metrics in (1, 3, 5000):
        write_segment(folder / f"{metrics}.parquet", [some(ROWS, metrics=metrics)])
    return {metrics: folder / f"{metrics}.parquet" for metrics in (1, 3, 5000)}


def test_a_footer_that_was_checked_is_read_again_once_the_file_is_another(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_segment(path, [some(100)])
    os.utime(path, ns=(10**18, 10**18))
    assert read_metric(path, "m0") == read_metric(path, "m0")
    data = path.read_bytes()
    path.write_bytes(data[:-20] + bytes([data[-20] ^ 1]) + data[-19:])
    os.utime(path, ns=(10**18, 10**18))
    with pytest.raises(CorruptionError):
        read_metric(path, "m0")


def test_plain_parquet_readers_read_it(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_segment(path, [some(3000)])
    table = pq.read_table(path)
    assert table.column_names == ["metric", "seq", "step", "time", "value"]
    assert table.sort_by("seq").column("metric").to_pylist()[:6] == ["m0", "m1", "m2", "m3", "m4", "m0"]
    assert sorted(table.column("seq").to_pylist()) == list(range(3000))


def test_noisy_values_take_nine_bytes_a_point(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_segment(path, [some(200_000)])
    assert path.stat().st_size <= 9 * 200_000


def outcome(path: Path) -> Any:
    """What a reader gets: the rows, or that the file is damaged. Anything else is an error of the reader."""
    try:
        return read_all(path), [read_metric(path, f"m{n}").to_pydict() for n in range(5)]
    except CorruptionError as error:
        assert error.path == str(path)
        assert str(path) in str(error)
        return "damaged"


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, bytes]:
    path = tmp_path / "a.parquet"
    write_segment(path, [some(60)])
    return path, path.read_bytes()


EACH_BYTE = pytest.mark.parametrize("first, every", [(3, 8), pytest.param(0, 1, marks=pytest.mark.slow)])
"""Some of the bytes, or all: a file is read again for each."""


@EACH_BYTE
def test_a_changed_bit_anywhere_is_reported_and_never_read_as_another_value(
    small: tuple[Path, bytes], first: int, every: int
) -> None:
    path, data = small
    wanted = outcome(path)
    chance = random.Random(5)
    told = 0
    changed = range(first, len(data), every)
    for number, at in enumerate(changed):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :])
        with pytest.raises(CorruptionError):
            verify_segment(path)
        if number % 2:
            found = outcome(path)
            told += found == "damaged"
            assert found in (wanted, "damaged")
    assert told > len(changed) // 4


@EACH_BYTE
def test_a_file_cut_anywhere_is_reported(small: tuple[Path, bytes], first: int, every: int) -> None:
    path, data = small
    for number, end in enumerate(range(first, len(data), every)):
        path.write_bytes(data[:end])
        with pytest.raises(CorruptionError):
            next(iter(read_blocks(path)))
        if number % 50 == 0:
            for call in (verify_segment, lambda held: read_metric(held, "m0")):
                with pytest.raises(CorruptionError):
                    call(path)


def test_a_segment_that_is_gone_is_a_missing_file(tmp_path: Path) -> None:
    for call in (verify_segment, lambda path: read_metric(path, "a"), lambda path: list(read_blocks(path))):
        with pytest.raises(FileNotFoundError):
            call(tmp_path / "none.parquet")


def test_file_names_hold_writer_and_seqs() -> None:
    assert segment_name("0123456789abcdef.0-41.parquet") == ("0123456789abcdef", 0, 41)
    for other in (".0123456789abcdef.5.parquet.tmp", "0123456789abcdef.0-1.parquet.tmp", "x.0-1.parquet", ""):
        assert segment_name(other) is None
