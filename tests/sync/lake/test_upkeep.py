"""The upkeep of a lake: small files are joined, old ones removed, and nothing that is needed is lost."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

import mltrack
from mltrack.disk.filesystem import FileSystem, StrPath
from mltrack.errors import RemoteError, UsageError
from mltrack.store import Store
from mltrack_sync import Remote, Remotes, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.http.rate_limit import RateLimiter
from mltrack_sync.lake.blobs import BLOBS, Blobs
from mltrack_sync.lake.files import FolderFiles, files_of
from mltrack_sync.lake.layout import TABLES
from mltrack_sync.lake.places import LakePlace
from mltrack_sync.lake.removals import LEASE_S, MARKS, VacuumMark, VacuumWatch
from mltrack_sync.lake.staging import stage
from mltrack_sync.lake.tables import LakeTables, TableBatch
from mltrack_sync.lake.upkeep import compact, status, vacuum
from mltrack_sync.progress import NoProgress
from tests.support.command_line import Cli

WEEK_S = 8 * 86_400


def log(store: Path, run_id: str | None, step: int) -> str:
    """One more point of a run."""
    mltrack.set_store(store)
    with mltrack.start_run(run_id=run_id) as run:
        mltrack.log_metric("loss", float(step), step=step)
        mltrack.log_text(f"text {step}", "notes.txt")
    mltrack.set_store(None)
    return str(run.info.run_id)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Remote, LakeTables]:
    """A lake into which one run was pushed six times."""
    folder = tmp_path_factory.mktemp("many")
    run_id = log(folder / "store", None, 0)
    store = Store.open(folder / "store")
    remote = Remotes(store).add("lake", f"delta:{folder / 'lake'}")
    for step in range(1, 7):
        push(store, remote)
        log(store.path, run_id, step)
    push(store, remote)
    place = LakePlace.parse(remote.url)
    return store, remote, LakeTables(place, files_of(place))


@pytest.mark.slow
def test_small_files_are_joined_and_nothing_else_changes(many: tuple[Store, Remote, LakeTables], cli: Cli) -> None:
    store, remote, tables = many
    lake = Path(tables.place.uri)
    before = {each.table: each for each in status(tables)}
    assert (before["points"].files, before["points"].files_after, before["points"].rows) == (7, 1, 7)
    stale = DeltaTable(str(lake / "points"))
    said = cli("lake", "compact", remote.url, "--json").json
    assert {each["table"]: (each["before"], each["after"]) for each in said}["points"] == (7, 1)
    after = {each["table"]: each for each in cli("lake", "status", remote.url, "--json").json}
    assert after["points"]["files"] == 1
    assert {name: each["rows"] for name, each in after.items()} == {name: each.rows for name, each in before.items()}
    assert verify(store, remote).same
    assert stale.to_pyarrow_table().num_rows == 7  # a reader of the version before
    assert list(compact(tables)) == []
    log(store.path, store.run_ids()[0], 9)
    assert push(store, remote).points == 1
    assert verify(store, remote).same


@pytest.mark.slow
def test_a_push_between_does_not_hinder_a_compaction(tmp_path: Path) -> None:
    run_id = log(tmp_path / "store", None, 0)
    store = Store.open(tmp_path / "store")
    remote = Remotes(store).add("lake", f"delta:{tmp_path / 'lake'}")
    for step in range(1, 5):
        push(store, remote)
        log(store.path, run_id, step)
    place = LakePlace.parse(remote.url)
    joining = compact(LakeTables(place, files_of(place)))
    first = next(joining)
    assert (first.table, first.before, first.after) == ("points", 4, 1)
    push(store, remote)
    assert not any(each.conflict for each in joining)
    assert verify(store, remote).same


def test_a_vacuum_removes_what_is_old_and_refuses_what_may_be_needed(
    many: tuple[Store, Remote, LakeTables], cli: Cli
) -> None:
    store, remote, tables = many
    lake = Path(tables.place.uri)
    list(compact(tables))
    left = lake / "points" / "month=2020-01" / "shard=a" / "part-left.parquet"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"by a push that was killed")
    with pytest.raises(UsageError, match="may still be needed"):
        vacuum(tables, older_than_hours=24)
    content = lake / "blobs" / "ab" / ("ab" * 32)
    content.parent.mkdir(parents=True)
    content.write_bytes(b"sent by the same push")
    assert vacuum(tables) == []
    long_ago = time.time() - 2 * WEEK_S
    for path in [left, *(path for path in (lake / "blobs").rglob("*") if path.is_file())]:
        os.utime(path, (long_ago, long_ago))
    assert [path.rpartition("/")[2] for path in vacuum(tables, dry_run=True)] == [left.name, content.name]
    assert cli("lake", "vacuum", remote.url).out == "2 files were removed\n"
    assert not left.exists()
    assert not content.exists()
    assert verify(store, remote).same


class SentAgain(FolderFiles):
    """A lake to which a content is sent again right after a vacuum has listed what there is."""

    def modified(self, folder: str) -> dict[str, float]:
        found = super().modified(folder)
        for path in found if folder == BLOBS else ():
            os.utime(self.root / path)
        return found


def test_a_content_that_is_sent_again_during_a_vacuum_stays(tmp_path: Path) -> None:
    place = LakePlace.parse(f"delta:{tmp_path}")
    content = tmp_path / "blobs" / "ab" / ("ab" * 32)
    content.parent.mkdir(parents=True)
    content.write_bytes(b"left by a push that was killed")
    long_ago = time.time() - 2 * WEEK_S
    os.utime(content, (long_ago, long_ago))
    assert vacuum(LakeTables(place, SentAgain(tmp_path))) == []
    assert content.exists()


def test_a_content_that_was_left_long_ago_is_sent_again_before_a_row_names_it(tmp_path: Path) -> None:
    sha256 = hashlib.sha256(b"text").hexdigest()
    held = tmp_path / "lake" / "blobs" / sha256[:2] / sha256
    source = tmp_path / "text"
    source.write_bytes(b"text")

    def put(named: set[str], days: int) -> bool:
        os.utime(held, (time.time() - days * 86_400, time.time() - days * 86_400))
        return Blobs(FolderFiles(tmp_path / "lake"), named=lambda: named).put(source, sha256, 4)

    assert Blobs(FolderFiles(tmp_path / "lake"), named=set).put(source, sha256, 4)
    assert not put(set(), 1)
    assert not put({sha256}, 9)
    assert put(set(), 9)
    assert time.time() - held.stat().st_mtime < 86_400


class SentAfterTheLook(FolderFiles):
    """A lake to which a content is sent again after a vacuum has looked at its age, and before it removes it."""

    pushes: tuple[Blobs, ...]
    source: Path

    def remove(self, path: str) -> None:
        if path.startswith(BLOBS):
            for push in self.pushes:
                push.put(self.source, hashlib.sha256(b"text").hexdigest(), 4)
        super().remove(path)


@pytest.mark.parametrize("pushes", [1, 2], ids=["it is sent", "another push sent it and did not commit"])
def test_a_content_that_is_sent_between_the_look_at_its_age_and_its_removal_is_sent_again(
    tmp_path: Path, pushes: int
) -> None:
    sha256 = hashlib.sha256(b"text").hexdigest()
    place = LakePlace.parse(f"delta:{tmp_path / 'lake'}")
    files = SentAfterTheLook(tmp_path / "lake")
    files.source = tmp_path / "text"
    files.source.write_bytes(b"text")
    held = tmp_path / "lake" / "blobs" / sha256[:2] / sha256
    held.parent.mkdir(parents=True)
    held.write_bytes(b"text")
    long_ago = time.time() - 2 * WEEK_S
    os.utime(held, (long_ago, long_ago))
    files.pushes = tuple(Blobs(FolderFiles(tmp_path / "lake"), named=set) for _ in range(pushes))
    assert vacuum(LakeTables(place, files)) == [f"{BLOBS}/{sha256[:2]}/{sha256}"]
    assert not held.exists()
    files.pushes[-1].settle()  # as a push does before it commits the rows that name it
    assert held.read_bytes() == b"text"


class Waits(threading.Event):
    """An event, waiting for which takes no time, but counts how long it would have."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timeout or 0.0
        return self.is_set()


