"""Many runs that a store has already and of which it lacks a few events: synced together, in any state valid."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from mltrack.disk.filesystem import FileSystem
from mltrack.storage.check.check import check_store
from mltrack.storage.runs.edit import set_stage, set_tag
from mltrack.store import Store
from mltrack_sync.stores.copying import CopyOptions
from mltrack_sync.stores.local_source import LocalSource
from mltrack_sync.stores.local_target import LocalTarget
from mltrack_sync.stores.transfer import Applied, TransferError, Update
from mltrack_sync.stores.updates import may_be_update
from tests.support.filesystems import CountingFileSystem, Stopped, stopping_at
from tests.support.power import Choose, Platter, RecordingFileSystem, at_random, everything, names_only, nothing
from tests.support.recording import start_python
from tests.support.store_copies import assert_same_runs, copy
from tests.support.written_runs import write_run

COUNT = 5
ONE_THREAD = CopyOptions(workers=1)


class Syncs(FileSystem):
    """Counts how often something waits for the disk."""

    count = 0

    def sync(self, fd: int) -> None:
        self.count += 1
        super().sync(fd)

    def sync_folder(self, path: Path) -> None:
        self.count += 1
        super().sync_folder(path)

    def sync_all(self, folder: Path, paths: Iterable[str | os.PathLike[str]]) -> None:
        self.count += 1
        assert list(paths) != []


def fill(store: Store, count: int = COUNT) -> None:
    for number in range(count):
        write_run(store, name=f"run {number}", metrics={"loss": [(step, step / 3) for step in range(20)]})


def tag_all(store: Store, value: str) -> None:
    for run_id in store.run_ids():
        set_tag(store.layout, run_id, "team", value)


def findings(root: Path) -> list[str]:
    return [str(finding) for finding in check_store(root).findings if finding.severity == "error"]


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Store, Store]:
    """A store whose runs got a tag since they were copied into the other."""
    here, there = Store.create(tmp_path / "a"), Store.create(tmp_path / "b")
    fill(here)
    copy(here, there)
    tag_all(here, "red")
    return here, there


def updates(here: Store, there: Store) -> list[Update]:
    source, target = LocalSource(here), LocalTarget(there)
    found = []
    for run_id in here.run_ids():
        snapshot = source.snapshot(f"runs/{run_id}")
        needs = target.needs(snapshot)
        assert may_be_update(snapshot, needs)
        found.append(Update(snapshot, list(source.pieces(snapshot, needs))))
    return found


def test_tags_of_many_runs_wait_for_the_disk_once(stores: tuple[Store, Store]) -> None:
    here, there = stores
    fs = Syncs()
    report = copy(here, there, fs=fs)
    assert report.problems == []
    assert len([applied for applied in report.units if applied.unit.startswith("runs/")]) == COUNT
    assert fs.count < COUNT
    assert_same_runs(here, there)
    assert copy(here, there).units == []


def test_runs_with_more_than_events_are_copied_by_themselves_and_all_arrive(stores: tuple[Store, Store]) -> None:
    here, there = stores
    for run_id in here.run_ids()[:2]:
        write_run(here, run_id=run_id, role="resume", metrics={"loss": [(30, 0.5)]})
    set_stage(here.layout, here.run_ids()[3], "deleted")
    assert copy(here, there).problems == []
    assert_same_runs(here, there)


def test_a_run_whose_lock_another_copy_holds_is_left_and_the_others_are_written(stores: tuple[Store, Store]) -> None:
    from mltrack_sync.stores.unit_locks import UnitLocks

    here, there = stores
    found = updates(here, there)
    target = LocalTarget(there)
    with UnitLocks(there.path, fs=FileSystem()).alone(found[0].snapshot.unit):
        outcomes = target.apply_together(found)
    assert isinstance(outcomes[0], TransferError)
    assert any(isinstance(outcome, Applied) for outcome in outcomes[1:])
    assert findings(there.path) == []
    assert copy(here, there).problems == []
    assert_same_runs(here, there)


def test_what_is_not_an_update_is_refused(stores: tuple[Store, Store]) -> None:
    here, there = stores
    one, *others = updates(here, there)
    other = Update(replace(one.snapshot, unit=f"runs/{'0' * 32}"), one.pieces)
    points = Update(one.snapshot, [replace(one.pieces[0], path=f"points/{'0' * 16}.0.points")])
    strange = Update(others[0].snapshot, one.pieces)
    outcomes = LocalTarget(there).apply_together([other, points, strange, *others[1:]])
    assert [isinstance(outcome, TransferError) for outcome in outcomes] == [True] * 3 + [False] * (COUNT - 2)
    assert findings(there.path) == []
    assert copy(here, there).problems == []
    assert_same_runs(here, there)


@pytest.mark.slow
def test_a_copy_of_updates_that_is_killed_at_any_step_is_finished_by_the_next(
    stores: tuple[Store, Store], tmp_path: Path
) -> None:
    here, there = stores
    counting = CountingFileSystem()
    kept = tmp_path / "kept"
    shutil.copytree(there.path, kept)
    copy(here, there, ONE_THREAD, fs=counting)
    assert counting.steps > 5 * COUNT
    for step in range(1, counting.steps + 1, 3):
        shutil.rmtree(there.path)
        shutil.copytree(kept, there.path)
        with pytest.raises(Stopped):
            copy(here, there, ONE_THREAD, fs=stopping_at(step))
        assert findings(there.path) == []
        assert copy(here, there, ONE_THREAD).problems == []
        assert_same_runs(here, there)


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
said = CopyOptions(applied=lambda applied: print(applied.unit, flush=True))
report = copy_units(source, LocalTarget(there), units, said)
assert not report.problems, report.problems
print("done", flush=True)
"""


