"""Syncers that die at any moment while they send a sample: the sample and the files are on the server once."""

from __future__ import annotations

import random
from collections import Counter

import pytest

import mltrack
from mltrack.store import Store
from mltrack_sync import Remote, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.ledger.runs import Sampled
from mltrack_sync.mlflow.plan.sampled_points import sampled_points
from tests.support.killing import killed_at_requests
from tests.support.proxy import FaultyProxy
from tests.support.server import MlflowServer
from tests.support.syncers import Syncers

N = 400
POINTS = 20_000


def record(runs: int) -> None:
    for n in range(runs):
        with mltrack.start_run(run_name=f"run {n}", history=N):
            mltrack.log_series("noise", [(step * 7919) % 1009 for step in range(POINTS)])
            mltrack.log_series("line", [step * 0.5 for step in range(POINTS)])
            mltrack.log_text("x" * 1000, "file.txt")


def chosen(store: Store, run_id: str) -> Counter[tuple[str, int]]:
    run = store.run(run_id)
    ends = {writer.writer: writer.position.points for writer in run.writers()}
    found: Counter[tuple[str, int]] = Counter()
    for points in sampled_points(run, Sampled(N, ended=ends)):
        found.update((points.keys[code], step) for code, step in zip(points.codes, points.steps.tolist(), strict=True))
    return found


@pytest.mark.slow
def test_a_syncer_killed_at_random_requests_sends_each_point_of_the_sample_once(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str, syncers: Syncers
) -> None:
    record(3)
    chance = random.Random(4)
    moments = [(chance.randint(1, 9), chance.random() < 0.5) for _ in range(12)]
    assert killed_at_requests(syncers, store, spoiled, proxy, moments) >= 6
    assert push(store, spoiled).complete
    on_server = server.runs(experiment)
    for run in store.runs():
        remote_id = on_server[run.run_id]["info"]["run_id"]
        there = Counter((key, step) for key in ("noise", "line") for step, _, _ in server.history(remote_id, key))
        assert there == chosen(store, run.run_id)
        assert N < there.total() < 2 * 2 * N
    report = verify(store, spoiled)
    assert report.differences == ()
    assert push(store, spoiled).requests == 0