def watched(files: FolderFiles, stop: Waits) -> VacuumWatch:
    """What a push knows before it looks at the first content."""
    found = VacuumWatch(files, stop=stop, clock=lambda: stop.now)
    found.begin()
    return found


def age(folder: Path, seconds: float) -> None:
    """Let the marks have been written so long ago, by the time of the storage."""
    for mark in (folder / MARKS).iterdir():
        os.utime(mark, (time.time() - seconds, time.time() - seconds))


def test_a_push_waits_for_a_vacuum_that_goes_on(tmp_path: Path) -> None:
    class Renewing(Waits):
        def wait(self, timeout: float | None = None) -> bool:
            stopped = super().wait(timeout)
            age(tmp_path, -self.now)
            return stopped

    files, stop = FolderFiles(tmp_path), Renewing()
    before = watched(files, stop)
    assert not before.wait()
    with VacuumMark(files):
        with pytest.raises(RemoteError, match="a vacuum of the lake goes on") as refused:
            watched(files, stop).wait()
        assert refused.value.hint.startswith("sync again when it has ended")
        stop.set()
        with pytest.raises(RemoteError, match="a vacuum of the lake goes on"):
            before.wait()
    during = before.wait()
    assert (during, watched(files, stop).wait()) == (True, False)


@pytest.mark.parametrize("finder", ["push", "vacuum"])
@pytest.mark.parametrize("ago", [0.0, LEASE_S + 1])
def test_a_vacuum_that_was_killed_is_known_after_two_minutes(tmp_path: Path, finder: str, ago: float) -> None:
    files, stop = FolderFiles(tmp_path), Waits()
    before = watched(files, stop)
    with VacuumMark(files):
        (mark,) = (tmp_path / MARKS).iterdir()
        left = mark.read_bytes()
    mark.write_bytes(left)  # it was killed in there
    age(tmp_path, ago)
    if finder == "vacuum":
        with VacuumMark(files):
            assert json.loads(mark.read_bytes())["ended"] is bool(ago)
    assert before.wait()  # it may have removed what was sent
    assert (stop.now >= LEASE_S) is (ago == 0)
    assert json.loads(mark.read_bytes()) == {"ended": True, "killed": True}
    assert not watched(files, stop).wait()
    age(tmp_path, 2 * 86_400)
    with VacuumMark(files):
        assert not mark.exists()


