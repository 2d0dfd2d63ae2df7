"""The runs that a process has open for writing: opened, kept, let go of, and shared by threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mltrack.errors import NotFoundError, RunStateError
from mltrack.mlflow_plugin import run_pool
from mltrack.mlflow_plugin.run_pool import RunPool
from mltrack.storage.runs.edit import purge_run, set_stage
from mltrack.store import Store

START = {"run_name": "one", "experiment_id": "0", "experiment_name": "Default", "start_time": 1}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / ".mltrack")


def roles(store: Store, run_id: str) -> list[str]:
    return [writer.role for writer in store.run(run_id).writers()]


def elsewhere(store: Store, *lines: str) -> str:
    """Run lines of Python in another process, with ``pool`` on the store; returns what it printed."""
    script = f"""
import os, signal
from mltrack.mlflow_plugin.run_pool import RunPool
from mltrack.store import Store
pool = RunPool(Store.open({str(store.path)!r}).layout)
start = {START!r}
tag = {{"type": "tag", "key": "a", "value": "other"}}
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script + "\n".join(lines)], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.stdout.strip()


def tag(value: str) -> dict[str, str]:
    return {"type": "tag", "key": "a", "value": value}


def test_one_writer_serves_many_calls(store: Store) -> None:
    pool = RunPool(store.layout)
    run_id = pool.create(START, tag("1"))
    pool.emit(run_id, tag("2"))
    pool.log(run_id, [("loss", 0.5, 1, 10), ("loss", 0.25, 2, 20)])
    pool.points(run_id).log("loss", 0.125, 3, 30)
    run = store.run(run_id)
    assert (run.tags["a"], run.data.metrics, run.info.status) == ("2", {"loss": 0.125}, "RUNNING")
    assert roles(store, run_id) == ["create"]
    pool.close_all()


