"""Syncers and servers killed at hundreds of random moments; longer runs, only when asked for."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mltrack.store import Store
from mltrack_sync import Remote, Remotes, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.http.retry import RetryPolicy
from tests.support.both_sides import assert_equal
from tests.support.forked_server import ForkedServer
from tests.support.server import MlflowServer
from tests.support.sync_runs import record
from tests.support.syncers import Syncers

KILLS = 300
SERVER_KILLS = 100


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_syncer_killed_at_three_hundred_random_moments_sends_each_point_once(
    store: Store, server: MlflowServer, remote: Remote, experiment: str, syncers: Syncers
) -> None:
    chance = random.Random(11)
    killed = run = 0
    while killed < KILLS:
        if chance.random() < 0.4:
            record(chance.randint(0, 1200), f"run {run}", files=chance.randint(0, 2))
            run += 1
        syncers.start(store, remote)
        syncers.ended.wait(chance.uniform(0, 0.25))
        killed += syncers.kill()
    push(store, remote)
    assert_equal(store, server, experiment)
    assert verify(store, remote).differences == ()
    assert push(store, remote).requests == 0


@pytest.fixture
def forked(tmp_path: Path) -> Iterator[ForkedServer]:
    (tmp_path / "forked").mkdir()
    server = ForkedServer(tmp_path / "forked")
    try:
        yield server
    finally:
        server.close()


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_server_killed_a_hundred_times_during_a_push_has_everything_once(
    store: Store, forked: ForkedServer, experiment: str
) -> None:
    remote = Remotes(store).add("mortal", forked.url)
    chance = random.Random(12)
    done = threading.Event()
    waits: list[float] = []
    broken_off: list[str] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        done.wait(min(seconds, 0.1))

    def keep_pushing() -> None:
        while not done.wait(0.02):
            try:
                push(store, remote, policy=RetryPolicy(attempts_max=4, sleep=wait))
            except RemoteUnavailableError as error:
                broken_off.append(str(error))

    pushing = threading.Thread(target=keep_pushing)
    forked.start()
    forked.post("experiments/search", max_results=1)  # a server killed while it makes its tables never works again
    pushing.start()
    try:
        for kill in range(SERVER_KILLS):
            record(chance.randint(0, 1500), f"run {kill}", files=chance.randint(0, 2))
            done.wait(chance.uniform(0, 0.5))
            forked.kill()
            forked.start()
    finally:
        done.set()
        pushing.join()
    assert len(waits) + len(broken_off) > SERVER_KILLS
    report = push(store, remote)
    assert report.rejected == ()
    # a file during which the server died in two passes waits for a minute, unless that is overruled
    assert all("waits for" in problem for problem in report.problems)
    assert push(store, remote, retry_rejected=True).complete
    assert_equal(store, forked, experiment)
    assert verify(store, remote).differences == ()
    assert push(store, remote).requests == 0
