"""After each fault both sides are equal, each point is there once, and a further sync sends nothing."""

from __future__ import annotations

import os
import random
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import mltrack
from mltrack.errors import BusyError, RemoteError
from mltrack.store import Store
from mltrack_sync import Remote, Remotes, push
from mltrack_sync.engine.lock import sync_lock
from mltrack_sync.engine.verify import verify
from mltrack_sync.errors import LedgerError, RemoteUnavailableError
from mltrack_sync.gc import Deletable, execute, plan_gc
from mltrack_sync.http.rate_limit import RateLimiter
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.remotes.ledgers import ledger_path
from mltrack_sync.status import status_of
from tests.support.both_sides import assert_equal
from tests.support.proxy import Cut, Fault, FaultyProxy, Seen
from tests.support.server import MlflowServer
from tests.support.sync_runs import record


def assert_settled(store: Store, server: MlflowServer, remote: Remote, experiment: str) -> None:
    assert_equal(store, server, experiment)
    assert verify(store, remote).differences == ()
    again = push(store, remote)
    assert (again.points, again.artifacts, again.requests) == (0, 0, 0)


def flipped(data: bytes) -> Iterator[bytes]:
    """The file with one byte changed, once for each line."""
    at = 0
    for line in data.splitlines(keepends=True):
        middle = at + len(line) // 2
        yield data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        at += len(line)


def survive(store: Store, server: MlflowServer, remote: Remote, experiment: str, ledger: bytes) -> None:
    ledger_path(store, remote).write_bytes(ledger)
    push(store, remote)
    assert_settled(store, server, remote, experiment)


