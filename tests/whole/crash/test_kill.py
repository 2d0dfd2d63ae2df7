"""``kill -9`` at random moments: every call that had returned is there, once, in order, and the run can go on."""

from __future__ import annotations

import mmap
import os
import random
import signal
import struct
import time
from pathlib import Path

import pytest

import mltrack
from mltrack.disk.layout import Layout
from mltrack.storage.runs.sealing import seal_dead_writers
from mltrack.storage.runs.stored_run import StoredRun
from tests.support.recording import Point, bits, points_by_writer, start_python, stored

# reports through shared memory how many rounds had returned, so that the report is no slower than the calls
RECORD = """
import ctypes, mmap, sys, mltrack
store, run_id, shared, rounds = sys.argv[1], sys.argv[2] or None, sys.argv[3], int(sys.argv[4])
file = open(shared, "r+b")
report = ctypes.c_int64.from_buffer(mmap.mmap(file.fileno(), 8))  # one store; struct would clear it first
mltrack.set_store(store)
run = mltrack.start_run(run_id)
print(run.run_id, flush=True)
for n in range(rounds):
    run.log_metric("a", n, n, timestamp=n)
    if n % 7 == 0:
        run.log({"b": n, "c": -n}, n)
    if n % 301 == 0:
        run.set_tag(f"{len(sys.argv[2])} {n}", n)
        run.log_metric(f"new {n}", n, n)
    if n % 20_001 == 20_000:
        run.log_series("s", [1.0] * 5000)
    report.value = n + 1
print("ending", flush=True)
run.end()
"""


def record_and_kill(store: Path, run_id: str, chance: random.Random, mode: str) -> tuple[str, int]:
    """Kill a recording process at a random moment; returns the run's id and how many rounds had returned."""
    shared = store.parent / f"report {chance.random()}"
    shared.write_bytes(bytes(8))
    process = start_python(RECORD, store, run_id, shared, 10**9, env={"MLTRACK_JOURNAL": mode})
    try:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        assert name, process.communicate()
        time.sleep(chance.random() ** 2 * 0.3)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    process.communicate()
    with open(shared, "rb") as file:
        return name, struct.unpack("<q", mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)[:])[0]


def check(points: list[Point], tags: dict[str, str], returned: int, resumed: bool) -> None:
    by_key: dict[str, list[int]] = {}
    for key, step, time_ns, value in points:
        by_key.setdefault(key, []).append(step)
        if key == "a":
            assert (time_ns, value) == (step * 1_000_000, bits(step))
    done = len(by_key.get("a", []))
    assert returned <= done <= returned + 1
    assert by_key.get("a", []) == list(range(done))
    for key in ("b", "c"):
        found = by_key.get(key, [])
        assert found == list(range(0, 7 * len(found), 7))
        assert len(found) >= (returned + 6) // 7
    for n in range(0, returned, 301):
        assert by_key[f"new {n}"] == [n]
        assert tags[f"{32 if resumed else 0} {n}"] == str(n)
    assert len(by_key.get("s", [])) >= returned // 20_001 * 5000


def kill_again_and_again(store: Path, times: int, mode: str, seed: int) -> None:
    """One run, resumed after each kill; everything that each process said is looked for in what it wrote."""
    chance = random.Random(seed)
    run_id, known = "", dict[str, int]()
    for attempt in range(times):
        found, returned = record_and_kill(store, run_id, chance, mode)
        assert run_id in ("", found)
        resumed, run_id = bool(run_id), found
        run = stored(store, run_id)
        assert (run.info.status, run.info.crashed, run.info.live) == ("FAILED", True, False)
        by_writer = points_by_writer(run)
        new = [writer for writer in by_writer if writer not in known]
        assert len(new) <= 1
        check(by_writer[new[0]] if new else [], run.tags, returned, resumed)
        known |= {writer: len(points) for writer, points in by_writer.items()}
        assert {writer: len(points) for writer, points in by_writer.items()} == known
        if attempt % 3 == 2:  # a syncer or reader may seal what the dead left
            seal_dead_writers(run.folder, run.state)
            assert points_by_writer(StoredRun(run.folder)) == by_writer
    mltrack.set_store(store)
    with mltrack.start_run(run_id) as run_again:
        run_again.log_metric("after", 1.0)
    run = stored(store, run_id)
    assert (run.info.status, run.info.crashed) == ("FINISHED", False)
    assert run.summaries["after"].count == 1


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["mmap", "write"])
def test_every_call_that_returned_before_a_kill_is_kept(tmp_path: Path, mode: str) -> None:
    kill_again_and_again(tmp_path / "s", 5, mode, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("mode", ["mmap", "write"])
@pytest.mark.parametrize("seed", range(10))
def test_every_call_that_returned_before_any_of_many_kills_is_kept(tmp_path: Path, mode: str, seed: int) -> None:
    kill_again_and_again(tmp_path / "s", 20, mode, seed)


def kill_while_sealing(store: Path, times: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(times):
        shared = store.parent / "report"
        shared.write_bytes(bytes(8))
        process = start_python(RECORD, store, "", shared, 60_000)
        assert process.stdout is not None
        run_id = process.stdout.readline().strip()
        assert process.stdout.readline() == "ending\n", process.communicate()
        time.sleep(chance.random() * 0.25)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        folder = Layout.open(store).run(run_id)
        before = points_by_writer(StoredRun(folder))
        [points] = before.values()
        check(points, StoredRun(folder).tags, 60_000, False)
        run = StoredRun(folder)
        seal_dead_writers(run.folder, run.state)
        run = StoredRun(folder)
        assert points_by_writer(run) == before
        assert os.listdir(folder.points) == []
        assert len([name for name in os.listdir(folder.segments) if not name.startswith(".")]) == 1
        assert run.info.status in ("FINISHED", "FAILED")


@pytest.mark.slow
def test_a_kill_during_the_seal_loses_and_duplicates_nothing(tmp_path: Path) -> None:
    kill_while_sealing(tmp_path / "s", 4, seed=2)


@pytest.mark.soak
def test_many_kills_during_the_seal_lose_and_duplicate_nothing(tmp_path: Path) -> None:
    kill_while_sealing(tmp_path / "s", 60, seed=3)
