"""Syncers killed at hundreds of random moments; a longer run, only when asked for."""

from __future__ import annotations

import random

import pytest
from both_sides import assert_equal
from mlflow_server import MlflowServer
from syncing import Syncers
from test_trust import record

from mltrack.reading import Store
from mltrack_sync import Remote, push
from mltrack_sync.verify import verify

KILLS = 300


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
