"""The check: every kind of damage is found and told with its place; nothing sound is complained of."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mltrack.disk.codec import HEADER_SIZE, RECORD_SIZE, encode_line
from mltrack.disk.layout import RunFolder
from mltrack.errors import NotFoundError, StoreVersionError
from mltrack.recording import current_store, fluent
from mltrack.storage.check.check import check_store
from mltrack.storage.check.report import CheckReport, Finding
from mltrack.store import Store

SEALED, SHORT = 5_000, 100


def record(root: Path) -> None:
    """A run that is sealed, and one whose points stay in a journal."""
    current_store.set_store(root)
    for name, points in (("sealed", SEALED), ("short", SHORT)):
        with fluent.start_run(run_name=name) as run:
            run.log_param("lr", 0.1)
            for step in range(points):
                run.log_metric("loss" if step % 2 else "accuracy", step / points, step)
            run.log_text("a text of some length", "notes/text.txt")
    current_store.set_store(None)


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("golden") / "store"
    record(root)
    return root


@pytest.fixture
def store(golden: Path, tmp_path: Path) -> Store:
    shutil.copytree(golden, tmp_path / "store")
    return Store.open(tmp_path / "store")


def only_error(report: CheckReport) -> Finding:
    errors = [finding for finding in report.findings if finding.severity == "error"]
    assert len(errors) == 1, report.findings
    return errors[0]


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x40
    path.write_bytes(data)


def one_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_a_sound_store_has_no_findings_and_is_read_whole(store: Store) -> None:
    report = check_store(store.path)
    assert report.findings == []
    assert report.sound
    assert (report.runs, report.points, report.artifacts) == (2, SEALED + SHORT, 2)
    data = [p for p in store.layout.runs.rglob("*") if p.is_file() and p.suffix != ".lock"]
    assert report.files == len(data) + 1 + len(list(store.layout.workspace.glob("*.jsonl")))


def test_a_live_run_is_sound_while_it_is_written(store: Store) -> None:
    current_store.set_store(store.path)
    run = fluent.start_run(run_name="live")
    for step in range(3_000):
        run.log_metric("loss", 1.0, step)
    report = check_store(store.path, [run.run_id])
    assert report.findings == []
    assert report.points == 3_000
    run.end()


def test_a_crashed_run_is_sound(store: Store) -> None:
    code = f"""
        import os
        from mltrack.recording import current_store
        from mltrack.recording import fluent
        current_store.set_store({str(store.path)!r})
        run = fluent.start_run(run_name="dead")
        for step in range(3000):
            run.log_metric("loss", 1.0, step)
        os._exit(1)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], timeout=60)
    report = check_store(store.path)
    assert report.findings == []
    assert report.points == SEALED + SHORT + 3_000


def test_a_torn_last_line_is_ignored(store: Store) -> None:
    path = one_file(store.run("short").folder.events)
    with open(path, "ab") as file:
        file.write(encode_line({"seq": 99, "time": 1, "type": "tag"})[:-5])
    assert check_store(store.path).findings == []


def test_a_bad_event_line_is_reported_with_its_offset(store: Store) -> None:
    path = one_file(store.run("short").folder.events)
    offset = path.read_bytes().index(b'{"crc":"', path.read_bytes().index(b'"type":"start"'))
    flip(path, offset + 30)
    found = only_error(check_store(store.path))
    assert (found.path, found.offset) == (str(path.relative_to(store.path)), offset)
    assert found.run_id == store.run("short").run_id


def test_missing_event_lines_are_reported(store: Store) -> None:
    path = one_file(store.run("short").folder.events)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], *lines[5:]]))
    assert "event 5 is in the place of event 3" in only_error(check_store(store.path)).what


def test_every_flipped_byte_of_a_segment_is_found(store: Store) -> None:
    path = one_file(store.run("sealed").folder.segments)
    sound = path.read_bytes()
    for offset in range(0, len(sound), len(sound) // 50):
        flip(path, offset)
        found = only_error(check_store(store.path))
        assert found.path == str(path.relative_to(store.path))
        path.write_bytes(sound)


def test_a_segment_whose_points_do_not_match_its_name_is_found(store: Store) -> None:
    path = one_file(store.run("sealed").folder.segments)
    writer = path.name.split(".")[0]
    path.rename(path.with_name(f"{writer}.0-{SEALED}.parquet"))
    assert f"its name says {SEALED + 1:,}" in only_error(check_store(store.path)).what


def test_a_point_without_its_commit_mark_is_reported_with_its_offset(store: Store) -> None:
    path = one_file(store.run("short").folder.points)
    offset = HEADER_SIZE + RECORD_SIZE * 40
    flip(path, offset + RECORD_SIZE - 1)
    found = only_error(check_store(store.path))
    assert (found.path, found.offset) == (str(path.relative_to(store.path)), offset)


@pytest.mark.slow
@pytest.mark.parametrize("byte", range(RECORD_SIZE - 4))  # the last four are the commit mark
def test_any_flipped_bit_of_a_point_in_a_closed_journal_is_reported(store: Store, byte: int) -> None:
    path = one_file(store.run("short").folder.points)
    flip(path, HEADER_SIZE + RECORD_SIZE * 40 + byte)
    errors = [finding for finding in check_store(store.path).findings if finding.severity == "error"]
    assert "their checksum differs" in errors[0].what
    assert errors[0].path == str(path.relative_to(store.path))


def test_points_missing_at_the_end_of_a_closed_journal_are_reported(store: Store) -> None:
    path = one_file(store.run("short").folder.points)
    os.truncate(path, HEADER_SIZE + RECORD_SIZE * (SHORT - 7))
    assert f"points {SHORT - 7} to {SHORT - 1} " in only_error(check_store(store.path)).what


def test_a_damaged_points_header_is_found(store: Store) -> None:
    path = one_file(store.run("short").folder.points)
    flip(path, 20)
    assert only_error(check_store(store.path)).offset == 0
    path.write_bytes(bytes(HEADER_SIZE) + path.read_bytes()[HEADER_SIZE:])
    assert any("no header" in finding.what for finding in check_store(store.path).findings)


@pytest.mark.parametrize("which", ["points", "segments"])
def test_a_missing_points_file_is_reported(which: str, store: Store) -> None:
    run = store.run("short" if which == "points" else "sealed")
    one_file(getattr(run.folder, which)).unlink()
    assert "points" in only_error(check_store(store.path)).what


def test_a_missing_events_file_is_reported(store: Store) -> None:
    one_file(store.run("short").folder.events).unlink()
    assert not check_store(store.path).sound


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_text("shorter"), "bytes"),
        (lambda path: flip(path, 3), "SHA-256"),
        (lambda path: (path.unlink(), path.mkdir()), "can't be read"),
    ],
)
def test_a_changed_artifact_is_found(damage: Callable[[Path], object], told: str, store: Store) -> None:
    path = store.run("short").folder.artifacts / "notes" / "text.txt"
    damage(path)
    found = only_error(check_store(store.path))
    assert found.path == str(path.relative_to(store.path))
    assert told in found.what