def test_a_mark_of_an_earlier_version_counts_for_an_hour(tmp_path: Path) -> None:
    (tmp_path / MARKS).mkdir()
    (tmp_path / MARKS / "old.json").write_text('{"ended": false}')
    age(tmp_path, 3000)
    with pytest.raises(RemoteError, match="a vacuum of the lake goes on"):
        watched(FolderFiles(tmp_path), Waits()).wait()
    age(tmp_path, 4000)
    assert watched(FolderFiles(tmp_path), Waits()).wait()


def test_a_vacuum_that_slept_for_long_removes_nothing_more(tmp_path: Path) -> None:
    now = [0.0]
    for name in ("first", "second", "third"):
        (tmp_path / name).touch()

    class Slow(FolderFiles):
        def remove(self, path: str) -> None:
            super().remove(path)
            now[0] += 100.0 * (path == "second")

    with VacuumMark(Slow(tmp_path), clock=lambda: now[0]) as mark:
        now[0] += 40
        mark.remove("first")
        with pytest.raises(RemoteError, match="interrupted for too long while it removed second"):
            mark.remove("second")
        with pytest.raises(RemoteError, match="has removed nothing more"):
            mark.remove("third")
    assert (tmp_path / "third").exists()


@pytest.mark.slow
def test_a_push_goes_on_after_a_vacuum_was_killed(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    log(tmp_path / "store", None, 0)
    store = Store.open(tmp_path / "store")
    remote = Remotes(store).add("lake", f"delta:{lake}")
    push(store, remote)
    old = lake / "blobs" / "ab"
    old.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "mltrack", "--store", str(store.path)]
    while next(old.iterdir(), None) is None:  # until a vacuum is killed among its removals
        for number in range(10_000):
            content = old / f"{number:064x}"
            content.touch()
            os.utime(content, (0, 0))
        vacuuming = subprocess.Popen([*command, "lake", "vacuum", "lake"], stdout=subprocess.DEVNULL)
        first = old / f"{0:064x}"
        while first.exists() and vacuuming.poll() is None:  # they are removed in the order of their names
            time.sleep(0.001)
        vacuuming.send_signal(signal.SIGKILL)
        vacuuming.wait()
        assert not first.exists()
    log(store.path, None, 1)
    age(lake, LEASE_S + 1)
    pushed = subprocess.run([*command, "sync", "lake", "--json"], stdout=subprocess.PIPE, check=True, timeout=300)
    assert json.loads(pushed.stdout)["artifacts"] == 1
    assert verify(store, remote).same
    assert len(vacuum(LakeTables(LakePlace.parse(remote.url), files_of(LakePlace.parse(remote.url))))) > 0
    assert not list(old.iterdir())


class Synced(FileSystem):
    """A disk that notes what is synced."""

    def __init__(self) -> None:
        self.paths: list[Path] = []

    def sync_all(self, folder: Path, paths: Iterable[StrPath]) -> None:
        self.paths += [Path(path) for path in paths]


def test_a_push_that_is_stopped_while_it_is_held_back_commits_what_it_has(tmp_path: Path) -> None:
    class StopsAtTheFile(NoProgress):
        def files(self, *, total: int = 0, sent: int = 0) -> None:
            stop.set()

    stop = threading.Event()
    log(tmp_path / "store", None, 0)
    store = Store.open(tmp_path / "store")
    remote = Remotes(store).add("lake", f"delta:{tmp_path / 'lake'}")
    report = push(store, remote, pace=RateLimiter(0.001), stop=stop, progress=StopsAtTheFile())
    assert (report.points, report.artifacts) == (0, 0)
    assert DeltaTable(str(tmp_path / "lake" / "points")).to_pyarrow_table().num_rows == 1
    assert push(store, remote).artifacts == 1
    assert verify(store, remote).same


@pytest.mark.slow
def test_every_commit_to_a_folder_survives_power_loss(tmp_path: Path) -> None:
    fs, lake = Synced(), tmp_path / "lake"
    place = LakePlace.parse(f"delta:{lake}")
    tables = LakeTables(place, files_of(place, fs))
    lake.mkdir()
    schema = TABLES["tags"].file_schema
    for number in range(1, 102):  # the last makes a checkpoint
        rows = pa.table([pa.nulls(1, each.type) for each in schema], schema=schema)
        staged = stage(tables.files, "tags", rows)
        tables.commit("s" * 8, TableBatch("tags", number, (staged,)), f"{number:016x}")
    assert [each.after for each in compact(tables)] == [1]
    vacuum(tables)
    log = lake / "tags" / "_delta_log"
    written = {path for path in log.iterdir() if path.is_file()}
    assert len(written) > 104
    assert written <= set(fs.paths)
    assert {log, log.parent, lake} <= set(fs.paths)
