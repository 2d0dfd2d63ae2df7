"""Disks that are pulled out, full or read-only while stores are copied, and copies that are killed at each step.

After each fault what is on either side is valid, nothing is in it twice, and the next pass finishes it.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import mltrack
from mltrack.errors import MltrackError
from mltrack.storage.check.check import check_store
from mltrack.store import Store
from mltrack_sync import Remote, Remotes, pull, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.errors import LedgerError, RemoteUnavailableError
from mltrack_sync.remotes.kind import find_kind
from mltrack_sync.report import PullReport, PushReport
from mltrack_sync.stores.kind import StoreKind
from tests.support.disks import MemoryDisk, memory_disk
from tests.support.filesystems import CountingFileSystem
from tests.support.killed_push import KilledPushes

POINTS = 3_000
Copy = Callable[[Store, Remote], PushReport | PullReport]


def record(path: Path, names: str = "ab", size: int = 50_000) -> Store:
    """A store with runs, a model and a trace."""
    mltrack.set_store(path)
    for name in names:
        with mltrack.start_run(run_name=name):
            mltrack.log_param("name", name)
            for step in range(POINTS):
                mltrack.log_metric("loss", 1 / (step + 1), step=step)
            mltrack.log_text(name * size, "large.txt")
            mltrack.log_text(f"notes of {name}", "notes/of.txt")
    mltrack.set_store(None)
    return Store.open(path)


def findings(store: Store) -> list[str]:
    """What is wrong with a store; that a run has not begun, or that a file has not come yet, is not."""
    return [str(finding) for finding in check_store(store.path).findings if finding.severity != "note"]


def assert_finished(here: Store, remote: Remote, copy: Copy) -> None:
    """Another pass brings the rest, once, and then there is nothing left to bring."""
    copy(here, remote)
    there = Store.open(remote.url)
    assert verify(here, remote).same
    assert here.run_ids() == there.run_ids()
    for run_id in here.run_ids():
        one, other = here.run(run_id), there.run(run_id)
        assert len(one.metrics()) == POINTS
        assert one.metrics().equals(other.metrics())
        assert [one.artifact_path(each.path).read_bytes() for each in one.artifacts] == [
            other.artifact_path(each.path).read_bytes() for each in other.artifacts
        ]
    assert (findings(here), findings(there)) == ([], [])
    assert copy(here, remote).bytes == 0


@pytest.fixture
def kind() -> Iterator[StoreKind]:
    """The kind, whose disk is as it was at the end."""
    kind = find_kind("store")
    assert isinstance(kind, StoreKind)
    before = kind.fs
    yield kind
    kind.fs = before


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[MemoryDisk]:
    """A disk that can be pulled out."""
    with memory_disk(tmp_path / "usb") as disk:
        yield disk


def steps_of(kind: StoreKind, tmp_path: Path) -> int:
    """How many steps a push of two runs takes."""
    counting = kind.fs = CountingFileSystem()
    here = record(tmp_path / "counted")
    push(here, Remotes(here).add("far", str(Store.create(tmp_path / "counted too").path)), jobs=1)
    return counting.steps


# --- a disk that is pulled out ---


def pulling_out(disk: MemoryDisk, step: int) -> CountingFileSystem:
    """A file system at whose step of that number the disk is pulled out."""
    return CountingFileSystem(lambda number: disk.pull_out() if number == step else None)


SOME_STEPS = pytest.mark.parametrize("tries", [3, pytest.param(30, marks=pytest.mark.slow)])


@pytest.mark.slow
@SOME_STEPS
def test_a_disk_that_is_pulled_out_during_a_push_gets_the_rest_later(
    tmp_path: Path, disk: MemoryDisk, kind: StoreKind, tries: int
) -> None:
    count = steps_of(kind, tmp_path)
    for step in range(1, count, max(1, count // tries)):
        here = record(tmp_path / f"here {step}")
        Store.create(disk.path / f"{step}")
        usb = Remotes(here).add("usb", str(disk.path / f"{step}"))
        kind.fs = pulling_out(disk, step)
        with pytest.raises(RemoteUnavailableError):
            push(here, usb, jobs=1)
        kind.fs = CountingFileSystem()
        assert os.listdir(disk.path) == [], "something was written to the folder that the disk is mounted on"
        with pytest.raises(RemoteUnavailableError, match="no mltrack store at"):
            push(here, usb)
        disk.connect()
        there = Store.open(disk.path / f"{step}")
        assert findings(there) == []
        assert_finished(here, usb, push)


@pytest.mark.slow
@SOME_STEPS
def test_a_disk_that_is_pulled_out_during_a_pull_gives_the_rest_later(
    tmp_path: Path, disk: MemoryDisk, kind: StoreKind, tries: int
) -> None:
    record(disk.path / "there")
    count = steps_of(kind, tmp_path)
    for step in range(1, count, max(1, count // tries)):
        here = Store.create(tmp_path / f"here {step}")
        usb = Remotes(here).add("usb", str(disk.path / "there"))
        kind.fs = pulling_out(disk, step)
        try:
            report = pull(here, usb, jobs=1)
        except RemoteUnavailableError as error:
            assert str(disk.path) in str(error)
        else:
            assert not report.complete or report.runs == 2  # at the last steps all has been read
        kind.fs = CountingFileSystem()
        assert findings(here) == []
        disk.connect()
        assert_finished(here, usb, pull)


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["sync", "pull"])
def test_a_command_whose_disk_is_pulled_out_says_so_in_a_line_and_the_next_one_goes_on(
    tmp_path: Path, disk: MemoryDisk, direction: str
) -> None:
    outside, inside = tmp_path / "here", disk.path / ".mltrack"
    record(outside if direction == "sync" else inside, size=3_000_000)
    other = Store.create(inside if direction == "sync" else outside)
    here = Store.open(outside)
    usb = Remotes(here).add("usb", str(inside))
    arguments = ["--store", str(outside), direction, "usb", "--limit-rate", "1M"]
    command = subprocess.Popen(
        [sys.executable, "-m", "mltrack", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while command.poll() is None and not list((other.path / "runs").rglob("artifacts/.*.tmp")):
        time.sleep(0.01)
    disk.pull_out()
    _, said = command.communicate(timeout=60)
    assert command.returncode == 7, said
    assert [line.partition(":")[0] for line in said.splitlines()] == ["error", "hint"], said
    disk.connect()
    assert_finished(here, usb, push if direction == "sync" else pull)


# --- a full disk ---


def test_a_far_disk_that_is_full_is_said_and_the_next_push_goes_on(tmp_path: Path) -> None:
    with memory_disk(tmp_path / "usb", "400k") as disk:
        here = record(tmp_path / "here", size=300_000)
        usb = Remotes(here).add("usb", str(disk.path / ".mltrack"))
        for _ in range(2):
            with pytest.raises(RemoteUnavailableError, match="no space is left") as caught:
                push(here, usb)
            assert "make room" in caught.value.hint
            assert findings(Store.open(disk.path / ".mltrack")) == []
        disk.resize("64m")
        assert_finished(here, usb, push)


def test_a_disk_here_that_is_full_is_said_and_the_next_pull_goes_on(tmp_path: Path) -> None:
    there = record(tmp_path / "there", size=300_000)
    with memory_disk(tmp_path / "small", "400k") as disk:
        here = Store.create(disk.path / ".mltrack")
        far = Remotes(here).add("far", str(there.path))
        for _ in range(2):
            with pytest.raises(RemoteUnavailableError, match="no space is left"):
                pull(here, far)
            assert findings(here) == []
        disk.resize("64m")
        assert_finished(here, far, pull)


def test_a_push_from_a_full_disk_keeps_no_ledger_and_says_so(tmp_path: Path) -> None:
    with memory_disk(tmp_path / "small") as disk:
        here = record(disk.path / ".mltrack")
        far = Remotes(here).add("far", str(tmp_path / "far"))
        _fill(disk.path)
        with pytest.raises((LedgerError, OSError)) as caught:
            push(here, far)
        assert "No space left" in str(caught.value)
        (disk.path / "ballast").unlink()
        assert_finished(here, far, push)


def test_a_pull_from_a_full_disk_needs_no_space_on_it(tmp_path: Path) -> None:
    with memory_disk(tmp_path / "usb") as disk:
        there = record(disk.path / ".mltrack")
        _fill(disk.path)
        here = Store.create(tmp_path / "here")
        assert_finished(here, Remotes(here).add("usb", str(there.path)), pull)


def _fill(folder: Path) -> None:
    with open(folder / "ballast", "wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(bytes(1 << 16))
        except OSError:
            return


# --- a read-only disk ---


def test_a_read_only_disk_takes_no_push_and_gives_all_to_a_pull(tmp_path: Path, disk: MemoryDisk) -> None:
    there = record(disk.path / ".mltrack")
    here = Store.create(tmp_path / "here")
    usb = Remotes(here).add("usb", str(there.path))
    disk.protect()
    assert_finished(here, usb, pull)
    record(here.path, "c")
    with pytest.raises(RemoteUnavailableError, match=f"{there.path} can't be written") as caught:
        push(here, usb)
    assert "check how the disk is mounted" in caught.value.hint
    disk.unprotect()
    assert_finished(here, usb, push)


def test_a_disk_that_becomes_read_only_in_a_push_is_said_and_gets_the_rest_later(
    tmp_path: Path, disk: MemoryDisk, kind: StoreKind
) -> None:
    here = record(tmp_path / "here")
    usb = Remotes(here).add("usb", str(disk.path / ".mltrack"))
    # as the kernel does after an error: what is open for writing stays so, all else is refused
    kind.fs = CountingFileSystem(lambda number: _refuse_writes(disk) if number == 12 else None)
    with pytest.raises(RemoteUnavailableError, match="Read-only file system"):
        push(here, usb, jobs=1)
    kind.fs = CountingFileSystem()
    disk.unprotect()
    there = Store.open(disk.path / ".mltrack")
    assert findings(there) == []
    assert_finished(here, usb, push)


def _refuse_writes(disk: MemoryDisk) -> None:
    disk.pull_out()
    disk.connect()
    disk.protect()


def test_a_store_on_a_read_only_disk_can_neither_sync_nor_pull_and_says_so(tmp_path: Path, disk: MemoryDisk) -> None:
    here = record(disk.path / ".mltrack")
    far = Remotes(here).add("far", str(Store.create(tmp_path / "far").path))
    disk.protect()
    for copy in (push, pull):
        with pytest.raises((MltrackError, OSError), match="Read-only file system"):
            copy(here, far)
    disk.unprotect()
    assert_finished(here, far, push)


# --- copies that are killed ---


@pytest.fixture(scope="module")
def killed() -> Iterator[KilledPushes]:
    """Copies to be killed."""
    killed = KilledPushes()
    try:
        yield killed
    finally:
        killed.close()


@pytest.mark.slow
@pytest.mark.parametrize("arrives", [False, True], ids=["before a step", "after a step"])
@pytest.mark.parametrize("every", [20, pytest.param(1, marks=pytest.mark.slow)])
def test_a_pull_that_is_killed_at_each_step_goes_on_and_nothing_is_here_twice(
    tmp_path: Path, killed: KilledPushes, arrives: bool, every: int
) -> None:
    there = record(tmp_path / "there", "a")
    for number in itertools.count(1, every):
        here = Store.create(tmp_path / f"here {number}")
        far = Remotes(here).add("far", str(there.path))
        died = killed.push(here, far.name, number, arrives=arrives, pulled="Default")
        assert findings(here) == []
        assert_finished(here, far, pull)
        if not died:
            break
    assert number > 20  # a moment for each step of the pull


# --- two at once ---

PUSH = """
import sys
import time
from mltrack.store import Store
from mltrack_sync import Remotes, push
store = Store.open(sys.argv[1])
remote = Remotes(store).get(sys.argv[2])
sys.stdin.readline()
for _ in range(5):
    print(push(store, remote).points, flush=True)
