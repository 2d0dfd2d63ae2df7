"""A run that was pulled from a server and whose own writers come from another store has each point once."""

from __future__ import annotations

import contextlib
import math
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import mltrack
from mltrack.disk.filesystem import LOCAL
from mltrack.errors import NotFoundError
from mltrack.storage.check.check import check_store
from mltrack.storage.runs.stand_ins import replace_stand_ins
from mltrack.store import Store
from mltrack_sync import Remote, push
from mltrack_sync.engine.pull import pull
from mltrack_sync.engine.verify import verify
from mltrack_sync.stores.copying import CopyOptions
from tests.support.fake_mlflow import FakeMlflow
from tests.support.filesystems import CountingFileSystem, Stopped
from tests.support.recording import run_python
from tests.support.store_copies import copy

ONE_THREAD = CopyOptions(workers=1)
LAB = Remote("lab", "http://lab.invalid")


def record(steps: range) -> str:
    with mltrack.start_run(tags={"team": "red"}) as run:
        mltrack.log_param("lr", 0.1)
        for step in steps:
            mltrack.log_metric("m", math.sin(step), step=step)
        mltrack.log_metric("odd", math.inf, step=1)
        mltrack.log_metric("odd", math.nan, step=2)
        mltrack.log_text("words", "notes.txt")
        return run.run_id


def pushed(store: Store) -> tuple[FakeMlflow, str]:
    """A server with a run of 200 points, to which somebody added a point, a metric and a tag."""
    fake, run_id = FakeMlflow(), record(range(200))
    assert push(store, LAB, http=fake).complete
    (remote,) = fake.runs.values()
    remote.points += [("m", 1000, 5, 0.5), ("theirs", 0, 6, 1.5)]
    remote.tags["review"] = "good"
    return fake, run_id


def points(store: Store, run_id: str) -> Counter[tuple[str, int, int, str]]:
    """The points as a server keeps them, which drops what is less than a millisecond, and how often each is there."""
    table = store.run(run_id).metrics()
    table = table.set_column(2, "time", table.column("time").cast("int64"))
    columns = [table.column(name).to_pylist() for name in ("metric", "step", "time", "value")]
    limit = 1.7976931348623157e308
    rows = zip(*columns, strict=True)
    return Counter((k, s, t // 1_000_000, repr(max(-limit, min(limit, v)))) for k, s, t, v in rows)


def assert_each_point_once(store: Store, run_id: str, fake: FakeMlflow) -> None:
    found = points(store, run_id)
    assert max(found.values()) == 1
    assert len(found) == 204
    run = store.run(run_id)
    assert (run.summaries["m"].count, run.summaries["odd"].count, run.summaries["theirs"].count) == (201, 2, 1)
    assert (run.params, run.tags["team"], run.tags["review"]) == ({"lr": "0.1"}, "red", "good")
    assert [file.path for file in run.artifacts] == ["notes.txt"]
    assert [record.run_id for record in store.search_runs(filter_string="metrics.theirs = 1.5")] == [run_id]
    assert store.sql("SELECT count(*) AS n FROM metrics").column("n").to_pylist() == [204]
    assert check_store(store.path).findings == []
    again = pull(store, LAB, http=fake)
    assert (again.points, again.artifacts) == (0, 0)
    assert push(store, LAB, http=fake).complete
    (remote,) = fake.runs.values()
    assert len(remote.points) == len(set(map(repr, remote.points))) == 204
    assert verify(store, LAB, http=fake).differences == ()


def bring_own_files(store: Store, other: Store, run_id: str) -> None:
    """Copy the run's own files by hand, so that nothing replaces stand-ins."""
    for path in sorted(store.layout.run(run_id).path.rglob("*")):
        place = other.layout.run(run_id).path / path.relative_to(store.layout.run(run_id).path)
        if path.is_file() and not place.exists():
            place.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, place)


def test_the_runs_own_writers_come_after_the_pull(store: Store, tmp_path: Path) -> None:
    fake, run_id = pushed(store)
    other = Store.create(tmp_path / "other")
    assert pull(other, LAB, http=fake).points == 204
    assert len(other.search_runs()) == 1
    copy(store, other)
    assert_each_point_once(other, run_id, fake)
    copy(store, other)
    assert_each_point_once(other, run_id, fake)


@pytest.mark.slow
@pytest.mark.parametrize("pulled_here", [True, False])
def test_readers_see_each_point_once_at_every_step_of_the_copy(store: Store, tmp_path: Path, pulled_here: bool) -> None:
    fake, run_id = pushed(store)
    other = Store.create(tmp_path / "other")
    pull(other, LAB, http=fake)
    source, target = (store, other) if pulled_here else (other, store)
    seen = set[int]()

    def look(step: int) -> None:
        found = points(target, run_id)
        assert max(found.values()) == 1, step
        seen.add(len(found))
        counted = target.sql("SELECT count(*) AS n FROM metrics").column("n").to_pylist()
        assert seen.issuperset(counted), step  # the catalog may be a step behind

    copy(source, target, ONE_THREAD, fs=CountingFileSystem(look))
    assert seen == ({204} if pulled_here else {202, 204})
    assert_each_point_once(target, run_id, fake)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, 80, 4))
