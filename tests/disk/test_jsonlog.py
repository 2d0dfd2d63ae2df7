"""The append-only line file: torn tails, bad lines, failed and interrupted appends, power loss."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mltrack.disk.codec import encode_line
from mltrack.disk.jsonlog import BAD_LINES_MAX, JsonLog, read_log
from tests.support.filesystems import CountingFileSystem, LossyFileSystem, failing, failing_from

LINES = [{"n": 0, "text": "plain"}, {"n": 1, "text": "ümlaut \u2028 \n"}, {"n": 2, "text": "x" * 50}]


def write_lines(path: Path) -> bytes:
    path.write_bytes(b"".join(map(encode_line, LINES)))
    return path.read_bytes()


def test_a_missing_file_is_an_empty_one(tmp_path: Path) -> None:
    assert read_log(tmp_path / "none.jsonl") == ([], 0, [])


def test_a_torn_tail_is_ignored_and_the_next_append_starts_a_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    data = write_lines(path)
    for end in range(len(data)):
        path.write_bytes(data[:end])
        whole = data[:end].count(b"\n")
        assert read_log(path).lines == LINES[:whole]
        log = JsonLog(path, records=None)
        log.append([{"n": "after"}])
        log.close()
        read = read_log(path)
        assert read.lines == [*LINES[:whole], {"n": "after"}]
        assert not read.damage


def test_a_bad_line_is_reported_with_path_and_offset_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    data = write_lines(path)
    starts = [0, data.index(b"\n") + 1, data.index(b"\n", data.index(b"\n") + 1) + 1]
    for at in range(len(data) - 1):
        if data[at : at + 1] == b"\n":
            continue
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :])
        read = read_log(path)
        line = sum(start <= at for start in starts) - 1
        # a flip can make a line break, which makes two bad lines of one
        assert read.lines == LINES[:line] + LINES[line + 1 :]
        assert read.damage[0].offset == starts[line]
        assert read.damage[0].path == str(path)
        assert str(path) in str(read.damage[0])


def test_reading_continues_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = JsonLog(path, records=None, create=True)
    at, seen = 0, []
    for line in LINES:
        log.append([line])
        lines, at, _ = read_log(path, at)
        seen += lines
    log.close()
    assert seen == LINES


def test_create_insists_on_a_new_file(tmp_path: Path) -> None:
    JsonLog(tmp_path / "log.jsonl", records=None, create=True).close()
    with pytest.raises(FileExistsError):
        JsonLog(tmp_path / "log.jsonl", records=None, create=True)


def test_a_log_that_was_closed_has_no_number_that_another_file_may_get(tmp_path: Path) -> None:
    log = JsonLog(tmp_path / "log.jsonl", records=None)
    log.close()
    log.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        log.append([{"n": 0}])
    assert log.fd == -1


def test_a_failed_append_keeps_whole_lines_and_reports_how_many(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = JsonLog(path, records=None, fs=failing(2), create=True)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        log.append(LINES)  # half of the bytes go in: the first line is whole
    assert log.count == len(read_log(path).lines) == 1
    log.append(LINES[1:])
    assert read_log(path).lines == LINES
    assert log.count == 3
    log.close()


def test_a_line_that_readers_may_have_seen_is_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = JsonLog(path, records=None, fs=failing_from(2), create=True)  # the cut after it fails as well
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        log.append(LINES)
    first = read_log(path)
    assert first.lines == LINES[:1]
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        log.append(LINES[1:])
    assert read_log(path).lines == LINES[:1]
    log.close()


def test_an_interrupt_during_an_append_leaves_the_log_consistent_with_its_file(tmp_path: Path) -> None:
    def interrupt(step: int) -> None:
        if step == 2:
            raise KeyboardInterrupt

    path = tmp_path / "log.jsonl"
    log = JsonLog(path, records=None, fs=CountingFileSystem(interrupt), create=True)
    with pytest.raises(KeyboardInterrupt):
        log.append(LINES)
    assert log.count == len(read_log(path).lines)
    log.append(LINES[log.count :])
    assert read_log(path).lines == LINES
    log.close()


def test_power_loss_takes_only_what_was_not_synced(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    fs = LossyFileSystem(folder)
    log = JsonLog(folder / "log.jsonl", records=None, fs=fs, create=True)
    log.append(LINES[:2])
    log.sync()
    fs.sync_folder(folder)
    log.append(LINES[2:])
    log.close()
    fs.lose_power()
    assert read_log(folder / "log.jsonl").lines == LINES[:2]


def test_a_file_of_nothing_but_bad_lines_is_abandoned_with_one_report_about_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(encode_line({"a": 1}) + b"\n" * 3_000_000)
    found = read_log(path)
    assert [found.lines, found.end] == [[{"a": 1}], path.stat().st_size]
    assert len(found.damage) == BAD_LINES_MAX + 1
    assert "what follows is not read" in str(found.damage[-1])
