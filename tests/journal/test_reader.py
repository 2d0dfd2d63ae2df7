"""Reading points wherever they lie: cut, damaged, half sealed, with names missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from mltrack.disk.codec import HEADER_SIZE, RECORD_SIZE, encode_header, record_bytes
from mltrack.disk.filesystem import LOCAL
from mltrack.disk.layout import RunFolder
from mltrack.disk.segment import PointColumns
from mltrack.errors import CorruptionError
from mltrack.journal.reader import count_points, read_key, read_points
from mltrack.journal.seal import seal_writer
from mltrack.storage.runs.visibility import PointRule

WRITER = "0123456789abcdef"
NAMES = ["a", "b"]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / ("0" * 32))
    made.make(LOCAL)
    return made


def journal(count: int, first: int = 0, *, spare: int = 3) -> bytes:
    """A points file: ``count`` points, step = value = seq, metrics by turns; then ``spare`` empty places."""
    marks = (HEADER_SIZE + RECORD_SIZE * slot for slot in range(count))
    seqs = range(first, first + count)
    records = [record_bytes(seq, 1000 + seq, float(seq), seq % 2, mark) for seq, mark in zip(seqs, marks, strict=True)]
    return encode_header(WRITER, first) + b"".join(records) + bytes(RECORD_SIZE * spare)


def place(folder: RunFolder, index: int, data: bytes) -> Path:
    path = folder.points / f"{WRITER}.{index}.points"
    path.write_bytes(data)
    return path


def seqs(
    folder: RunFolder, *, first: int = 0, whole: bool = True, damage: list[CorruptionError] | None = None
) -> list[int]:
    """Seqs as read, checked against the steps and values they must have."""
    found: list[int] = []
    told: list[CorruptionError] = []
    pieces = read_points(folder, WRITER, lambda _: NAMES, first=first, whole=whole, damage=told)
    for piece in pieces:
        assert piece.steps.tolist() == piece.seqs.tolist() == piece.values.tolist()
        found += piece.seqs.tolist()
    assert told == [] if damage is None else True
    if damage is not None:
        damage += told
    return found


def test_a_file_cut_anywhere_gives_every_whole_record(folder: RunFolder) -> None:
    data = journal(6)
    for end in range(len(data) + 1):
        place(folder, 0, data[:end])
        whole = max(0, min(6, (end - HEADER_SIZE) // RECORD_SIZE))
        for dead in (True, False):
            assert seqs(folder, whole=dead) == list(range(whole))
            assert count_points(folder, WRITER, whole=dead, damage=[]) == whole


def test_reading_can_start_at_any_seq(folder: RunFolder) -> None:
    place(folder, 0, journal(5))
    place(folder, 1, journal(4, 5))
    for first in range(11):
        assert seqs(folder, first=first) == list(range(first, 9))


def test_of_a_journal_only_what_a_fork_needs_is_read(folder: RunFolder) -> None:
    place(folder, 0, journal(5))
    asked: list[int] = []

    def keys(number: int) -> list[str]:
        asked.append(number)
        return NAMES

    rule = PointRule([], end=1)
    (table,) = read_key(folder, WRITER, "a", keys, whole=False, damage=[], rule=rule)
    (points,) = read_points(folder, WRITER, keys, whole=False, damage=[], end=1)
    assert (table.column("seq").to_pylist(), points.seqs.tolist()) == ([0], [0])
    assert set(asked) == {0}  # the second point is of the metric with number 1


def test_a_missing_mark_ends_a_live_file_and_is_a_gap_in_a_dead_one(folder: RunFolder) -> None:
    data = bytearray(journal(6))
    data[HEADER_SIZE + RECORD_SIZE * 3 - 4 :][:4] = bytes(4)
    at = HEADER_SIZE + RECORD_SIZE * 2
    data[at : at + RECORD_SIZE] = bytes(RECORD_SIZE)
    place(folder, 0, bytes(data))
    assert seqs(folder, whole=False) == [0, 1]
    assert seqs(folder, whole=True) == [0, 1, 3, 4, 5]


def test_a_damaged_header_is_reported_with_path_and_offset_and_other_files_are_read(folder: RunFolder) -> None:
    place(folder, 0, journal(5))
    data = journal(5, 5)
    place(folder, 2, journal(5, 10))
    for at in range(HEADER_SIZE):
        path = place(folder, 1, data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :])
        damage: list[CorruptionError] = []
        assert seqs(folder, damage=damage) == [*range(5), *range(10, 15)]
        assert [(error.path, error.offset) for error in damage] == [(str(path), 0)]


def test_a_file_left_behind_empty_by_an_interrupt_hides_nothing(folder: RunFolder) -> None:
    place(folder, 0, journal(5))
    place(folder, 1, journal(0, 5, spare=100))
    place(folder, 2, journal(3, 5))
    place(folder, 3, bytes(4096))
    place(folder, 4, b"")
    assert seqs(folder) == list(range(8))
    assert count_points(folder, WRITER, whole=True, damage=[]) == 8


def test_files_of_other_writers_and_other_names_are_not_read(folder: RunFolder) -> None:
    place(folder, 0, journal(2))
    (folder.points / f"{'f' * 16}.0.points").write_bytes(journal(5))
    (folder.points / "notes.txt").write_text("x")
    (folder.segments / f".{WRITER}.1.parquet.tmp").write_text("x")
    assert seqs(folder) == [0, 1]


def test_points_whose_metric_has_no_name_get_a_placeholder_name(folder: RunFolder) -> None:
    marks = [HEADER_SIZE + RECORD_SIZE * slot for slot in range(4)]
    numbers = [0, 7, 4_000_000_000, 1]  # a damaged number must not make the reader ask for that many names
    records = [
        record_bytes(n, 0, float(n), number, mark) for n, (number, mark) in enumerate(zip(numbers, marks, strict=True))
    ]
    place(folder, 0, encode_header(WRITER, 0) + b"".join(records))
    found: list[PointColumns] = list(read_points(folder, WRITER, lambda _: NAMES, whole=True, damage=[]))
    names = [piece.keys[code] for piece in found for code in piece.codes]
    assert names == ["a", "unnamed/7", "unnamed/4000000000", "b"]
    [table] = read_key(folder, WRITER, "unnamed/7", lambda _: NAMES, whole=True, damage=[])
    assert table.column("step").to_pylist() == [1]
    assert seal_writer(folder, WRITER, NAMES, points_min=0) == 4
    [table] = [t for t in read_key(folder, WRITER, "unnamed/7", lambda _: NAMES, whole=True, damage=[]) if len(t)]
    assert table.column("step").to_pylist() == [1]


def test_each_seq_is_read_once_if_segment_and_journals_overlap(folder: RunFolder) -> None:
    files = {index: journal(500, 500 * index) for index in range(4)}
    for index, data in files.items():
        place(folder, index, data)
    assert seal_writer(folder, WRITER, NAMES, points_min=0) == 2000
    for index, data in files.items():  # as a crash between the seal's rename and its deletes leaves it
        place(folder, index, data)
    place(folder, 4, journal(10, 2000))
    assert seqs(folder) == list(range(2010))
    for key, start in (("a", 0), ("b", 1)):
        tables = read_key(folder, WRITER, key, lambda _: NAMES, whole=True, damage=[])
        assert [step for table in tables for step in table.column("step").to_pylist()] == list(range(start, 2010, 2))
    assert count_points(folder, WRITER, whole=True, damage=[]) == 2010
    assert seal_writer(folder, WRITER, NAMES, points_min=0) == 10
    assert seqs(folder) == list(range(2010))
    assert list(folder.points.iterdir()) == []


def test_if_the_segment_is_damaged_the_remaining_journals_are_read(folder: RunFolder) -> None:
    data = journal(100)
    place(folder, 0, data)
    seal_writer(folder, WRITER, NAMES, points_min=0)
    place(folder, 0, data)
    [segment] = folder.segments.iterdir()
    segment.write_bytes(segment.read_bytes()[:-1])
    damage: list[CorruptionError] = []
    assert seqs(folder, damage=damage) == list(range(100))
    assert damage[0].path == str(segment)