def test_after_a_kill_of_the_copy_readers_see_each_point_once(store: Store, tmp_path: Path, number: int) -> None:
    fake, run_id = pushed(store)
    other = Store.create(tmp_path / "other")
    pull(other, LAB, http=fake)

    def stop(step: int) -> None:
        if step >= number:
            raise Stopped

    with contextlib.suppress(Stopped):
        copy(store, other, ONE_THREAD, fs=CountingFileSystem(stop))
    found = points(Store.open(other.path), run_id)
    assert (max(found.values()), len(found)) == (1, 204)
    assert check_store(other.path).sound
    copy(store, other, ONE_THREAD)
    assert_each_point_once(Store.open(other.path), run_id, fake)


def test_the_runs_own_writers_came_before_the_pull(store: Store, tmp_path: Path) -> None:
    fake, run_id = pushed(store)
    other = Store.create(tmp_path / "other")
    copy(store, other)
    assert pull(other, LAB, http=fake).points == 2
    assert_each_point_once(other, run_id, fake)


def test_the_pulled_run_is_copied_to_the_store_that_recorded_it(store: Store, tmp_path: Path) -> None:
    fake, run_id = pushed(store)
    other = Store.create(tmp_path / "other")
    pull(other, LAB, http=fake)
    copy(other, store)
    assert_each_point_once(store, run_id, fake)
    copy(other, store)
    assert_each_point_once(store, run_id, fake)


def test_what_another_store_pulled_is_not_sent_back_by_the_store_that_gets_it(store: Store, tmp_path: Path) -> None:
    fake, run_id = pushed(store)
    other = Store.create(tmp_path / "other")
    pull(other, LAB, http=fake)
    copy(other, store)
    assert push(store, LAB, http=fake).complete
    (remote,) = fake.runs.values()
    assert len(remote.points) == 204
    assert_each_point_once(store, run_id, fake)


def test_a_stand_in_stays_until_the_runs_own_points_come(store: Store, tmp_path: Path) -> None:
    fake, run_id = pushed(store)
    other = Store.create(tmp_path / "other")
    pull(other, LAB, http=fake)
    assert replace_stand_ins(other.layout, run_id) == 0
    assert other.run(run_id).summaries["m"].count == 201
    assert replace_stand_ins(other.layout, "f" * 32) == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, 40, 3))
def test_a_kill_while_it_is_replaced_is_mended_by_the_next_copy(store: Store, tmp_path: Path, number: int) -> None:
    fake, run_id = pushed(store)
    other = Store.create(tmp_path / "other")
    pull(other, LAB, http=fake)
    bring_own_files(store, other, run_id)

    def stop(step: int) -> None:
        if step >= number:
            raise Stopped

    with contextlib.suppress(Stopped):
        replace_stand_ins(other.layout, run_id, fs=CountingFileSystem(stop))
    replace_stand_ins(other.layout, run_id, fs=LOCAL)
    assert_each_point_once(Store.open(other.path), run_id, fake)


SHOWN_TWICE = "202 points of a pull from a server came again with the run's own and show twice"

KILLED = """
import os, signal, sys
from pathlib import Path
from mltrack.disk.layout import Layout
from mltrack.storage.runs.stand_ins import replace_stand_ins
from tests.support.filesystems import CountingFileSystem

def stop(step):
    if step >= int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

replace_stand_ins(Layout.open(Path(sys.argv[1])), sys.argv[2], fs=CountingFileSystem(stop))
print("done")
"""


