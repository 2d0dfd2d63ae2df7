"""Pulls and servers that die at any moment: pulled again, each point and file is there once."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mltrack.storage.check.check import check_store
from mltrack.store import Store
from mltrack_sync import Remote, Remotes, Selection, push
from mltrack_sync.engine.pull import pull
from mltrack_sync.engine.verify import verify
from mltrack_sync.http.retry import RetryPolicy
from tests.support.both_sides import local_points, remote_points
from tests.support.killed_push import KilledPushes
from tests.support.proxy import Answer, Cut, Fault, FaultyProxy, LoseAnswer, Seen
from tests.support.server import MlflowServer
from tests.support.server_content import (
    insert_points,
    log_points,
    make_model,
    make_run,
    make_version,
    pairs,
    put_file,
    series,
)
from tests.support.server_traces import record_traces


@pytest.fixture(scope="module")
def killed() -> Iterator[KilledPushes]:
    killed = KilledPushes()
    yield killed
    killed.close()


def fill(server: MlflowServer, experiment_id: str, points: int) -> list[str]:
    """Two runs, one of them with more than two pages of one metric, and files."""
    large = make_run(server, experiment_id, name="large", params={"a": "1"}, points=series("n", 900))
    insert_points(server, large, "m", points)
    small = make_run(server, experiment_id, name="small", tags={"b": "2"}, points=series("m", 5))
    for n in range(3):
        put_file(server, large, f"folder/{n}.bin", bytes([n]) * 100_000)
    return [large, small]


def assert_all_is_here(store: Store, server: MlflowServer, there: list[str]) -> None:
    found = {store.run(run_id).tags["mltrack.origin.run_id"]: store.run(run_id) for run_id in store.run_ids()}
    assert sorted(found) == sorted(there)
    for remote_id, run in found.items():
        remote = server.get("runs/get", run_id=remote_id)["run"]
        keys = {metric["key"] for metric in remote["data"]["metrics"]}
        points = local_points(store, run.run_id)
        assert points == remote_points(server, remote, keys)
        assert sum(each.count for each in run.summaries.values()) == len(points)
        assert run.info.status == "FINISHED"
        for artifact in run.artifacts:
            assert run.artifact_path(artifact.path).read_bytes() == server.artifact(remote, artifact.path)
    assert sum(len(run.artifacts) for run in found.values()) == 3


@pytest.mark.slow
def test_a_pull_killed_at_any_request_and_restarted_brings_each_point_once(
    tmp_path: Path,
    server: MlflowServer,
    experiment_id: str,
    experiment: str,
    mine: Selection,
    killed: KilledPushes,
) -> None:
    there = fill(server, experiment_id, 27_000)
    chance, deaths = random.Random(3), 0
    for n in range(2):
        store = Store.create(tmp_path / f"store {n}")
        remote = Remotes(store).add("there", server.url)
        for _ in range(4):
            number, arrives = chance.randint(3, 9), chance.random() < 0.5
            deaths += killed.push(store, remote.name, number, arrives=arrives, pulled=experiment)
            report = check_store(store.path)
            assert report.sound, report.findings
        pull(store, remote, selection=mine)
        assert_all_is_here(store, server, there)
        assert pull(store, remote, selection=mine).runs == 0
        sent = push(store, remote)
        assert (sent.created, sent.points, sent.artifacts) == (0, 0, 0)
    assert deaths


@pytest.mark.slow
def test_truncated_and_late_responses_lose_nothing(
    store: Store,
    server: MlflowServer,
    proxy: FaultyProxy,
    spoiled: Remote,
    experiment_id: str,
    mine: Selection,
    hasty: RetryPolicy,
) -> None:
    there = fill(server, experiment_id, 30_000)
    faults: list[Fault] = [Cut(), LoseAnswer(), Answer(503), Answer(429, headers={"Retry-After": "0"})]

    def fault(seen: Seen) -> Fault:
        return faults[seen.number % 4] if seen.number <= 2 else None

    proxy.fault = fault
    report = pull(store, spoiled, selection=mine, policy=hasty)
    assert report.complete
    assert_all_is_here(store, server, there)


@pytest.mark.slow
def test_a_pull_is_complete_although_the_server_was_killed_and_restarted_during_it(
    store: Store,
    server: MlflowServer,
    remote: Remote,
    proxy: FaultyProxy,
    spoiled: Remote,
    experiment_id: str,
    mine: Selection,
) -> None:
    there = fill(server, experiment_id, 60_000)
    killed = threading.Event()

    def fault(seen: Seen) -> Fault:
        if seen.path.endswith("get-history") and seen.number == 3 and not killed.is_set():
            killed.set()
            server.kill()
            server.start()
            return LoseAnswer()
        return None

    proxy.fault = fault
    pull(store, spoiled, selection=mine)
    assert killed.is_set()
    assert_all_is_here(store, server, there)


@pytest.mark.slow
def test_points_logged_during_a_pull_arrive_once(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment_id: str, mine: Selection
) -> None:
    there = make_run(server, experiment_id, status="RUNNING")
    insert_points(server, there, "m", 52_000)
    logged = threading.Event()

    def fault(seen: Seen) -> Fault:
        if seen.path.endswith("get-history") and seen.number == 2 and not logged.is_set():
            logged.set()  # two of them before what was read, so that all that follows moves to a later place
            log_points(server, there, [("m", 7, 1, 0.5), ("m", 8, 1002, 0.5), ("m", 52_000, 10**6, 0.5)])
        return None

    proxy.fault = fault
    pull(store, spoiled, selection=mine)
    proxy.fault = lambda seen: None
    server.post("runs/update", run_id=there, status="FINISHED", end_time=10**7)
    pull(store, spoiled, selection=mine)
    (run_id,) = store.run_ids()
    remote = server.get("runs/get", run_id=there)["run"]
    assert local_points(store, run_id) == remote_points(server, remote, {"m"})
    assert store.run(run_id).summaries["m"].count == 52_003


def fill_with_models_and_traces(server: MlflowServer, experiment_id: str, experiment: str) -> str:
    """Runs, a logged model, a registered model with two versions, an alias and tags, and traces; the model's name."""
    run_id = make_run(server, experiment_id, points=series("m", 10))
    put_file(server, run_id, "model/weights", b"1234")
    model_id = make_model(server, experiment_id, run_id, params={"depth": "3"})
    uri, name = server.get("runs/get", run_id=run_id)["run"]["info"]["artifact_uri"], f"tree of {experiment}"
    make_version(server, name, f"{uri}/model", run_id=run_id, tags={"k": "v"})
    make_version(server, name, f"models:/{model_id}", run_id=run_id, model_id=model_id)
    server.post("registered-models/alias", name=name, alias="champion", version="2")
    server.post("registered-models/set-tag", name=name, key="team", value="red")
    server.post("model-versions/transition-stage", name=name, version="1", stage="Staging")
    record_traces(server, experiment)
    return name


