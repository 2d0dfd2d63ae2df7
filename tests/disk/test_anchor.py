"""Stores that are moved or removed while a process records into them."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import mltrack
from mltrack.cli import main
from mltrack.disk.anchor import Anchor
from mltrack.errors import NotFoundError
from mltrack.recording import current_store, fluent
from mltrack.storage.check.check import check_store
from mltrack.store import Store


def test_a_folder_is_found_wherever_it_is_moved_on_its_disk(tmp_path: Path) -> None:
    root = tmp_path / "a" / "store"
    root.mkdir(parents=True)
    anchor = Anchor(root)
    assert anchor.current_path() == root
    (tmp_path / "a").rename(tmp_path / "b")
    assert anchor.current_path() == tmp_path / "b" / "store"
    (tmp_path / "a" / "store").mkdir(parents=True)  # another one in its place is not it
    assert anchor.current_path() == tmp_path / "b" / "store"
    shutil.rmtree(tmp_path / "b")
    assert anchor.current_path() is None


def test_a_folder_behind_a_link_is_found_when_the_link_is_turned_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    link = tmp_path / "link"
    link.symlink_to("one")
    anchor = Anchor(link)
    assert anchor.current_path() == link
    link.unlink()
    link.symlink_to("two")
    assert anchor.current_path() == tmp_path / "one"


def test_runs_of_one_store_share_an_open_folder_which_the_last_one_closes(tmp_path: Path) -> None:
    first = Anchor.of(tmp_path)
    assert first is not None and Anchor.of(tmp_path) is first
    before = len(os.listdir("/proc/self/fd"))
    del first
    assert len(os.listdir("/proc/self/fd")) == before - 1
    assert Anchor.of(tmp_path / "none") is None


def log_everything(run: mltrack.Run) -> None:
    for step in range(5000):  # more than the first file of points takes
        run.log_metric("loss", step, step)
    run.log_text("x", "a/t.txt")
    run.log_table({"a": [1]}, "t.json")
    run.log({"h": mltrack.Histogram(np.arange(5.0))})
    run.log_param("late", 1)
    run.set_tag("late", "yes")


def test_a_store_moved_before_anything_was_synced_is_synced_at_its_new_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root, moved = tmp_path / "a", tmp_path / "b"
    current_store.set_store(root)
    run = fluent.start_run()
    root.rename(moved)
    run.log_text("x", "t.txt")
    run.log({"h": mltrack.Histogram(np.arange(5.0))})
    run.log_series("s", np.arange(5.0))
    run.flush()
    run.end()
    assert [record.message for record in caplog.records] == [
        f"run {run.run_id}: its store was moved to {moved}; recording goes on there"
    ]
    assert Store.open(moved).run(run.run_id).info.status == "FINISHED"


@pytest.mark.parametrize("another", [False, True], ids=["moved", "and another made in its place"])
def test_recording_continues_where_a_store_was_moved_to_and_nothing_is_lost(
    another: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root, moved = tmp_path / "project" / ".mltrack", tmp_path / "project-2" / ".mltrack"
    current_store.set_store(root)
    run = fluent.start_run(run_name="long")
    run.log_metric("loss", -1.0, -1)
    (tmp_path / "project").rename(tmp_path / "project-2")
    if another:
        Store.create(root)
    log_everything(run)
    assert run.store_folder == moved
    run.end()
    assert [record.message for record in caplog.records] == [
        f"run {run.run_id}: its store was moved to {moved}; recording goes on there"
    ]
    stored = Store.open(moved).run("long")
    assert stored.info.status == "FINISHED"
    assert len(stored.metrics("loss")) == 5001
    assert {a.path for a in stored.artifacts} >= {"a/t.txt", "t.json"}
    assert all(stored.artifact_path(a.path).is_file() for a in stored.artifacts)
    assert (stored.params, stored.lost) == ({"late": "1"}, 0)
    assert check_store(moved).sound
    left = {path.name for path in root.rglob("*") if path.is_file()}
    assert left == ({".gitignore", "store.json"} if another else set())


def test_a_removed_store_is_reported_at_once_and_at_the_end_and_never_recreated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / ".mltrack"
    current_store.set_store(root)
    with fluent.start_run() as run:
        run.log_metric("loss", 1.0)
        shutil.rmtree(root)
        log_everything(run)
        said = [record.message for record in caplog.records]
        assert len(said) == 1 and "was removed, or moved to another disk" in said[0]
    said = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 2 and "nothing of it is left" in said[1]
    assert not root.exists()
    with fluent.start_run(), pytest.raises(NotFoundError, match="no run"):  # as ever: made where there is none
        Store.open(root).run(run.run_id)


def test_all_threads_find_a_moved_store_at_once(tmp_path: Path) -> None:
    current_store.set_store(tmp_path / "0")
    together = threading.Barrier(4)

    def look(run: mltrack.Run) -> Path:
        together.wait()
        return run.folder.path.parents[1]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with fluent.start_run() as run, ThreadPoolExecutor(4) as pool:
            for number in range(200):
                moved = (tmp_path / str(number)).rename(tmp_path / str(number + 1))
                assert set(pool.map(look, [run] * 4)) == {moved}
    finally:
        sys.setswitchinterval(interval)


def test_the_chosen_experiment_is_created_in_a_store_that_replaces_a_moved_one(tmp_path: Path) -> None:
    current_store.set_store(tmp_path / "s")
    current_store.set_experiment("spirals")
    (tmp_path / "s").rename(tmp_path / "old")
    with fluent.start_run() as run:
        pass
    assert Store.open(tmp_path / "s").run(run.run_id).info.experiment_name == "spirals"


def test_reading_a_store_that_is_gone_is_an_error_that_says_so(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s")
    shutil.rmtree(store.path)
    for ask in (store.search_runs, store.heads, lambda: store.sql("from runs")):
        with pytest.raises(NotFoundError, match="is gone"):
            ask()


def test_a_launched_program_may_move_the_store_of_its_run(tmp_path: Path) -> None:
    program = "mv .mltrack moved; echo printed; mkdir outputs; echo y > outputs/f.txt; exit 3"
    line = [sys.executable, "-m", "mltrack", "run", "--no-snapshot", "-n", "one", "--", "sh", "-c", program]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 3
    stored = Store.open(tmp_path / "moved").run("one")
    assert {a.path for a in stored.artifacts} == {"outputs/f.txt", "user_logs/std_log.txt"}
    assert check_store(tmp_path / "moved").sound
    assert not (tmp_path / ".mltrack").exists()


def test_a_launched_program_may_remove_the_store_of_its_run(tmp_path: Path) -> None:
    program = "rm -r .mltrack; echo printed; exit 3"
    line = [sys.executable, "-m", "mltrack", "run", "--no-snapshot", "-n", "one", "--", "sh", "-c", program]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "printed\n")
    assert "Traceback" not in done.stderr
    assert "is gone" in done.stderr
    assert not (tmp_path / ".mltrack").exists()
    assert main(["--store", str(tmp_path / ".mltrack"), "ls"]) == 4
