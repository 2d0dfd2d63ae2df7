"""Pushes to a lake that are killed, meet each other, or lose what they wrote; afterwards each point is there once."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from deltalake import DeltaTable

import mltrack
from mltrack.disk.filesystem import FileSystem, StrPath
from mltrack.errors import RemoteError
from mltrack.store import Store
from mltrack_sync import Remote, Remotes, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.lake.kind import LakeKind
from mltrack_sync.remotes.kind import find_kind
from tests.support.killed_push import KilledPushes

KILLS = int(os.environ.get("MLTRACK_TEST_LAKE_KILLS", "60"))
"""As many as CI has time for; 200 are run by hand."""


def record(path: Path, lake: Path, *, points: int = 20, runs: int = 1) -> tuple[Store, Remote]:
    """More runs in a store, and the lake as its remote."""
    mltrack.set_store(path)
    for number in range(runs):
        with mltrack.start_run(run_name=f"{path.name} {number}"):
            mltrack.log_param("number", number)
            for step in range(points):
                mltrack.log_metric("loss", random.random(), step=step)
            mltrack.log_text(f"{path.name} {number} {random.random()}", "notes.txt")
    mltrack.set_store(None)
    store = Store.open(path)
    remotes = Remotes(store)
    known = [each for each in remotes.all() if each.name == "lake"]
    return store, known[0] if known else remotes.add("lake", f"delta:{lake}")


def sync(store: Store) -> subprocess.Popen[bytes]:
    """A push in a process of its own."""
    command = [sys.executable, "-m", "mltrack", "--store", str(store.path), "sync", "lake", "--json"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


@pytest.fixture(scope="module")
def killed() -> Iterator[KilledPushes]:
    pushes = KilledPushes()
    try:
        yield pushes
    finally:
        pushes.close()


class NoCommit(FileSystem):
    """A disk on which a push dies when its note was written: the note is there, and no commit."""

    def rename(self, source: StrPath, target: StrPath) -> None:
        super().rename(source, target)
        if Path(target).name == "batch.json":
            raise OSError(5, "Input/output error", str(target))


def push_up_to_the_note(store: Store, remote: Remote) -> None:
    """A push that ends between its note and the first commit."""
    kind = find_kind("lake")
    assert isinstance(kind, LakeKind)
    good, kind.fs = kind.fs, NoCommit()
    try:
        with pytest.raises(RemoteError):
            push(store, remote)
    finally:
        kind.fs = good


def test_a_noted_batch_is_committed_as_it_is_by_the_next_push(tmp_path: Path) -> None:
    store, remote = record(tmp_path / "store", tmp_path / "lake")
    push_up_to_the_note(store, remote)
    staged = {path.name for path in (tmp_path / "lake" / "points").rglob("*.parquet")}
    record(tmp_path / "store", tmp_path / "lake")
    push(store, remote)
    assert staged <= {path.rpartition("/")[2] for path in DeltaTable(str(tmp_path / "lake" / "points")).file_uris()}
    assert verify(store, remote).same
    assert not (store.path / "remotes" / "lake" / "batch.json").exists()


@pytest.mark.slow
def test_a_noted_batch_whose_files_a_vacuum_removed_is_sent_again(tmp_path: Path) -> None:
    store, remote = record(tmp_path / "store", tmp_path / "lake")
    push(store, remote)
    record(tmp_path / "store", tmp_path / "lake")
    push_up_to_the_note(store, remote)
    named = set(DeltaTable(str(tmp_path / "lake" / "points")).file_uris())
    for path in (tmp_path / "lake" / "points").rglob("*.parquet"):
        if str(path) not in named:
            path.unlink()
    push(store, remote)
    found = verify(store, remote)
    assert found.same
    assert found.points == 40


@pytest.mark.slow
def test_machines_that_push_at_once_all_arrive(tmp_path: Path) -> None:
    stores = [record(tmp_path / f"store {number}", tmp_path / "lake", runs=3) for number in range(4)]
    for _ in range(3):
        processes = [sync(store) for store, _ in stores]
        for process in processes:
            _, said = process.communicate(timeout=120)
            assert process.returncode == 0, said.decode()
        for store, remote in stores:
            assert verify(store, remote).same
            record(store.path, tmp_path / "lake")


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_killed_at_random_steps_of_the_disk_nothing_is_lost_or_twice(tmp_path: Path, killed: KilledPushes) -> None:
    chance = random.Random(13)
    store, remote = record(tmp_path / "store", tmp_path / "lake")
    deaths = 0
    for number in itertools.count():
        deaths += killed.push(store, remote.name, chance.randint(1, 60), arrives=chance.random() < 0.5)
        if number % 2 == 0:
            record(tmp_path / "store", tmp_path / "lake", points=chance.randint(1, 50))
        if number % 20 == 0:
            push(store, remote)
            assert verify(store, remote).same, f"after kill {deaths}"
        if deaths == KILLS:
            break
    push(store, remote)
    assert verify(store, remote).same
    assert push(store, remote).runs == 0


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_killed_at_random_times_nothing_is_lost_or_twice(tmp_path: Path) -> None:
    chance = random.Random(14)
    store, remote = record(tmp_path / "store", tmp_path / "lake")
    for number in range(KILLS // 4):
        process = sync(store)
        time.sleep(chance.uniform(0.3, 3.0))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        if number % 5 == 0:
            record(tmp_path / "store", tmp_path / "lake", points=chance.randint(1, 50))
    push(store, remote)
    assert verify(store, remote).same
    assert push(store, remote).runs == 0
