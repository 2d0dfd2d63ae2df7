"""Syncers killed at hundreds of random moments; a longer run, only when asked for."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from both_sides import assert_equal
from mlflow_server import MlflowServer
from test_trust import record

from mltrack.reading import Store
from mltrack_sync import Remote, push
from mltrack_sync.verify import verify

SYNCING = str(Path(__file__).with_name("syncing.py"))


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_syncer_killed_at_three_hundred_random_moments_sends_each_point_once(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    chance = random.Random(11)
    killed = 0
    for n in range(300):
        record(chance.randint(0, 3000), f"run {n}", files=chance.randint(0, 3))
        process = subprocess.Popen([sys.executable, SYNCING, str(store.path), remote.name], env=dict(os.environ))
        time.sleep(chance.uniform(0.3, 2.5))
        killed += process.poll() is None
        process.kill()
        process.wait()
    assert killed > 100
    push(store, remote)
    assert_equal(store, server, experiment)
    assert verify(store, remote).differences == ()
    assert push(store, remote).requests == 0