@pytest.mark.slow
def test_after_a_kill_at_any_step_the_store_is_sound_before_anything_mends_it(store: Store, tmp_path: Path) -> None:
    fake, run_id = pushed(store)
    before = Store.create(tmp_path / "before")
    pull(before, LAB, http=fake)
    bring_own_files(store, before, run_id)
    assert [finding.what for finding in check_store(before.path).findings] == [SHOWN_TWICE]
    kills = 0
    for number in range(1, 100):
        shutil.copytree(before.path, tmp_path / f"killed {number}")
        other = Store.open(tmp_path / f"killed {number}")
        command = [sys.executable, "-c", KILLED, str(other.path), run_id, str(number)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        errors = [found.what for found in check_store(other.path).findings if found.severity == "error"]
        assert errors in ([], [SHOWN_TWICE]), (number, errors)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        kills += 1
        replace_stand_ins(other.layout, run_id)
        assert check_store(other.path).findings == []
        assert Store.open(other.path).run(run_id).summaries["m"].count == 201
    assert kills > 10
    assert_each_point_once(Store.open(other.path), run_id, fake)


@pytest.mark.parametrize("others", [0, 4])  # with others, small runs are copied together
def test_a_copy_of_a_run_that_has_both_shows_each_point_once_at_every_step(
    store: Store, tmp_path: Path, others: int
) -> None:
    fake, run_id = pushed(store)
    both = Store.create(tmp_path / "both")
    pull(both, LAB, http=fake)
    bring_own_files(store, both, run_id)
    mltrack.set_store(both.path)
    for _ in range(others):
        mltrack.start_run().end()
    mltrack.set_store(None)
    target = Store.create(tmp_path / "target")

    def look(step: int) -> None:
        with contextlib.suppress(NotFoundError):
            assert max(points(target, run_id).values(), default=1) == 1, step

    copy(both, target, ONE_THREAD, fs=CountingFileSystem(look))
    found = points(target, run_id)
    assert (max(found.values()), len(found)) == (1, 204)


@pytest.mark.parametrize("number", [10, 20, 30])
def test_a_copy_from_where_a_stand_in_is_being_replaced_shows_each_point_once(
    store: Store, tmp_path: Path, number: int
) -> None:
    fake, run_id = pushed(store)
    other, target = Store.create(tmp_path / "other"), Store.create(tmp_path / "target")
    pull(other, LAB, http=fake)

    def stop(step: int) -> None:
        if step >= number:
            raise Stopped

    with contextlib.suppress(Stopped):
        copy(store, other, ONE_THREAD, fs=CountingFileSystem(stop))
    copy(other, target)
    found = points(target, run_id)
    assert (max(found.values()), len(found)) == (1, 204)
    copy(store, other)
    copy(other, target)
    found = points(target, run_id)
    assert (max(found.values()), len(found)) == (1, 204)


def test_a_fork_that_is_made_before_the_runs_own_points_come_keeps_its_history(store: Store, tmp_path: Path) -> None:
    fake, run_id = pushed(store)
    other = Store.create(tmp_path / "other")
    pull(other, LAB, http=fake)
    mltrack.set_store(other.path)
    with mltrack.fork_run(run_id, 99) as fork:
        mltrack.log_metric("m", 7.0)
    mltrack.set_store(None)
    before = points(other, fork.run_id)
    assert (len(before), other.run(fork.run_id).summaries["m"].count) == (104, 101)
    copy(store, other)
    assert points(other, fork.run_id) == before
    assert check_store(other.path).findings == []
    found = points(other, run_id)
    assert (max(found.values()), len(found)) == (1, 204)


REPAIR = """
import runpy, sys

sys.argv[1:] = ["--store", sys.argv[1], "repair"]
runpy.run_module("mltrack", run_name="__main__")
"""


def test_check_reports_a_run_that_was_merged_by_hand_and_repair_takes_its_double_points_out(
    store: Store, tmp_path: Path
) -> None:
    fake, run_id = pushed(store)
    other = Store.create(tmp_path / "other")
    pull(other, LAB, http=fake)
    assert check_store(other.path).findings == []
    shutil.copytree(store.layout.run(run_id).path, other.layout.run(run_id).path, dirs_exist_ok=True)
    assert max(points(other, run_id).values()) == 2
    (finding,) = check_store(other.path).findings
    assert (finding.severity, finding.run_id, finding.advice) == ("error", run_id, "run: mltrack repair")
    assert "202 points" in finding.what
    said = run_python(REPAIR, other.path)
    assert "took out 202 points that showed twice" in said
    found = points(other, run_id)
    assert (max(found.values()), len(found)) == (1, 204)
    assert check_store(other.path).findings == []


FORKING = """
import os, signal, sys
import mltrack
import mltrack.storage.runs.imported
import mltrack.store

root, run_id = sys.argv[1:]
mltrack.set_store(root)


def die_at(step):
    left = step

    def hook(event, args):
        nonlocal left
        if event in ("open", "os.mkdir", "os.rename", "os.remove") and str(args[0]).startswith(root):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


step, status = 0, -1
while status:
    step += 1
    child = os.fork()
    if not child:
        die_at(step)
        mltrack.fork_run(run_id, 99).end()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
print(step)
"""


@pytest.mark.slow
def test_a_fork_that_is_killed_at_any_step_has_all_of_its_history_or_does_not_exist(
    store: Store, tmp_path: Path
) -> None:
    fake, run_id = pushed(store)
    other = Store.create(tmp_path / "other")
    pull(other, LAB, http=fake)
    steps = int(run_python(FORKING, other.path, run_id))
    forks = [info.run_id for info in other.search_runs() if info.run_id != run_id]
    assert 1 < len(forks) < steps
    whole = points(other, forks[0])
    assert len(whole) == 103
    for fork in forks:
        assert points(other, fork) == whole
    findings = check_store(other.path).findings
    assert findings != []
    assert {finding.severity for finding in findings} == {"note"}
    assert all(finding.removable for finding in findings)