def assert_models_and_traces(store: Store, remote: Remote, server: MlflowServer, name: str) -> None:
    """All of it is here once, equal to what the server has, and nothing is to be sent back."""
    sent = push(store, remote)
    assert (sent.created, sent.points, sent.model_versions, sent.logged_models, sent.traces) == (0, 0, 0, 0, 0)
    compared = verify(store, remote)
    assert compared.differences == ()
    assert (compared.runs, compared.models, compared.model_versions, compared.logged_models) == (2, 1, 2, 1)
    assert (compared.traces, compared.spans, compared.assessments) == (2, 3, 3)
    assert [(v.version, v.stage) for v in store.registry.versions(name)] == [(1, "Staging"), (2, "None")]
    assert pairs(store.registry.get_model(name).tags) == pairs({"team": "red"})
    found = server.get("model-versions/search", filter=f"name='{name}'")["model_versions"]
    assert len(found) == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_a_pull_killed_at_each_request_brings_models_and_traces_once(
    tmp_path: Path, server: MlflowServer, experiment_id: str, experiment: str, mine: Selection, killed: KilledPushes
) -> None:
    name = fill_with_models_and_traces(server, experiment_id, experiment)
    number, died = 0, True
    while died:
        number += 1
        store = Store.create(tmp_path / f"store {number}")
        remote = Remotes(store).add("there", server.url)
        died = killed.push(store, remote.name, number, arrives=number % 2 == 0, pulled=experiment)
        assert check_store(store.path).sound
        if died and number % 3 == 0:  # and once more, wherever that is
            killed.push(store, remote.name, 6, arrives=True, pulled=experiment)
        report = pull(store, remote, selection=mine)
        assert report.complete, report.problems
        assert_models_and_traces(store, remote, server, name)
    assert number > 20


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_models_and_traces_come_once_though_answers_are_cut(
    store: Store,
    server: MlflowServer,
    proxy: FaultyProxy,
    spoiled: Remote,
    experiment_id: str,
    experiment: str,
    mine: Selection,
    hasty: RetryPolicy,
) -> None:
    name = fill_with_models_and_traces(server, experiment_id, experiment)
    faults: list[Fault] = [Cut(), LoseAnswer(), Answer(503), Answer(429, headers={"Retry-After": "0"})]

    def fault(seen: Seen) -> Fault:
        return faults[len(seen.path) % 4] if seen.number <= 2 else None

    proxy.fault = fault
    report = pull(store, spoiled, selection=mine, policy=hasty)
    assert report.complete, report.problems
    proxy.fault = lambda seen: None
    assert_models_and_traces(store, spoiled, server, name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MLflow's own
@pytest.mark.parametrize("call", ["registered-models/search", "model-versions/search", "traces/search", "traces/get"])
def test_a_server_killed_while_models_and_traces_are_pulled_and_started_again_gives_all(
    store: Store,
    server: MlflowServer,
    proxy: FaultyProxy,
    spoiled: Remote,
    experiment_id: str,
    experiment: str,
    mine: Selection,
    call: str,
) -> None:
    name = fill_with_models_and_traces(server, experiment_id, experiment)
    killed = threading.Event()

    def fault(seen: Seen) -> Fault:
        if seen.path.partition("?")[0].endswith(call) and not killed.is_set():
            killed.set()
            server.kill()
            server.start()
            return LoseAnswer()
        return None

    proxy.fault = fault
    pull(store, spoiled, selection=mine)
    assert killed.is_set()
    proxy.fault = lambda seen: None
    assert pull(store, spoiled, selection=mine).complete
    assert_models_and_traces(store, spoiled, server, name)
