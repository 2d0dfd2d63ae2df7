"""A run that is recorded while it is copied: each copy is valid, shows as running elsewhere, and is continued."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mltrack.cli.formatting import run_time, state
from mltrack.disk.elsewhere import marker_path
from mltrack.errors import RunStateError
from mltrack.recording import current_store, fluent
from mltrack.storage.check.check import check_store
from mltrack.storage.runs.edit import purge_run
from mltrack.storage.runs.sealing import seal_dead_writers
from mltrack.store import Store
from mltrack_sync import Remotes, pull
from mltrack_sync.status import status_of
from tests.support.command_line import Cli
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


@pytest.mark.slow
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
    started, enough, more = threading.Event(), threading.Event(), threading.Semaphore(1)

    def record() -> None:
        with fluent.start_run(run_name="busy") as run:
            step = 0
            while not enough.is_set():
                more.acquire()  # one portion for each copy, else there is more to copy the longer a copy takes
                for _ in range(5):
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
            more.release()
            report = copy(here, there)
            assert all("state.txt" in problem for problem in report.problems)
            assert findings(there) == []
            run_id = there.run_ids()[0]
            assert there.run(run_id).state.info().status == "RUNNING"
    finally:
        enough.set()
        more.release()
        recorder.join()
        current_store.set_store(None)
    assert copy(here, there).problems == []
    assert_same_runs(here, there)


def test_a_copy_of_a_run_whose_process_died_says_as_of_when_it_is_known(tmp_path: Path, cli: Cli) -> None:
    here, there = Store.create(tmp_path / "a"), Store.create(tmp_path / "b")
    process = start_python(RECORDER, here.path)
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    remote = Remotes(there).add("cluster", str(here.path))
    pull(there, remote)
    process.kill()
    process.communicate()
    (listed,) = cli("--store", str(there.path), "ls", "--json").json
    assert (listed["status"], listed["elsewhere"]["store_id"]) == ("RUNNING", here.store_id)
    elsewhere = there.run(run_id).state.elsewhere
    assert elsewhere is not None
    later = elsewhere.time + 7 * 3600 * 10**9
    status = status_of(there, remote, clock=lambda: later)
    assert (status.running, status.running_as_of) == (1, elsewhere.time)
    assert "1 run being recorded there, as of" in cli("--store", str(there.path), "status").out
    info = there.run(run_id).info
    assert str(state(info, elsewhere, later // 10**6)) == f"RUNNING on {elsewhere.host}, as of 7 h ago"
    assert run_time(info, elsewhere, later // 10**6) == run_time(info, elsewhere, elsewhere.time // 10**6)
    pull(there, remote)
    assert status_of(there, remote).running == 0
    assert there.run(run_id).info.crashed


def age_mark(store: Store, run_id: str) -> tuple[str, int]:
    """The store that a running copy says it is from, and when that was copied."""
    elsewhere = store.run(run_id).state.elsewhere
    assert elsewhere is not None
    return elsewhere.store_id, elsewhere.time


@pytest.mark.slow
def test_copies_of_copies_say_how_old_they_are_and_an_older_one_takes_nothing_back(tmp_path: Path) -> None:
    first, second, third = (Store.create(tmp_path / name) for name in "abc")
    process = start_python(RECORDER, first.path)
    assert process.stdin is not None and process.stdout is not None
    run_id = process.stdout.readline().strip()
    copy(first, second)
    copy(second, third)
    assert age_mark(third, run_id) == age_mark(second, run_id)
    assert age_mark(third, run_id)[0] == first.store_id
    old = age_mark(second, run_id)

    print(file=process.stdin, flush=True)
    assert process.stdout.readline() == "more\n"
    copy(first, third)  # straight: newer than what the second store has
    assert age_mark(third, run_id)[1] > old[1]
    newer = age_mark(third, run_id)
    copy(second, third)
    assert (age_mark(third, run_id), third.run(run_id).head().points) == (newer, 40_000)
    copy(third, second)  # round the other way
    assert (age_mark(second, run_id), second.run(run_id).head().points) == (newer, 40_000)
    for there in (first, second, third):
        assert copy(second, first).problems == copy(third, first).problems == []
        assert findings(there) == []
    assert first.run(run_id).state.elsewhere is None  # it is being recorded here

    process.communicate("\n")
    copy(first, third)
    copy(second, third)  # which still believes that it runs
    assert third.run(run_id).state.info().status == "FINISHED"
    copy(third, second)
    copy(second, first)
    for store in (first, second, third):
        assert [found.info.status for found in store.search_runs()] == ["FINISHED"]
        assert store.run(run_id).head().points == 40_000
    assert_same_runs(first, second)
    assert_same_runs(first, third)
    assert [copy(*pair).bytes for pair in ((first, second), (second, third), (third, first))] == [0, 0, 0]


def test_a_run_that_three_stores_recorded_into_has_each_point_once_however_it_goes_round(tmp_path: Path) -> None:
    stores = [Store.create(tmp_path / name) for name in "abc"]
    current_store.set_store(stores[0].path)
    with fluent.start_run(run_name="shared") as run:
        run.log_metric("loss", -1.0, 0)
    run_id = run.run_id
    for _ in range(2):
        for here, there in ((0, 1), (1, 2), (2, 0), (2, 1), (0, 2)):
            copy(stores[here], stores[there])
            current_store.set_store(stores[there].path)
            with fluent.start_run(run_id=run_id) as run:
                for step in range(1200 if there == 2 else 10):
                    run.log_metric("loss", there, step)
                run.log_text(f"from {there}", f"notes {there}.txt")
    current_store.set_store(None)
    for here, there in ((0, 1), (1, 2), (2, 0), (0, 1)):
        assert copy(stores[here], stores[there]).problems == []
    values = stores[2].run(run_id).metrics("loss")["value"].to_pylist()
    assert [values.count(value) for value in (-1.0, 0.0, 1.0, 2.0)] == [1, 20, 40, 4800]
    assert_same_runs(stores[0], stores[1])
    assert_same_runs(stores[0], stores[2])
