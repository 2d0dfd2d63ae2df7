"""Syncers and servers that die at any moment: started again, both sides are equal and each point is there once."""

from __future__ import annotations

import random
import socket
import threading

import pytest

import mltrack
from mltrack.store import Store
from mltrack_sync import Remote, push
from tests.support.both_sides import assert_equal
from tests.support.killing import killed_at_requests
from tests.support.proxy import Fault, FaultyProxy, LoseAnswer, Seen
from tests.support.server import MlflowServer
from tests.support.syncers import Syncers


def record(runs: int, points: int) -> None:
    for n in range(runs):
        with mltrack.start_run(run_name=f"run {n}"):
            mltrack.log_params({"n": n, "a": 1})
            for step in range(points):
                mltrack.log_metric("m", step * 0.25, step=step)
                if step % 5 == 0:
                    mltrack.log_metric("again", step * 1.0, step=-step // 50)
            mltrack.log_text("x" * 1000, "file.txt")


@pytest.mark.slow
def test_a_syncer_killed_at_random_requests_and_resumed_sends_each_point_once(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str, syncers: Syncers
) -> None:
    record(2, 3000)
    chance = random.Random(1)
    moments = [(chance.randint(1, 9), chance.random() < 0.5) for _ in range(7)]
    assert killed_at_requests(syncers, store, spoiled, proxy, moments) >= 4
    push(store, spoiled)
    assert_equal(store, server, experiment)
    assert proxy.points_taken == sum(run.head().points for run in store.runs())
    before = len(proxy.seen)
    assert push(store, spoiled).points == 0
    assert len(proxy.seen) == before


def test_a_request_cut_in_its_body_neither_reaches_the_server_nor_blocks_the_proxy(proxy: FaultyProxy) -> None:
    with socket.create_connection(("127.0.0.1", int(proxy.url.rpartition(":")[2]))) as connection:
        connection.sendall(b"POST /api/2.0/mlflow/runs/log-batch HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{")
        proxy.wait_begun()
    proxy.wait_idle()
    assert proxy.seen == []


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_syncer_killed_a_hundred_times_sends_each_point_once(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str, syncers: Syncers
) -> None:
    record(6, 10_000)
    chance = random.Random(2)
    moments = [(chance.randint(1, 12), chance.random() < 0.5) for _ in range(100)]
    assert killed_at_requests(syncers, store, spoiled, proxy, moments) > 20
    push(store, spoiled)
    assert_equal(store, server, experiment)
    assert proxy.points_taken == sum(run.head().points for run in store.runs())


@pytest.mark.slow
def test_a_server_killed_during_a_push_and_restarted_has_everything(
    store: Store, server: MlflowServer, remote: Remote, proxy: FaultyProxy, spoiled: Remote, experiment: str
) -> None:
    record(2, 1500)
    restarted = threading.Event()
    starter: list[threading.Thread] = []

    def restart() -> None:
        server.kill()
        server.start()
        restarted.set()

    def fault(seen: Seen) -> Fault:
        if seen.path.endswith("log-batch") and seen.number == 2:
            starter.append(threading.Thread(target=restart))
            starter[0].start()
            return LoseAnswer()
        if starter:
            restarted.wait(60)
        return None

    proxy.fault = fault
    push(store, spoiled)
    starter[0].join()
    assert_equal(store, server, experiment)
    assert push(store, remote).points == 0  # another ledger, the same runs: found there, not sent again
    assert_equal(store, server, experiment)