def test_leftovers_are_noted_and_are_not_errors(store: Store) -> None:
    folder: RunFolder = store.run("short").folder
    leftovers = [folder.segments / ".x.1.parquet.tmp", store.path / ".store.json.1.tmp", store.layout.runs / ".y.tmp"]
    fresh = store.path / ".fresh.tmp"
    for path in [*leftovers, fresh]:
        path.write_bytes(b"x")
    for path in leftovers:
        os.utime(path, (0, 0))
    (folder.artifacts / "stray.txt").write_text("x")
    report = check_store(store.path)
    assert report.sound
    told = {finding.path for finding in report.findings}
    assert told == {str(path.relative_to(store.path)) for path in [*leftovers, folder.artifacts / "stray.txt"]}


def test_the_folder_of_a_run_that_never_started_is_noted(store: Store) -> None:
    store.layout.run("a" * 32).events.mkdir(parents=True)
    report = check_store(store.path)
    assert report.sound
    assert "has no run" in report.findings[0].what


def test_a_damaged_workspace_ledger_and_list_of_remotes_are_found(store: Store) -> None:
    store.workspace.create("x")
    flip(store.layout.workspace / "experiments.jsonl", 30)
    ledger = store.layout.remote("lab") / "ledger.jsonl"
    ledger.parent.mkdir(parents=True)
    ledger.write_bytes(b"not a line\n" + encode_line({"type": "x"}))
    (store.path / "remotes.toml").write_text("[remotes")
    found = {finding.path for finding in check_store(store.path).findings}
    assert found == {"workspace/experiments.jsonl", "remotes/lab/ledger.jsonl", "remotes.toml"}


def test_an_unreadable_folder_is_named_and_the_rest_is_checked(store: Store) -> None:
    folder = store.run("short").folder.events
    line = [sys.executable, "-m", "mltrack", "--store", str(store.path), "check", "--json"]
    if os.geteuid() == 0:  # root reads everything, unless it gave that up
        line = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *line]
    folder.chmod(0)
    done = subprocess.run(line, capture_output=True, text=True)
    folder.chmod(0o755)
    report = json.loads(done.stdout)
    assert [finding["severity"] for finding in report["findings"]] == ["error"]
    assert str(folder.relative_to(store.path)) in report["findings"][0]["path"]
    assert report["runs"] == 2


def test_a_file_in_place_of_a_folder_is_named_and_the_rest_is_checked(store: Store) -> None:
    folder = store.run("short").folder.events
    shutil.rmtree(folder)
    folder.write_text("x")
    report = check_store(store.path)
    assert not report.sound
    assert report.points >= SEALED


def test_a_store_that_cannot_be_checked_is_an_error(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        check_store(tmp_path / "none")
    with pytest.raises(NotFoundError):
        check_store(store.path, ["0" * 32])
    (store.path / "store.json").write_bytes(encode_line({"format": 99, "store_id": "0" * 32}))
    with pytest.raises(StoreVersionError):
        check_store(store.path)


def test_progress_is_reported_run_by_run(store: Store) -> None:
    told: list[tuple[int, int]] = []
    check_store(store.path, advanced=lambda done, of: told.append((done, of)))
    assert told == [(0, 2), (1, 2), (2, 2)]


@settings(max_examples=40)
@given(data=st.data())
def test_the_check_never_fails_whatever_byte_of_whatever_file_is_changed(golden: Path, data: st.DataObject) -> None:
    files = sorted(path for path in golden.rglob("*") if path.is_file() and path.stat().st_size)
    path = data.draw(st.sampled_from(files))
    sound = path.read_bytes()
    offset = data.draw(st.integers(0, len(sound) - 1))
    cut = data.draw(st.booleans())
    try:
        path.write_bytes(
            sound[:offset] if cut else sound[:offset] + bytes([sound[offset] ^ 0x55]) + sound[offset + 1 :]
        )
        check_store(golden)
    except StoreVersionError:
        assert path.name == "store.json"
    finally:
        path.write_bytes(sound)