@pytest.mark.slow
def test_a_ledger_with_any_line_damaged_duplicates_nothing(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    record()
    push(store, remote)
    for spoiled in flipped(ledger_path(store, remote).read_bytes()):
        survive(store, server, remote, experiment, spoiled)


@pytest.mark.slow
def test_a_ledger_cut_anywhere_duplicates_nothing(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    record()
    push(store, remote)
    data = ledger_path(store, remote).read_bytes()
    for end in random.Random(3).sample(range(len(data)), 8):
        survive(store, server, remote, experiment, data[:end])


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_ledger_cut_at_every_byte_duplicates_nothing(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    record(5, files=1)
    push(store, remote)
    data = ledger_path(store, remote).read_bytes()
    for end in range(len(data)):
        ledger_path(store, remote).write_bytes(data[:end])
        push(store, remote)
        assert_equal(store, server, experiment)
        if end % 10 == 0:
            assert push(store, remote).requests == 0
    assert verify(store, remote).differences == ()


def test_a_network_outage_costs_only_time(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str, hasty: RetryPolicy
) -> None:
    for n in range(3):
        record(1500, f"run {n}")
    failures = 0
    proxy.fault = lambda seen: Cut() if len(proxy.seen) > 6 and failures < 2 else None  # away for two passes
    while failures < 40:
        try:
            if push(store, spoiled, policy=hasty).complete:
                break
        except RemoteUnavailableError:
            pass
        failures += 1
    proxy.fault = lambda seen: None
    push(store, spoiled, policy=hasty)
    assert failures >= 2
    assert proxy.points_taken == 4500
    assert_settled(store, server, spoiled, experiment)


@pytest.fixture
def small_disk(store: Store) -> Iterator[Path]:
    """A file system of 40 KB under the ledgers."""
    folder = store.path / "remotes"
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.slow
def test_a_full_disk_under_the_ledger_stops_the_push_and_the_next_push_continues(
    small_disk: Path, store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str
) -> None:
    for n in range(4):
        record(3000, f"run {n}")
    filler = small_disk / "filler"

    def fault(seen: Seen) -> Fault:
        if seen.path.endswith("log-batch") and seen.number == 3:
            with open(filler, "wb") as file:
                try:
                    while True:
                        os.write(file.fileno(), bytes(256))
                except OSError:
                    pass
        return None

    proxy.fault = fault
    with pytest.raises((LedgerError, RemoteError), match="ledger"):
        for _ in range(40):  # the page that is open may have room for a while
            push(store, spoiled)
            record(1, files=0)
    proxy.fault = lambda seen: None
    filler.unlink()
    push(store, spoiled)
    assert proxy.points_taken == sum(run.head().points for run in store.runs())
    assert_settled(store, server, spoiled, experiment)


def test_a_clock_that_jumps_changes_nothing(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    for n, now in enumerate([2**60, 1, 2**62, 0]):
        record(10, f"run {n}")
        assert push(store, remote, clock=partial(int, now)).complete
    assert_settled(store, server, remote, experiment)
    record(1)
    assert status_of(store, remote, clock=lambda: 0).lag_s == 0


@pytest.mark.slow
def test_each_remote_has_its_own_ledger(
    store: Store, server: MlflowServer, remote: Remote, experiment: str, tmp_path: Path
) -> None:
    (tmp_path / "second").mkdir()
    second = MlflowServer(tmp_path / "second")
    try:
        second.start()
        other = Remotes(store).add("second", second.url)
        record(30)
        push(store, remote)
        before = status_of(store, other)
        assert (before.pending_runs, before.pending_points, before.pending_artifacts) == (1, 30, 2)
        assert status_of(store, remote).pending_runs == 0
        record(20)
        assert push(store, other).points == 50
        assert push(store, remote).points == 20
        for there, where in ((server, remote), (second, other)):
            assert_settled(store, there, where, experiment)
            now = status_of(store, where)
            assert (now.pending_runs, now.pending_points, now.pending_bytes, now.oldest_pending) == (0, 0, 0, 0)
    finally:
        second.close()


def test_the_lag_is_the_age_of_the_oldest_pending_point(store: Store, remote: Remote) -> None:
    with mltrack.start_run() as run:
        mltrack.log_metric("m", 1.0)
    first = next(points for _, points in store.run(run.run_id).read_points())
    opened = store.run(run.run_id).writers()[0].opened
    status = status_of(store, remote, clock=lambda: opened + 90 * 10**9)
    assert opened <= status.oldest_pending <= int(first.times[0])
    assert 89 < status.lag_s <= 90


def test_a_file_changed_while_it_is_sent_does_not_count_as_sent(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    with mltrack.start_run() as run:
        mltrack.log_text("a" * 3_000_000, "big.txt")
    path = store.run(run.run_id).artifact_path("big.txt")
    slept: list[float] = []

    def change(seconds: float) -> None:
        if not slept:
            path.write_text("b" * 3_000_000)
        slept.append(seconds)

    report = push(store, remote, pace=RateLimiter(1_000_000, sleep=change))
    assert report.artifacts == 0
    assert "big.txt" in report.problems[0]
    path.write_text("a" * 3_000_000)
    assert push(store, remote).artifacts == 1
    assert_settled(store, server, remote, experiment)


def test_gc_and_sync_exclude_each_other_and_name_the_process_that_runs(
    store: Store, server: MlflowServer, remote: Remote
) -> None:
    run_id = record(5)
    push(store, remote)
    plan = plan_gc(store, remote)
    folder = store.layout.remote(remote.name)
    with sync_lock(folder, remote.name), pytest.raises(BusyError, match=f"mltrack sync.*process {os.getpid()} on"):
        execute(store, plan)
    assert store.run_ids() == [run_id]
    caught: list[str] = []

    def sync(freed: Deletable) -> None:
        with pytest.raises(BusyError) as busy:
            push(store, remote)
        caught.append(str(busy.value))

    execute(store, plan, on_deleted=sync)
    assert f"mltrack gc to 'there' is running (process {os.getpid()} on" in caught[0]
    assert push(store, remote).complete


def test_a_stop_ends_the_wait_for_the_rate_limit_in_the_middle_of_a_file(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    with mltrack.start_run():
        mltrack.log_text("a" * 1_000_000, "big.txt")
    stop = threading.Event()
    pieces = 0

    def clock() -> float:
        nonlocal pieces
        pieces += 1
        if pieces == 30:
            stop.set()
        return 0.0

    report = push(store, remote, pace=RateLimiter(1_000_000, clock=clock), stop=stop)
    assert report.artifacts == 0
    assert push(store, remote).artifacts == 1
    assert_settled(store, server, remote, experiment)
