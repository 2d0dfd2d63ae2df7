"""A run that is recorded while it is copied: each copy is valid, shows as running elsewhere, and is continued."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mltrack.disk.elsewhere import marker_path
from mltrack.errors import RunStateError
from mltrack.recording import current_store, fluent
from mltrack.storage.check.check import check_store
from mltrack.storage.runs.edit import purge_run
from mltrack.storage.runs.sealing import seal_dead_writers
from mltrack.store import Store
from tests.support.recording import start_python
from tests.support.store_copies import assert_same_runs, copy

RECORDER = """
import sys, mltrack
mltrack.set_store(sys.argv[1])
run = mltrack.start_run(run_name="long")
run.log_param("lr", 1)
for step in range(20_000):
    run.log_metric("loss", step / 3, step)
print(run.run_id, flush=True)
sys.stdin.readline()
for step in range(20_000, 40_000):
    run.log_metric("late", step / 3, step)
run.log_text("late", "late.txt")
print("more", flush=True)
sys.stdin.readline()
run.end()
"""


def findings(store: Store) -> list[str]:
    """What is wrong with a store."""
    return [str(finding) for finding in check_store(store.path).findings]


def test_a_live_run_shows_as_running_elsewhere_until_a_copy_sees_its_end(tmp_path: Path) -> None:
    here, there = Store.create(tmp_path / "a"), Store.create(tmp_path / "b")
    process = start_python(RECORDER, here.path)
    assert process.stdin is not None and process.stdout is not None
    run_id = process.stdout.readline().strip()
    assert copy(here, there).problems == []
    run = there.run(run_id)
    assert (run.state.info().status, run.state.live, run.head().points) == ("RUNNING", True, 20_000)
    assert run.state.elsewhere is not None
    assert run.state.elsewhere.store_id == here.store_id
    assert seal_dead_writers(run.folder, run.state) == 0
    with pytest.raises(RunStateError):
        purge_run(there.layout, run_id)
    assert findings(there) == []
    assert [found.info.status for found in there.search_runs()] == ["RUNNING"]

    print(file=process.stdin, flush=True)
    assert process.stdout.readline() == "more\n"
    assert copy(here, there).problems == []
    assert there.run(run_id).head().points == 40_000
    assert findings(there) == []

    process.communicate("\n")
    assert copy(here, there).problems == []
    assert not marker_path(there.layout.run(run_id).path, run.writers()[0].writer).exists()
    assert [found.info.status for found in there.search_runs()] == ["FINISHED"]
    assert_same_runs(here, there)
    assert copy(here, there).unchanged == 1


def test_a_killed_run_shows_as_crashed_in_the_next_copy(tmp_path: Path) -> None:
    here, there, third = (Store.create(tmp_path / name) for name in "abc")
    process = start_python(RECORDER, here.path)
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    copy(here, there)
    copy(there, third)
    assert third.run(run_id).state.elsewhere == there.run(run_id).state.elsewhere
    process.kill()
    process.communicate()
    copy(here, there)
    copy(there, third)
    for store in (here, there, third):
        assert [(found.info.status, found.info.crashed) for found in store.search_runs()] == [("FAILED", True)]
    assert_same_runs(here, there)
    assert_same_runs(here, third)


def test_every_copy_of_a_live_run_is_valid(tmp_path: Path) -> None:
    here, there = Store.create(tmp_path / "a"), Store.create(tmp_path / "b")
    started, enough = threading.Event(), threading.Event()

    def record() -> None:
        with fluent.start_run(run_name="busy") as run:
            step = 0
            while not enough.is_set() or step < 60_000:
                for _ in range(500):
                    run.log_metric(f"m{step % 7}", step / 3, step)
                    step += 1
                run.log_text(f"at {step}", "state.txt")
                run.log_text(f"at {step}", f"steps/{step}.txt")
                run.set_tag("at", step)
                started.set()

    current_store.set_store(here.path)
    recorder = threading.Thread(target=record)
    recorder.start()
    try:
        started.wait(60)
        for _ in range(8):
            report = copy(here, there)
            assert all("state.txt" in problem for problem in report.problems)
            assert findings(there) == []
            run_id = there.run_ids()[0]
            assert there.run(run_id).state.info().status == "RUNNING"
    finally:
        enough.set()
        recorder.join()
        current_store.set_store(None)
    assert copy(here, there).problems == []
    assert_same_runs(here, there)
