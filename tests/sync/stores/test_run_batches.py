"""Many small runs that a store does not have yet: moved together, each there whole or not at all, whatever happens."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from mltrack.disk.artifact_files import hash_file
from mltrack.disk.filesystem import FileSystem
from mltrack.errors import StoreError
from mltrack.recording import current_store, fluent
from mltrack.storage.check.check import check_store
from mltrack.store import Store
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.selection import Selection
from mltrack_sync.stores.complete_runs import check_complete
from mltrack_sync.stores.copying import CopyOptions, copy_units
from mltrack_sync.stores.local_source import LocalSource
from mltrack_sync.stores.local_target import LocalTarget
from mltrack_sync.stores.remote_store import RemoteSource, RemoteTarget
from mltrack_sync.stores.serving import Ends
from mltrack_sync.stores.transfer import Applied, CompleteRun, FileKind, SourceChangedError, TransferError
from tests.support.disks import Disk, loop_disk
from tests.support.filesystems import CountingFileSystem, Stopped, failing_from, stopping_at
from tests.support.memory_stores import far
from tests.support.power import Choose, Platter, RecordingFileSystem, at_random, everything, names_only, nothing
from tests.support.recording import start_python
from tests.support.store_copies import assert_same_runs, copy
from tests.support.written_runs import new_writer, write_run

COUNT = 5
ONE_THREAD = CopyOptions(workers=1)


def fill(store: Store, count: int = COUNT) -> None:
    """Small runs; every other one of the first few has an artifact."""
    current_store.set_store(store.path)
    for number in range(count):
        if number % 2 and number < 10:
            with fluent.start_run(run_name=f"run {number}") as run:
                run.log_metric("loss", number / 3, 0)
                run.log_text(f"words of {number}", "notes/text.txt")
        else:
            points = [(step, step / 3) for step in range(20)]
            write_run(store, name=f"run {number}", params={"n": str(number)}, metrics={"loss": points})
    current_store.set_store(None)


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Store, Store]:
    """One with runs, and an empty one."""
    here = Store.create(tmp_path / "a")
    fill(here)
    return here, Store.create(tmp_path / "b")


def incoming(store: Store) -> list[str]:
    """What lies where runs are before they appear."""
    folder = store.path / "copied" / "incoming"
    return sorted(name for name in os.listdir(folder) if name != "lock") if folder.is_dir() else []


def findings(root: Path) -> list[str]:
    """What is wrong with a store."""
    return [str(finding) for finding in check_store(root).findings if finding.severity == "error"]


def assert_each_is_whole(here: Store, there: Store) -> None:
    """Each run that there is has everything."""
    assert findings(there.path) == []
    for run_id in there.run_ids():
        run, same = there.run(run_id), here.run(run_id)
        assert run.state.info().status == same.state.info().status == "FINISHED"
        assert run.metrics().equals(same.metrics())
        assert [hash_file(run.artifact_path(one.path)) for one in run.artifacts] == [
            (one.size, one.sha256) for one in same.artifacts
        ]


# --- what arrives ---


def test_new_runs_appear_whole_and_nothing_is_left_where_they_were_written(stores: tuple[Store, Store]) -> None:
    here, there = stores
    report = copy(here, there)
    assert (len(report.units), report.problems) == (COUNT, [])
    assert report.bytes == sum(
        len(data) for run in LocalSource(here).complete_runs(units_of(here)) if run for data in run.contents.values()
    )
    assert_same_runs(here, there)
    assert incoming(there) == []
    assert copy(here, there).unchanged == COUNT


def units_of(store: Store) -> list[str]:
    return [f"runs/{run_id}" for run_id in store.run_ids()]


def test_what_is_noted_of_each_run_is_how_far_its_writers_go(stores: tuple[Store, Store]) -> None:
    here, there = stores
    for applied in copy(here, there).units:
        writers = here.run(applied.unit.removeprefix("runs/")).writers()
        assert applied.events == {one.writer: one.position.events for one in writers}
        assert applied.points == {one.writer: one.position.points for one in writers if one.position.points}


def test_a_few_lock_files_serve_all_units(stores: tuple[Store, Store]) -> None:
    here, there = stores
    fill(here, 60)
    copy(here, there)
    for run_id in here.run_ids():
        write_run(here, run_id=run_id, role="edit", tags={"late": "yes"})
    assert copy(here, there).problems == []
    assert_same_runs(here, there)
    assert 0 < len(list((there.path / "copied").glob("*.lock"))) <= 16


def test_a_run_that_changed_is_continued_and_new_ones_come_with_it(stores: tuple[Store, Store]) -> None:
    here, there = stores
    copy(here, there)
    write_run(here, run_id=here.run_ids()[0], role="edit", tags={"late": "yes"})
    fill(here)
    report = copy(here, there)
    assert (len(report.units), report.unchanged, report.problems) == (COUNT + 1, COUNT - 1, [])
    assert_same_runs(here, there)


def test_a_thin_copy_names_what_it_lacks_and_a_whole_one_brings_it(stores: tuple[Store, Store]) -> None:
    here, there = stores
    assert copy(here, there, CopyOptions(artifact_bytes_max=0)).problems == []
    with_files = [run_id for run_id in there.run_ids() if there.run(run_id).artifacts]
    assert len(with_files) == COUNT // 2
    for run_id in with_files:
        assert (there.path / "runs" / run_id / "absent.jsonl").exists()
    assert findings(there.path) == []
    assert copy(here, there).problems == []
    assert_same_runs(here, there)


def test_the_bytes_of_runs_in_a_batch_are_under_the_cap(stores: tuple[Store, Store]) -> None:
    from mltrack_sync.http.rate_limit import RateLimiter

    here, there = stores
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    pace = RateLimiter(1000, clock=lambda: now[0], sleep=sleep)
    report = copy(here, there, CopyOptions(pace=pace))
    assert report.bytes > 5000
    assert now[0] >= (report.bytes - 250) / 1000 * 0.99


@pytest.mark.slow
@pytest.mark.parametrize("batch_bytes", [1, 5_000, 1 << 20])
def test_runs_of_more_bytes_than_a_batch_takes_arrive_in_several(stores: tuple[Store, Store], batch_bytes: int) -> None:
    here, there = stores
    report = copy(here, there, CopyOptions(workers=1, batch_bytes=batch_bytes))
    assert report.problems == []
    assert sorted(applied.unit for applied in report.units if applied.unit.startswith("runs/")) == units_of(here)
    assert_each_is_whole(here, there)
    assert_same_runs(here, there)
    assert incoming(there) == []


def test_a_copy_that_is_to_stop_leaves_whole_runs(stores: tuple[Store, Store]) -> None:
    here, there = stores
    stop = threading.Event()
    fill(here, 300)
    seen: list[Applied] = []

    def applied(one: Applied) -> None:
        seen.append(one)
        stop.set()

    report = copy(here, there, CopyOptions(workers=1, batch_bytes=20_000, stop=stop, applied=applied))
    assert report.stopped
    assert 0 < len(there.run_ids()) < 300
    assert_each_is_whole(here, there)
    copy(here, there)
    assert_same_runs(here, there)


# --- what is not taken together ---


def test_a_file_that_is_not_what_its_event_says_is_named_and_the_other_runs_arrive(stores: tuple[Store, Store]) -> None:
    here, there = stores
    run_id = next(run_id for run_id in here.run_ids() if here.run(run_id).artifacts)
    path = here.run(run_id).artifact_path("notes/text.txt")
    path.write_bytes(b"?" * path.stat().st_size)
    report = copy(here, there)
    assert len(report.problems) == 1
    assert "notes/text.txt" in report.problems[0]
    assert set(here.run_ids()) - {run_id} <= set(there.run_ids())


def test_a_run_that_appears_meanwhile_is_compared_and_not_replaced(stores: tuple[Store, Store]) -> None:
    here, there = stores
    source, target = LocalSource(here), LocalTarget(there)
    units = units_of(here)
    assert target.lacking_runs(units) == set(units)

    def runs() -> Iterator[CompleteRun]:
        for run in source.complete_runs(units):
            assert run is not None
            yield run
        copy_units(source, LocalTarget(there), [one for one in source.units(Selection()) if one.unit == units[0]])

    first, *others = target.add_runs(runs())
    assert isinstance(first, TransferError)
    assert all(isinstance(one, Applied) for one in others)
    assert_same_runs(here, there)
    assert incoming(there) == []


def test_a_run_of_which_another_process_holds_the_lock_is_left_to_be_copied_by_itself(
    stores: tuple[Store, Store],
) -> None:
    from mltrack_sync.stores.unit_locks import UnitLocks

    here, there = stores
    units = units_of(here)
    target = LocalTarget(there)
    with UnitLocks(there.path, fs=FileSystem()).alone(units[2]):
        outcomes = target.add_runs(run for run in LocalSource(here).complete_runs(units) if run is not None)
    left = [unit for unit, outcome in zip(units, outcomes, strict=True) if not isinstance(outcome, Applied)]
    assert units[2] in left
    assert {f"runs/{run_id}" for run_id in there.run_ids()} == set(units) - set(left)


@pytest.mark.parametrize("change", ["log", "points", "artifact", "more", "less", "live", "path", "unit"])
def test_a_run_that_is_not_as_its_snapshot_says_is_refused(stores: tuple[Store, Store], change: str) -> None:
    from dataclasses import replace

    here, there = stores
    runs = [run for run in LocalSource(here).complete_runs(units_of(here)) if run is not None]
    run = next(run for run in runs if any(state.kind is FileKind.WHOLE for state in run.snapshot.files))
    check_complete(run)
    contents, snapshot = dict(run.contents), run.snapshot
    name = {"log": "events/", "points": "points/", "artifact": "artifacts/"}.get(change, "events/")
    path = next(path for path in contents if path.startswith(name))
    if change in ("log", "points", "artifact"):
        contents[path] = contents[path][:-1] + b"?"
    elif change == "more":
        contents["artifacts/more"] = b""
    elif change == "less":
        contents[path] = contents[path][:-1]
    elif change == "live":
        snapshot = replace(snapshot, live=(new_writer(),))
    elif change == "path":
        first = replace(snapshot.files[0], path="../../store.json")
        snapshot = replace(snapshot, files=(first, *snapshot.files[1:]))
    else:
        snapshot = replace(snapshot, unit="models/m-" + "0" * 32)
    with pytest.raises((TransferError, SourceChangedError)):
        check_complete(CompleteRun(snapshot, contents))
    [outcome] = LocalTarget(there).add_runs([CompleteRun(snapshot, contents)])
    assert isinstance(outcome, TransferError)
    assert there.run_ids() == incoming(there) == []


def test_a_link_in_the_place_of_the_folder_for_new_runs_is_not_followed(
    stores: tuple[Store, Store], tmp_path: Path
) -> None:
    here, there = stores
    outside = tmp_path / "outside"
    outside.mkdir()
    (there.path / "copied").mkdir()
    (there.path / "copied" / "incoming").symlink_to(outside)
    report = copy(here, there)
    assert report.problems == []
    assert_same_runs(here, there)
    assert [name for name in os.listdir(outside) if name != "lock"] == []


# --- what interrupts it ---


def steps_of(here: Store, tmp_path: Path) -> int:
    """How many steps a copy of these runs takes."""
    counting = CountingFileSystem()
    copy(here, Store.create(tmp_path / "counted"), ONE_THREAD, fs=counting)
    return counting.steps


@pytest.mark.slow
def test_a_copy_that_is_killed_at_any_step_leaves_whole_runs_and_the_next_one_finishes(
    stores: tuple[Store, Store], tmp_path: Path
) -> None:
    here, _ = stores
    steps = steps_of(here, tmp_path)
    assert steps > 50
    seen = set()
    for step in range(1, steps + 1):
        there = Store.create(tmp_path / f"at {step}")
        with pytest.raises(Stopped):
            copy(here, there, ONE_THREAD, fs=stopping_at(step))
        arrived = len(there.run_ids())
        seen.add(arrived)
        assert_each_is_whole(here, there)
        assert copy(here, there, ONE_THREAD).problems == []
        assert_same_runs(here, there)
        assert arrived == COUNT or incoming(there) == []
        shutil.rmtree(there.path)
    assert seen == set(range(COUNT + 1))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_disk_that_takes_no_more_from_any_step_on_is_an_error_and_the_next_copy_finishes(
    stores: tuple[Store, Store], tmp_path: Path, code: int
) -> None:
    here, _ = stores
    steps = steps_of(here, tmp_path)
    for step in random.Random(code).sample(range(1, steps - 10), 12):
        there = Store.create(tmp_path / f"at {step}")
        with pytest.raises(OSError, match=os.strerror(code)):
            copy(here, there, ONE_THREAD, fs=failing_from(step, code))
        assert_each_is_whole(here, there)
        copy(here, there)
        assert_same_runs(here, there)
        assert incoming(there) == []


COPIER = """
import sys
from mltrack.store import Store
from mltrack_sync.selection import Selection
from mltrack_sync.stores.copying import CopyOptions, copy_units
from mltrack_sync.stores.local_source import LocalSource
from mltrack_sync.stores.local_target import LocalTarget
here, there = Store.open(sys.argv[1]), Store.open(sys.argv[2])
source = LocalSource(here)
units = list(source.units(Selection()))
print("begins", flush=True)
said = CopyOptions(batch_bytes=50_000, applied=lambda applied: print(applied.unit, flush=True))
report = copy_units(source, LocalTarget(there), units, said)
assert not report.problems, report.problems
print("done", flush=True)
"""


@pytest.mark.slow
def test_copies_killed_at_random_moments_leave_whole_runs_and_lose_none_that_they_named(tmp_path: Path) -> None:
    here, there = Store.create(tmp_path / "a"), Store.create(tmp_path / "b")
    fill(here, 600)
    dice = random.Random(7)
    named: set[str] = set()
    for _ in range(12):
        process = start_python(COPIER, here.path, there.path)
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        time.sleep(dice.random() * 0.4)
        process.kill()
        named |= {line for line in process.communicate()[0].splitlines() if line.startswith("runs/")}
        assert named <= {f"runs/{run_id}" for run_id in there.run_ids()}
        assert_each_is_whole(here, there)
    assert copy(here, there).problems == []
    assert_same_runs(here, there)
    assert incoming(there) == []


@pytest.mark.slow
def test_two_copies_at_once_bring_each_run_once(stores: tuple[Store, Store]) -> None:
    here, there = stores
    fill(here, 150)
    processes = [start_python(COPIER, here.path, there.path) for _ in range(2)]
    for process in processes:
        out, err = process.communicate(timeout=100)
        assert out.endswith("done\n"), err
    assert_same_runs(here, there)
    assert incoming(there) == []
    assert copy(here, there).unchanged == len(here.run_ids())


def test_what_a_process_left_that_is_gone_is_removed_and_what_a_living_one_writes_is_not(
    stores: tuple[Store, Store],
) -> None:
    from mltrack_sync.stores.new_runs import NewRuns

    here, there = stores
    living = NewRuns(there.layout, fs=FileSystem())
    living.put("a" * 32, {"events/x": b"x"})
    kept = incoming(there)
    dead = there.path / "copied" / "incoming" / "dead" / ("b" * 32) / "events"
    dead.mkdir(parents=True)
    (dead / "x").write_bytes(b"x")
    assert copy(here, there).problems == []
    assert incoming(there) == kept
    living.close()
    assert incoming(there) == []


# --- over a connection ---


def cutting(seed: int, chance: float) -> Callable[[bytes], bytes | None]:
    """Cuts a connection, or flips a bit, now and then; never in what is read byte by byte."""
    dice = random.Random(seed)

    def damage(data: bytes) -> bytes | None:
        if len(data) < 2 or dice.random() > chance:
            return data
        if dice.random() < 0.5:
            return None
        at = dice.randrange(len(data))
        return data[:at] + bytes([data[at] ^ (1 << dice.randrange(8))]) + data[at + 1 :]

    return damage


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 6))])
@pytest.mark.parametrize("way", ["push", "pull"])
def test_a_connection_that_is_cut_or_damaged_in_a_batch_leaves_a_valid_store_and_all_arrive(
    stores: tuple[Store, Store], way: str, seed: int
) -> None:
    here, there = stores
    fill(here, 60)
    ends = Ends(LocalSource(here), LocalTarget(there), write=True)
    # seed 0 is a connection that holds; else the answers (of a push few) or the runs themselves (of a pull) are hit
    damage = cutting(seed, (0.15 if way == "push" else 0.1) if seed else 0.0)
    with far(ends, write=True, damage=damage) as session:
        source, target = (
            (RemoteSource(session), LocalTarget(there)) if way == "pull" else (ends.source, RemoteTarget(session))
        )
        for _ in range(30):
            try:
                report = copy_units(source, target, source.units(Selection()))
            except RemoteUnavailableError:
                assert findings(there.path) == []
                continue
            assert report.problems == []
            break
    assert_same_runs(here, there)
    assert incoming(there) == []


def test_a_far_side_that_sends_other_runs_than_it_was_asked_for_is_refused(
    stores: tuple[Store, Store], tmp_path: Path
) -> None:
    here, there = stores

    class Mixed(LocalSource):
        """Answers with a run that nobody asked for."""

        def complete_runs(
            self, units: Sequence[str], *, artifact_bytes_max: int | None = None
        ) -> Iterator[CompleteRun | None]:
            return super().complete_runs([units_of(here)[0]] * len(units))

    with far(Ends(Mixed(here), LocalTarget(there))) as session:
        with pytest.raises(TransferError, match="not asked for"):
            list(RemoteSource(session).complete_runs(units_of(here)[1:]))
        assert RemoteSource(session).info().store_id == there.store_id  # the connection is used on


def test_a_far_side_that_takes_nothing_refuses_a_batch(stores: tuple[Store, Store]) -> None:
    here, there = stores
    runs = [run for run in LocalSource(here).complete_runs(units_of(here)) if run is not None]
    with (
        far(Ends(LocalSource(there), LocalTarget(there), write=False)) as session,
        pytest.raises(StoreError, match="reading only"),
    ):
        RemoteTarget(session).add_runs(runs)
    assert there.run_ids() == []


# --- power loss ---


def record_copy(here: Store, root: Path) -> RecordingFileSystem:
    """A copy into a new store, written down."""
    there = Store.create(root.with_name("first"))
    shutil.rmtree(there.path / "runs", ignore_errors=True)
    fs = RecordingFileSystem(root)
    for name in os.listdir(there.path):
        shutil.move(there.path / name, root / name)
    report = copy(here, Store.open(root), ONE_THREAD, fs=fs)
    assert report.problems == []
    return fs


@pytest.mark.parametrize("count", [2, COUNT], ids=["one by one", "together"])
@pytest.mark.parametrize("cut", ["nothing", "everything", "names", "random"])
def test_power_loss_at_any_step_leaves_a_valid_store_that_the_next_copy_completes(
    tmp_path: Path, cut: str, count: int
) -> None:
    here = Store.create(tmp_path / "a")
    fill(here, count)
    fs = record_copy(here, tmp_path / "disk")
    chosen: dict[str, Choose] = {"nothing": nothing, "everything": everything, "names": names_only}
    platter = Platter(fs)
    for number, step in enumerate(fs.steps):
        platter.take(step)
        if number % 3 and number < len(fs.steps) - 2:
            continue
        target = tmp_path / "cut"
        platter.lay_out(target, chosen.get(cut) or at_random(number))
        for name in ("store.json", "workspace"):
            if (tmp_path / "disk" / name).is_dir():
                shutil.copytree(tmp_path / "disk" / name, target / name)
            else:
                shutil.copy(tmp_path / "disk" / name, target / name)
        there = Store.open(target)
        if count == COUNT:
            assert_each_is_whole(here, there)
        else:
            assert findings(target) == []
        if number % 9 == 0:
            assert copy(here, there, ONE_THREAD).problems == []
            assert_same_runs(here, there)
        shutil.rmtree(target)
    assert len(fs.steps) > 20


@pytest.fixture(params=["ext4", "xfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """A real file system that can be shut down."""
    with loop_disk(tmp_path, request.param) as disk:
        yield disk


@pytest.mark.slow
def test_after_a_real_power_cut_every_run_that_was_named_is_whole(disk: Disk, tmp_path: Path) -> None:
    here = Store.create(tmp_path / "a")
    fill(here, 400)
    there = Store.create(disk.path / "store")
    subprocess.run(["sync", "-f", str(disk.path)], check=True)
    process = start_python(COPIER, here.path, there.path)
    assert process.stdout is not None
    named = [process.stdout.readline().strip() for _ in range(200)][1:]
    disk.shut_down()
    process.kill()
    process.communicate()
    disk.remount()
    there = Store.open(disk.path / "store")
    assert set(named) <= {f"runs/{run_id}" for run_id in there.run_ids()}
    assert_each_is_whole(here, there)
    assert copy(here, there).problems == []
    assert_same_runs(here, there)