@pytest.mark.slow
def test_updates_killed_at_random_moments_lose_none_that_they_named(tmp_path: Path) -> None:
    import random
    import time

    here, there = Store.create(tmp_path / "a"), Store.create(tmp_path / "b")
    fill(here, 300)
    copy(here, there)
    dice = random.Random(11)
    for turn in range(8):
        tag_all(here, f"turn {turn}")
        process = start_python(COPIER, here.path, there.path)
        assert process.stdout is not None
        assert process.stdout.readline() == "begins\n"
        time.sleep(dice.random() * 0.5)
        process.kill()
        named = [line for line in process.communicate()[0].splitlines() if line.startswith("runs/")]
        assert all(there.run(unit.removeprefix("runs/")).tags["team"] == f"turn {turn}" for unit in named)
        assert findings(there.path) == []
    assert copy(here, there).problems == []
    assert_same_runs(here, there)


@pytest.mark.slow
@pytest.mark.parametrize("cut", ["nothing", "everything", "names", "random"])
def test_power_loss_at_any_step_of_updates_leaves_a_valid_store_that_the_next_copy_completes(
    tmp_path: Path, cut: str
) -> None:
    here = Store.create(tmp_path / "a")
    fill(here)
    root = tmp_path / "disk"
    made = Store.create(tmp_path / "made")
    fs = RecordingFileSystem(root)
    for name in os.listdir(made.path):
        if name != "runs":
            shutil.move(made.path / name, root / name)
    copy(here, Store.open(root), ONE_THREAD, fs=fs)
    before = len(fs.steps)
    tag_all(here, "red")
    copy(here, Store.open(root), ONE_THREAD, fs=fs)
    chosen: dict[str, Choose] = {"nothing": nothing, "everything": everything, "names": names_only}
    platter = Platter(fs)
    for number, step in enumerate(fs.steps):
        platter.take(step)
        if number < before or (number % 4 and number < len(fs.steps) - 2):
            continue
        target = tmp_path / "cut"
        platter.lay_out(target, chosen.get(cut) or at_random(number))
        shutil.copytree(root / "workspace", target / "workspace")
        shutil.copy(root / "store.json", target / "store.json")
        there = Store.open(target)
        assert findings(target) == []
        assert copy(here, there, ONE_THREAD).problems == []
        assert_same_runs(here, there)
        shutil.rmtree(target)
    assert len(fs.steps) > before + 20
