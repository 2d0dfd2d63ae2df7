"""The example on the format page is what the code reads and writes, byte for byte; so is the reader it shows."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import mltrack.journal.point_files as files
import mltrack.journal.points as journal
from mltrack.disk.codec import (
    FORMAT_VERSION,
    HEADER_SIZE,
    RECORD_SIZE,
    decode_header,
    decode_line,
    decode_records,
    encode_header,
    encode_line,
    record_bytes,
)
from mltrack.disk.layout import RunFolder
from mltrack.disk.segment import BLOCK_ROWS, OWN_GROUP_ROWS_MAX, OWN_GROUP_ROWS_MIN, ROW_GROUP_ROWS
from mltrack.storage.runs.stored_run import StoredRun
from tests.support import ROOT

PAGE = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")


def block(kind: str) -> str:
    found = re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return str(found[0])


def points() -> bytes:
    rows = [re.fullmatch(r"([0-9a-f]{8})  ((?:[0-9a-f]{2} +)+)\|.{16}\|", row) for row in block("hexdump").splitlines()]
    data = b""
    for row in rows:
        assert row is not None
        assert int(row[1], 16) == len(data)
        data += bytes.fromhex(row[2])
    return data


def test_the_lines_decode_and_encode_to_themselves() -> None:
    lines = block("events").encode().splitlines(keepends=True)
    fields = [decode_line(line[:-1]) for line in lines]
    assert [encode_line(line) for line in fields] == lines
    assert [line["seq"] for line in fields] == list(range(len(lines)))
    assert fields[2]["key"] == "loss"


def test_the_points_decode_and_encode_to_themselves() -> None:
    data = points()
    header = decode_header(data)
    assert header is not None
    records, slots = decode_records(data[HEADER_SIZE:])
    assert slots.tolist() == [0, 1, 2]
    assert records["step"].tolist() == [0, 1, -1]
    assert records["value"][[0, 2]].tolist() == [0.5, 0.25]
    assert math.isnan(records["value"][1])
    again = encode_header(header.writer, header.first_seq)
    for record in records:
        step, time, value, number, _ = record.tolist()
        again += record_bytes(step, time, value, number, len(again))
    assert again + bytes(RECORD_SIZE) == data


def test_the_example_is_a_run_that_mltrack_reads(tmp_path: Path) -> None:
    folder = place_example(tmp_path)
    run = StoredRun(folder)
    assert (run.info.run_name, run.info.crashed) == ("brisk-heron-417", True)
    assert run.tags == {"größe": "模型"}
    assert run.metrics("loss").column("step").to_pylist() == [0, 1, -1]
    assert not run.damage


def place_example(path: Path) -> RunFolder:
    folder = RunFolder(path / ("5f0c" * 8))
    for part in (folder.events, folder.points, folder.segments):
        part.mkdir(parents=True)
    (folder.events / "18bcfe568000a1b2.jsonl").write_bytes(block("events").encode())
    (folder.points / "18bcfe568000a1b2.0.points").write_bytes(points())
    return folder


def test_the_reader_on_the_page_reads_the_example(tmp_path: Path) -> None:
    folder = place_example(tmp_path)
    [events], [data] = folder.events.iterdir(), folder.points.iterdir()
    code = f"events, points = {str(events)!r}, {str(data)!r}\n" + block("python")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines() == [
        "loss 0 1700000000000000000 0.5",
        "loss 1 1700000000000001000 nan",
        "loss -1 1700000000000002000 0.25",
    ]


def test_the_limits_on_the_page_are_those_of_the_code() -> None:
    assert f"format version {FORMAT_VERSION}\n" in PAGE
    assert (files.POINTS_FILE_MIN_BYTES, files.POINTS_FILE_MAX_BYTES) == (64 << 10, 16 << 20)
    assert (files.POINTS_FILE_SCRAPS_BYTES, files.POINTS_FILE_GROWTH) == (4 << 10, 4)
    assert journal.SERIES_FILE_POINTS_MAX * RECORD_SIZE == 32 << 20
    words = " ".join(PAGE.split())
    assert f"fewer than {journal.SEAL_POINTS_MIN:,} points" in words
    assert f"{BLOCK_ROWS:,} consecutive seqs" in words
    assert f"row groups of {ROW_GROUP_ROWS:,} rows" in words
    assert f"at least {OWN_GROUP_ROWS_MIN:,} rows in the block" in words
    assert f"up to {OWN_GROUP_ROWS_MAX:,} rows" in words


def test_the_page_names_every_event_type_that_is_written() -> None:
    sources = Path(journal.__file__).parents[1]
    written = set()
    for path in (
        sources / name
        for name in (
            "recording/run.py",
            "recording/starting.py",
            "recording/rewinds.py",
            "storage/runs/rewinding.py",
            "journal/recorder.py",
            "storage/runs/edit.py",
            "storage/runs/state.py",
        )
    ):
        text = path.read_text(encoding="utf-8")
        written |= set(re.findall(r'"type": "(\w+)"', text))
    named = set(re.findall(r"^\| (\w+) \| .* \| .* \|$", PAGE, re.MULTILINE))
    assert written <= named