def test_a_store_has_one_pool_in_a_process_whatever_path_is_used(store: Store, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(store.path)
    assert run_pool.of(store) is run_pool.of(Store.open(tmp_path / "link"))


def test_a_released_run_stays_running_and_can_be_continued(store: Store) -> None:
    pool = RunPool(store.layout)
    run_id = pool.create(START)
    pool.close(run_id)
    pool.close(run_id)
    assert store.run(run_id).info.status == "RUNNING"
    assert not store.run(run_id).info.live
    pool.emit(run_id, tag("1"))
    assert store.run(run_id).info.live
    pool.close_all()
    assert (store.run(run_id).info.status, store.run(run_id).info.crashed) == ("RUNNING", False)
    assert roles(store, run_id) == ["create", "resume"]


def test_a_run_of_another_process_is_only_edited_so_a_crash_shows(store: Store) -> None:
    run_id = elsewhere(
        store,
        "run_id = pool.create(start)",
        "print(run_id, flush=True)",
        "pool.log(run_id, [('a', 1.0, 1, 1)])",
        "other = RunPool(Store.open(pool._layout.root).layout)",
        "other.emit(run_id, tag)",
        "die()",
    )
    assert sorted(roles(store, run_id)) == ["create", "edit"]
    run = store.run(run_id)
    assert (run.info.status, run.info.crashed) == ("FAILED", True)
    assert (run.tags["a"], run.data.metrics) == ("other", {"a": 1.0})


def test_an_edit_does_not_hide_that_a_run_crashed(store: Store) -> None:
    run_id = elsewhere(store, "print(pool.create(start), flush=True)", "die()")
    pool = RunPool(store.layout)
    pool.emit(run_id, tag("1"))
    assert store.run(run_id).info.crashed
    pool.close_all()
    assert store.run(run_id).info.crashed
    assert roles(store, run_id) == ["create", "edit"]


def test_an_ended_run_is_edited_and_stays_ended(store: Store) -> None:
    pool = RunPool(store.layout)
    run_id = pool.create(START)
    pool.end(run_id, "FINISHED", 5_000_000)
    pool.log(run_id, [("late", 1.0, 0, 1)])
    pool.close_all()
    info = store.run(run_id).info
    assert (info.status, info.end_time, info.live) == ("FINISHED", 5, False)
    assert sorted(roles(store, run_id)) == ["create", "edit"]  # by age in ms, which may be the same


def test_a_process_that_resumes_an_ended_run_owns_it_until_it_exits(store: Store) -> None:
    pool = RunPool(store.layout)
    run_id = pool.create(START)
    pool.end(run_id, "FINISHED", 5_000_000)
    elsewhere(store, f"pool.resume({run_id!r}); pool.resume({run_id!r}); die()")
    assert roles(store, run_id) == ["create", "resume"]
    assert (store.run(run_id).info.status, store.run(run_id).info.crashed) == ("FAILED", True)
    pool.resume(run_id)
    assert store.run(run_id).info.status == "RUNNING"
    pool.close_all()
    assert (store.run(run_id).info.status, store.run(run_id).info.crashed) == ("RUNNING", False)


def test_two_processes_of_a_run_leave_it_running_in_whichever_order_they_release_it(store: Store) -> None:
    one, two = RunPool(store.layout), RunPool(store.layout)
    run_id = one.create(START)
    two.resume(run_id)
    one.close_all()
    assert store.run(run_id).info.live
    two.close_all()
    assert (store.run(run_id).info.status, store.run(run_id).info.crashed) == ("RUNNING", False)


def test_a_run_that_another_process_ended_stays_ended_when_this_one_releases_it(store: Store) -> None:
    one, two = RunPool(store.layout), RunPool(store.layout)
    run_id = one.create(START)
    two.end(run_id, "KILLED", 5_000_000)
    assert store.run(run_id).info.status == "KILLED"
    one.pulse()
    assert not store.run(run_id).state.live
    one.close_all()
    assert store.run(run_id).info.status == "KILLED"


def test_a_deletion_by_another_is_seen_at_the_next_call(store: Store) -> None:
    pool = RunPool(store.layout)
    run_id = pool.create(START)
    pool.log(run_id, [("a", 1.0, 0, 1)])
    set_stage(store.layout, run_id, "deleted")
    with pytest.raises(RunStateError, match="active"):
        pool.log(run_id, [("a", 2.0, 0, 1)])
    with pytest.raises(RunStateError, match="active"):
        pool.emit(run_id, tag("1"))
    pool.emit(run_id, tag("2"), deleted_too=True)
    assert store.run(run_id).tags["a"] == "2"
    assert not store.run(run_id).info.live
    set_stage(store.layout, run_id, "active")
    pool.log(run_id, [("a", 3.0, 1, 1)])
    assert store.run(run_id).data.metrics == {"a": 3.0}
    pool.close_all()


def test_deleted_runs_are_released_at_the_next_pulse(store: Store) -> None:
    pool = RunPool(store.layout)
    run_id, kept = pool.create(START), pool.create(START)
    set_stage(store.layout, run_id, "deleted")
    pool.pulse()
    assert not store.run(run_id).info.live
    assert store.run(kept).info.live
    purge_run(store.layout, run_id)
    pool.pulse()
    pool.close_all()


def test_a_run_that_was_just_deleted_is_released_before_the_next_pulse(store: Store) -> None:
    pool = RunPool(store.layout)
    run_id, kept = pool.create(START), pool.create(START)
    pool.sync()
    set_stage(store.layout, run_id, "deleted")
    pool.sync()
    assert not store.run(run_id).info.live
    assert store.run(kept).info.live
    purge_run(store.layout, run_id)
    pool.sync()
    pool.close_all()


def test_a_missing_run_is_not_found(store: Store) -> None:
    pool = RunPool(store.layout)
    run_id = pool.create(START)
    os.rename(store.layout.run(run_id).path, store.path / "elsewhere")
    with pytest.raises(NotFoundError, match=run_id):
        pool.log(run_id, [("a", 1.0, 0, 1)])
    with pytest.raises(NotFoundError, match=run_id):
        pool.emit(run_id, tag("1"))
    with pytest.raises(NotFoundError):
        pool.active("../etc")
    pool.close_all()


def test_no_more_runs_are_kept_open_than_allowed(store: Store) -> None:
    pool = RunPool(store.layout, runs_max=2)
    ids = [pool.create(START) for _ in range(3)]
    assert [store.run(run_id).info.live for run_id in ids] == [False, True, True]
    pool.log(ids[0], [("a", 1.0, 0, 1)])
    assert [store.run(run_id).info.live for run_id in ids] == [True, False, True]
    assert {store.run(run_id).info.status for run_id in ids} == {"RUNNING"}
    pool.close_all()


def test_nothing_is_lost_when_runs_are_released_while_threads_use_them(store: Store) -> None:
    pool = RunPool(store.layout, runs_max=1)
    ids = [pool.create(START) for _ in range(2)]

    def work(number: int) -> None:
        for n in range(30):
            pool.log(ids[n % 2], [(f"m{number}", float(n), n, n), (f"k{number}", float(n), n, n)])
            pool.emit(ids[n % 2], {"type": "tag", "key": f"t{number}.{n}", "value": "x"})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pool.close_all()
    for at, run_id in enumerate(ids):
        run = store.run(run_id)
        for number in range(3):
            for key in (f"m{number}", f"k{number}"):
                assert sorted(set(run.metrics(key).column("step").to_pylist())) == list(range(at, 30, 2))
            assert sum(name.startswith(f"t{number}.") for name in run.tags) == 15


def test_a_forked_child_uses_its_own_writer(store: Store) -> None:
    run_id = elsewhere(
        store,
        "from mltrack.mlflow_plugin import run_pool",
        "pool = run_pool.of(Store.open(pool._layout.root))",
        "run_id = pool.create(start)",
        "pool.log(run_id, [('a', 1.0, 1, 1)])",
        "child = os.fork()",
        "pool.log(run_id, [('a', 3.0 if child else 2.0, 2, 2)])",
        "if not child: pool.emit(run_id, tag); os._exit(0)",
        "assert os.waitpid(child, 0)[1] == 0",
        "print(run_id)",
    )
    run = store.run(run_id)
    assert sorted(run.metrics("a").column("value").to_pylist()) == [1.0, 2.0, 3.0]
    assert (run.tags["a"], run.info.status, run.info.live) == ("other", "RUNNING", False)
    assert sorted(roles(store, run_id)) == ["create", "fork"]


def test_a_process_that_ends_leaves_its_runs_running(store: Store) -> None:
    run_id = elsewhere(
        store,
        "from mltrack.mlflow_plugin import run_pool",
        "print(run_pool.of(Store.open(pool._layout.root)).create(start))",
    )
    info = store.run(run_id).info
    assert (info.status, info.crashed, info.live) == ("RUNNING", False, False)
