"""Repairing a store from a copy: less is wrong afterwards, and nothing that could be read is gone."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from mltrack.disk.codec import HEADER_SIZE, RECORD_SIZE
from mltrack.entities import Experiment
from mltrack.errors import NotFoundError, UsageError
from mltrack.recording import current_store, fluent
from mltrack.recording.starting import create_run
from mltrack.storage.check.check import check_store
from mltrack.storage.check.repair import DAMAGED_FOLDER, Repairs, remove_leftovers, restore_from
from mltrack.storage.runs.imported import RunImport
from mltrack.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with one run that has params, points and a file; its copy is the folder ``copy``."""
    current_store.set_store(tmp_path / ".mltrack")
    with fluent.start_run(run_name="r") as run:
        run.log_params({f"p{number}": "x" * 40 for number in range(20)})
        run.log_series("loss", list(range(200_000)))  # enough to be sealed
        run.log_text("precious", "model/weights.txt")
    shutil.copytree(tmp_path / ".mltrack", tmp_path / "copy")
    return Store.open(tmp_path / ".mltrack")


def repaired(store: Store, source: Path) -> Repairs:
    return restore_from(store.layout, check_store(store.path), source, stamp="now")


def only_file(store: Store, pattern: str) -> Path:
    (found,) = store.path.glob(f"runs/*/{pattern}")
    return found


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("pattern", ["events/*.jsonl", "segments/*.parquet", "artifacts/model/weights.txt"])
@pytest.mark.parametrize("harm", ["damaged", "missing"])
def test_a_file_that_is_damaged_or_missing_comes_from_the_copy(
    store: Store, tmp_path: Path, pattern: str, harm: str
) -> None:
    path = only_file(store, pattern)
    before = path.read_bytes()
    flip(path, len(before) // 2) if harm == "damaged" else path.unlink()
    harmed = path.read_bytes() if path.exists() else None
    done = repaired(store, tmp_path / "copy")
    name = str(path.relative_to(store.path))
    assert (done.restored, done.not_restored) == ([name], {})
    assert path.read_bytes() == before
    assert check_store(store.path).sound
    kept = store.path / DAMAGED_FOLDER / "now" / name
    assert (kept.read_bytes() if kept.exists() else None) == harmed


@pytest.mark.parametrize("number", [0, 1])
def test_a_bit_that_flipped_in_any_journal_of_a_writer_comes_from_the_copy(
    store: Store, tmp_path: Path, number: int
) -> None:
    with fluent.start_run(run_name="two") as run:
        for step in range(3_000):  # more than the first journal holds, and too few to be sealed
            run.log_metric("loss", step, step)
    shutil.copytree(run.folder.path, tmp_path / "copy" / "runs" / run.run_id)
    (path,) = run.folder.points.glob(f"*.{number}.points")
    before = path.read_bytes()
    flip(path, HEADER_SIZE + RECORD_SIZE * 40 + 8)
    assert not check_store(store.path).sound
    assert str(path.relative_to(store.path)) in repaired(store, tmp_path / "copy").restored
    assert path.read_bytes() == before
    assert check_store(store.path).sound


def test_an_older_copy_does_not_replace_lines_that_it_does_not_have(store: Store, tmp_path: Path) -> None:
    path = only_file(store, "events/*.jsonl")
    theirs = tmp_path / "copy" / path.relative_to(store.path)
    lines = theirs.read_bytes().splitlines(keepends=True)
    theirs.write_bytes(b"".join(lines[:-2]))
    flip(path, len(lines[0]) + 20)
    harmed = path.read_bytes()
    done = repaired(store, tmp_path / "copy")
    assert done.restored == []
    assert "the copy's file does not have all lines that can be read here" in done.not_restored.values()
    assert path.read_bytes() == harmed


def test_a_copy_that_is_damaged_too_is_not_taken(store: Store, tmp_path: Path) -> None:
    path = only_file(store, "artifacts/model/weights.txt")
    flip(path, 1)
    flip(tmp_path / "copy" / path.relative_to(store.path), 2)
    harmed = path.read_bytes()
    done = repaired(store, tmp_path / "copy")
    assert done.restored == []
    assert "as much would be wrong" in next(iter(done.not_restored.values()))
    assert path.read_bytes() == harmed


def test_a_copy_with_fewer_points_is_not_taken_though_nothing_is_wrong_with_it(store: Store, tmp_path: Path) -> None:
    with fluent.start_run(run_name="killed") as run:
        for step in range(100):
            run.log_metric("loss", step, step)
    (events,), (path,) = run.folder.events.iterdir(), run.folder.points.iterdir()
    events.write_bytes(b"".join(events.read_bytes().splitlines(keepends=True)[:-2]))  # how it ended
    theirs = tmp_path / "copy" / "runs" / run.run_id
    shutil.copytree(run.folder.path, theirs)
    with (theirs / "points" / path.name).open("r+b") as file:
        file.seek(HEADER_SIZE + RECORD_SIZE * 50)
        file.write(bytes(RECORD_SIZE * 50))
    flip(path, HEADER_SIZE + RECORD_SIZE * 90 - 1)  # a commit mark
    harmed = path.read_bytes()
    assert (check_store(store.path).errors, check_store(tmp_path / "copy").errors) == (1, 0)
    assert "less could be read" in next(iter(repaired(store, tmp_path / "copy").not_restored.values()))
    assert path.read_bytes() == harmed


def test_a_link_in_the_copy_is_not_followed(store: Store, tmp_path: Path) -> None:
    path = only_file(store, "artifacts/model/weights.txt")
    theirs = tmp_path / "copy" / path.relative_to(store.path)
    os.replace(theirs, tmp_path / "elsewhere")
    theirs.symlink_to(tmp_path / "elsewhere")
    path.unlink()
    assert next(iter(repaired(store, tmp_path / "copy").not_restored.values())) == "the copy does not have it"


def test_a_live_run_is_left_alone(store: Store, tmp_path: Path) -> None:
    path = only_file(store, "artifacts/model/weights.txt")
    flip(path, 1)
    with fluent.start_run(run_id=store.run("r").run_id):
        fluent.log_metric("loss", 1)
        done = repaired(store, tmp_path / "copy")
    assert "a process records into the run" in next(iter(done.not_restored.values()))


def test_a_source_that_is_no_copy_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no store at"):
        repaired(store, tmp_path / "nothing")
    with pytest.raises(UsageError, match="the store itself"):
        repaired(store, store.path)


def test_old_leftovers_are_removed_and_new_ones_are_not(store: Store) -> None:
    now = 2_000_000_000.0
    old, new, empty = store.path / ".a.tmp", store.path / ".b.tmp", store.path / "runs" / ("0" * 32)
    (empty / "events").mkdir(parents=True)
    for path in (old, new):
        path.write_text("x")
    for path in (old, empty):
        os.utime(path, (1, 1))
    os.utime(new, (now, now))
    report = check_store(store.path, now=lambda: now + 1e6)
    assert sorted(remove_leftovers(store.layout, report, now)) == [".a.tmp", f"runs/{'0' * 32}"]
    assert new.exists() and not old.exists() and not empty.exists()
    assert store.run("r").params["p3"] == "x" * 40


def age(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (1, 1))


def test_a_fork_that_is_being_given_its_points_is_not_removed(store: Store) -> None:
    fork = store.layout.run("f" * 32)
    points = RunImport(store.layout, fork.run_id, "run:" + "0" * 32)
    points.log_rows(["loss"], np.zeros(1, np.int64), np.ones(1), np.ones(1, np.int64), np.ones(1, np.int64))
    age(fork.path)
    os.utime(next(fork.points.iterdir()))
    report = check_store(store.path)
    assert remove_leftovers(store.layout, report, time.time()) == []
    points.close(whole=True)
    age(fork.path)
    assert remove_leftovers(store.layout, report, time.time()) == [f"runs/{fork.run_id}"]


def test_a_run_that_began_after_the_check_is_not_removed(store: Store) -> None:
    folder = store.layout.run("f" * 32)
    folder.events.mkdir(parents=True)
    report = check_store(store.path)
    with create_run(store.layout, Experiment("0", "Default"), {}, run_id=folder.run_id):
        age(folder.path)
        assert remove_leftovers(store.layout, report, time.time()) == []
    assert store.run(folder.run_id).info.status == "FINISHED"