"""


@pytest.mark.slow
def test_two_stores_that_push_into_one_concurrently_leave_each_point_in_it_once(tmp_path: Path) -> None:
    far = Store.create(tmp_path / "far")
    one, other = record(tmp_path / "one", "abcdef"), Store.create(tmp_path / "other")
    pull(other, Remotes(other).add("one", str(one.path)))  # so both have the same runs, and nobody else has them
    record(other.path, "ghi")
    for run_id in one.run_ids():
        for store, value in ((one, 7.0), (other, 8.0)):  # and both went on with them
            mltrack.set_store(store.path)
            with mltrack.start_run(run_id=run_id):
                mltrack.log_metric("more", value, step=1)
            mltrack.set_store(None)
    for store in (one, other):
        Remotes(store).add("far", str(far.path))
    Remotes(one).add("again", f"{far.path.parent}/./far")  # another name has a lock of its own
    _run_at_once(tmp_path, (one, "far"), (other, "far"), (one, "again"))
    for store in (one, other):
        assert verify(store, Remotes(store).get("far")).same
    assert findings(far) == []
    assert far.run_ids() == other.run_ids()
    for run_id in far.run_ids():
        both = run_id in one.run_ids()
        assert len(far.run(run_id).metrics("loss")) == POINTS
        assert sorted(far.run(run_id).metrics().to_pydict()["value"])[-2:] == [7.0, 8.0] or not both
        assert len(far.run(run_id).artifacts) == 2


def _run_at_once(tmp_path: Path, *pushes: tuple[Store, str]) -> None:
    """Push several at the same moment, each in a process."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PUSH, str(store.path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for store, name in pushes
    ]
    with ThreadPoolExecutor(len(processes)) as pool:
        outcomes = list(pool.map(lambda process: process.communicate("\n", timeout=120), processes))
    assert [process.returncode for process in processes] == [0] * len(processes), outcomes
