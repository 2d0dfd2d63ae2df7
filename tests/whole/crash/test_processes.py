"""Many processes, forks and endings: each writes files of its own, and the run is whole."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

import mltrack
from mltrack.store import Store
from tests.support.recording import all_points, points_by_writer, run_python, start_python, stored

RANK = """
import sys, mltrack
mltrack.set_store(sys.argv[1])
run = mltrack.start_run(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for step in range(20_000):
    mltrack.log_metric(f"rank {sys.argv[3]}", step, step)
    mltrack.log_metric("shared", step, step)
mltrack.log_param("same", "value")
mltrack.set_tag(f"rank {sys.argv[3]}", "done")
mltrack.end_run()
"""


@pytest.mark.slow
def test_four_processes_record_one_run_at_once(tmp_path: Path) -> None:
    mltrack.set_store(tmp_path / "s")
    run = mltrack.start_run()
    ranks = [start_python(RANK, tmp_path / "s", run.run_id, rank) for rank in range(4)]
    for rank in ranks:
        assert rank.stdout is not None
        assert rank.stdout.readline() == "ready\n"
    for rank in ranks:
        assert rank.stdin is not None
        rank.stdin.write("\n")
        rank.stdin.flush()
    run.log_metric("main", 1.0)
    for rank in ranks:
        _, err = rank.communicate(timeout=100)
        assert rank.returncode == 0, err
    assert mltrack.get_run(run.run_id).info.status == "RUNNING"  # this process has it open still
    run.end()
    found = mltrack.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert {summary.key: summary.count for summary in found.summaries.values()} == {
        "main": 1,
        "shared": 80_000,
        **{f"rank {rank}": 20_000 for rank in range(4)},
    }
    assert found.params == {"same": "value"}
    for points in points_by_writer(found).values():
        keys = {key for key, _, _, _ in points}
        for key in keys:
            assert [step for name, step, _, _ in points if name == key] == list(range(len(points) // len(keys)))


def child_work(count: int) -> None:
    for step in range(count):
        mltrack.log_metric("child", step, step)
    mltrack.set_tag("from child", "1")


def start_work(store: str, run_id: str, count: int) -> None:
    """What a spawned child does: it shares nothing with its parent, so it goes on with the run by id."""
    mltrack.set_store(store)
    with mltrack.start_run(run_id):
        child_work(count)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_children_of_multiprocessing_record_into_the_run_of_their_parent(tmp_path: Path) -> None:
    mltrack.set_store(tmp_path / "s")
    run = mltrack.start_run()
    run.log_metric("parent", 0.0, 0)
    forked = multiprocessing.get_context("fork").Process(target=child_work, args=(5_000,))
    spawned = multiprocessing.get_context("spawn").Process(
        target=start_work, args=(str(tmp_path / "s"), run.run_id, 5_000)
    )
    for child in (forked, spawned):
        child.start()
    for step in range(1, 1_000):
        run.log_metric("parent", 0.0, step)
    for child in (forked, spawned):
        child.join(60)
        assert child.exitcode == 0
    assert mltrack.get_run(run.run_id).info.status == "RUNNING"
    run.log_metric("parent", 0.0, 1_000)
    run.end()
    found = mltrack.get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert found.summaries["parent"].count == 1_001
    assert found.summaries["child"].count == 10_000
    assert found.tags["from child"] == "1"
    writers = {writer.role: writer for writer in found.writers()}
    assert set(writers) == {"create", "fork", "resume"}
    assert all(writer.ended and not writer.alive for writer in writers.values())  # the children closed theirs
    assert os.listdir(found.folder.points) == [f"{writers['create'].writer}.0.points"]  # and sealed them


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("ending", ["_exit", "exit", "error", "end_run"])
def test_the_end_of_a_forked_child_does_not_end_the_run(tmp_path: Path, ending: str) -> None:
    code = """
import os, sys, mltrack
mltrack.set_store(sys.argv[1])
run = mltrack.start_run()
mltrack.log_metric("a", 1.0, 0)
pid = os.fork()
if not pid:
    mltrack.log_metric("a", 2.0, 1)
    mltrack.set_tag("child", "1")
    match sys.argv[2]:
        case "_exit": os._exit(3)
        case "exit": sys.exit(3)
        case "error": raise RuntimeError("child")
        case "end_run": mltrack.end_run(); os._exit(3)
os.waitpid(pid, 0)
mltrack.log_metric("a", 3.0, 2)
status = mltrack.get_run(run.run_id).info.status
mltrack.end_run()
print(run.run_id, status)
"""
    run_id, status = run_python(code, tmp_path / "s", ending).split()
    found = stored(tmp_path / "s", run_id)
    assert status == "RUNNING"
    assert (found.info.status, found.info.crashed) == ("FINISHED", False)
    assert sorted(step for points in points_by_writer(found).values() for _, step, _, _ in points) == [0, 1, 2]
    assert found.tags["child"] == "1"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_children_forked_while_threads_log_lose_nothing(tmp_path: Path) -> None:
    code = """
import os, sys, threading, mltrack
mltrack.set_store(sys.argv[1])
run = mltrack.start_run()
stop = threading.Event()
counts = [0, 0]
def work(n):
    while not stop.is_set():
        run.log_metric(f"t{n}", counts[n], counts[n])
        run.log_metric(f"t{n} {counts[n] // 100}", 1.0)
        counts[n] += 1
threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
for thread in threads: thread.start()
for n in range(20):
    pid = os.fork()
    if not pid:
        mltrack.log_metric("child", n, n)
        mltrack.log_metric(f"child {n}", n)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
for thread in threads: thread.join()
mltrack.end_run()
print(run.run_id, *counts)
"""
    run_id, *counts = run_python(code, tmp_path / "s").split()
    found = stored(tmp_path / "s", run_id)
    assert [found.summaries[f"t{n}"].count for n in range(2)] == [int(count) for count in counts]
    assert found.summaries["child"].count == 20
    assert found.info.status == "FINISHED"


ENDINGS = {
    "pass": ("FINISHED", False, 0),
    "sys.exit(0)": ("FINISHED", False, 0),
    "raise RuntimeError('x')": ("FAILED", False, 1),
    "raise KeyboardInterrupt": ("KILLED", False, None),
    "mltrack.end_run('KILLED')": ("KILLED", False, 0),
    "os._exit(0)": ("FAILED", True, 0),
    "os.kill(os.getpid(), 9)": ("FAILED", True, -9),
    "os.kill(os.getpid(), 15)": ("FAILED", True, -15),
}


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDINGS)
def test_the_end_of_the_program_ends_its_run(tmp_path: Path, ending: str) -> None:
    status, crashed, code = ENDINGS[ending]
    script = f"""
import os, sys, mltrack
mltrack.set_store(sys.argv[1])
run = mltrack.start_run()
for step in range(5000):
    mltrack.log_metric("a", step, step)
{ending}
"""
    run_python(script, tmp_path / "s", status=code)
    [found] = Store.open(tmp_path / "s").runs()
    assert (found.info.status, found.info.crashed, found.info.live) == (status, crashed, False)
    assert found.info.end_time is not None
    assert [step for _, step, _, _ in all_points(found)] == list(range(5000))
    assert len(os.listdir(found.folder.segments)) == (not crashed)


def test_a_process_that_exits_during_a_threads_log_call_loses_no_completed_call(tmp_path: Path) -> None:
    code = """
import sys, threading, time, mltrack
mltrack.set_store(sys.argv[1])
run = mltrack.start_run()
count = 0
def work():
    global count
    while True:
        mltrack.log_metric("a", count, count)
        count += 1
threading.Thread(target=work, daemon=True).start()
while count < 20_000: time.sleep(0.01)
print(count)
"""
    count = int(run_python(code, tmp_path / "s"))
    [found] = Store.open(tmp_path / "s").runs()
    assert found.info.status == "FINISHED"
    points = all_points(found)
    assert len(points) >= count
    assert [step for _, step, _, _ in points] == list(range(len(points)))
