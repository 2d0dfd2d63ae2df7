"""One thing that a server refuses never keeps another from arriving; what is cured is tried again by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import mltrack
from mltrack.disk.codec import encode_line
from mltrack.store import Store
from mltrack_sync import Remote, Remotes, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.errors import RemoteAuthError
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.report import PushReport
from mltrack_sync.status import status_of
from tests.support.fake_mlflow import FakeMlflow
from tests.support.proxy import Answer, Fault, FaultyProxy, Seen
from tests.support.server import MlflowServer

REFUSED = Answer(400, json.dumps({"error_code": "INVALID_PARAMETER_VALUE", "message": "not this one"}).encode())


def record(count: int = 1) -> list[str]:
    runs = []
    for _ in range(count):
        with mltrack.start_run(run_name="named") as run:
            mltrack.log_metric("m", 1)
            mltrack.set_tag("team", "vision")
            runs.append(run.run_id)
    return runs


def refusing(word: bytes, *ends: str) -> Callable[[Seen], Fault]:
    """A server that does not take what holds this word."""
    return lambda seen: REFUSED if word in seen.body and seen.path.endswith(ends) else None


def rejected(report: PushReport) -> list[tuple[str, str]]:
    return sorted((item.kind, item.key) for item in report.rejected)


def test_a_refused_experiment_tag_is_rejected_alone(
    store: Store, remote: Remote, server: MlflowServer, experiment: str
) -> None:
    mltrack.set_experiment_tag("owner@team", "me")
    mltrack.set_experiment_tag("long", "x" * 30_000)
    mltrack.set_experiment_tag("good", "yes")
    record(2)
    first = push(store, remote)
    experiment_id = store.run(next(iter(store.heads()))).info.experiment_id
    assert first.runs == 2
    assert rejected(first) == [("experiment tag", f"{experiment_id}/{key}") for key in ("long", "owner@team")]
    requests = push(store, remote).requests
    assert requests < 10
    mltrack.set_experiment_tag("long", "short")
    record(1)
    assert rejected(push(store, remote)) == [("experiment tag", f"{experiment_id}/owner@team")]


def test_a_tag_that_only_the_server_refuses_is_found_and_rejected(
    store: Store, proxy: FaultyProxy, spoiled: Remote, hasty: RetryPolicy
) -> None:
    mltrack.set_experiment_tag("bad", "SPOILED")
    mltrack.set_experiment_tag("good", "yes")
    record(3)
    proxy.fault = refusing(b"SPOILED", "experiments/create", "set-experiment-tag")
    report = push(store, spoiled, policy=hasty)
    assert report.runs == 3
    assert [item.kind for item in report.rejected] == ["experiment tag"]
    assert report.rejected[0].reason == "not this one"
    proxy.fault = lambda seen: None
    assert push(store, spoiled, policy=hasty).complete


@pytest.mark.parametrize("word", [b"named", b"vision", b"mltrack.source"])
def test_refused_tags_of_a_new_run_do_not_prevent_its_creation(
    store: Store, proxy: FaultyProxy, spoiled: Remote, hasty: RetryPolicy, word: bytes
) -> None:
    record(2)
    proxy.fault = refusing(word, "runs/create", "runs/update", "log-batch")
    report = push(store, spoiled, policy=hasty)
    assert (report.runs, report.points) == (2, 2)
    kinds = {b"named": {"run name"}, b"vision": {"tag"}}.get(word, set())
    assert {item.kind for item in report.rejected} <= {"run name", "tag"}
    assert kinds <= {item.kind for item in report.rejected}
    proxy.fault = lambda seen: None
    assert push(store, spoiled, policy=hasty, retry_rejected=True).complete


def test_a_tag_that_cannot_be_deleted_holds_nothing_back(
    store: Store, proxy: FaultyProxy, spoiled: Remote, hasty: RetryPolicy
) -> None:
    (run_id,) = record()
    push(store, spoiled, policy=hasty)
    with mltrack.start_run(run_id=run_id):
        mltrack.delete_tag("team")
        mltrack.log_metric("m", 2, step=1)
    proxy.fault = lambda seen: REFUSED if seen.path.endswith("delete-tag") else None
    report = push(store, spoiled, policy=hasty)
    assert (report.points, rejected(report)) == (1, [("tag", "team")])
    proxy.fault = lambda seen: None
    assert push(store, spoiled, policy=hasty, retry_rejected=True).complete


def test_refused_tags_of_registered_models_and_versions_are_rejected_alone(
    store: Store, remote: Remote, server: MlflowServer
) -> None:
    with mltrack.start_run() as run:
        mltrack.log_text("x", "model/MLmodel")
    name = f"net {run.run_id}"
    registry = store.registry
    registry.create_model(name, tags={"good": "1", "bad@": "2"})
    mltrack.register_model(f"runs:/{run.run_id}/model", name)
    registry.set_version_tag(name, 1, "worse@", "3")
    registry.set_version_tag(name, 1, "fine", "4")
    registry.set_alias(name, "best", 1)
    report = push(store, remote)
    assert (report.models, report.model_versions) == (1, 1)
    assert rejected(report) == [("model tag", f"{name}/bad@"), ("model version tag", f"{name}/1/worse@")]
    again = push(store, remote)
    assert (again.requests, rejected(again)) == (0, rejected(report))
    found = server.post("registered-models/get-latest-versions", name=name)["model_versions"][0]
    assert {tag["key"] for tag in found["tags"]} == {"fine", "mltrack.model_version"}


# --- cured -------------------------------------------------------------------------------------------------------


def test_runs_arrive_once_their_experiment_is_restored_on_the_remote(
    store: Store, remote: Remote, server: MlflowServer, experiment: str
) -> None:
    made = server.post("experiments/create", name=experiment)["experiment_id"]
    server.post("experiments/delete", experiment_id=made)
    record(20)
    first = push(store, remote)
    assert [item.kind for item in first.rejected] == ["run"] * 20
    assert "restore it there" in first.rejected[0].reason
    ledger = store.layout.remote("there") / "ledger.jsonl"
    size = ledger.stat().st_size
    second = push(store, remote)
    assert second.requests <= 5  # however many runs it keeps back
    assert ledger.stat().st_size < size + 1000
    assert push(store, remote, retry_cured=False).requests == 0
    server.post("experiments/restore", experiment_id=made)
    third = push(store, remote)
    assert (third.runs, third.complete) == (20, True)


def test_a_run_that_is_restored_on_the_remote_gets_the_rest_without_being_asked(
    store: Store, remote: Remote, server: MlflowServer, experiment: str
) -> None:
    (run_id,) = record()
    push(store, remote)
    there = server.runs(experiment)[run_id]["info"]["run_id"]
    server.post("runs/delete", run_id=there)
    with mltrack.start_run(run_id=run_id):
        mltrack.log_metric("m", 2, step=1)
    assert rejected(push(store, remote)) == [("run", "")]
    server.post("runs/restore", run_id=there)
    report = push(store, remote)
    assert (report.points, report.complete) == (1, True)


@pytest.mark.parametrize("name", ["x" * 600, "half \ud800"])
def test_a_name_that_no_server_accepts_is_reported_and_fixed_by_renaming(
    store: Store, remote: Remote, experiment: str, name: str
) -> None:
    record()
    experiment_id = store.run(next(iter(store.heads()))).info.experiment_id
    store.workspace.rename(experiment_id, name)
    mltrack.set_experiment(f"{experiment} other")
    record()
    report = push(store, remote)
    assert (report.runs, [item.kind for item in report.rejected]) == (1, ["run"])
    store.workspace.rename(experiment_id, f"{experiment} cured")
    assert push(store, remote).complete


def test_a_forbidden_experiment_holds_no_other_back_and_arrives_once_it_is_allowed(
    store: Store, proxy: FaultyProxy, spoiled: Remote, hasty: RetryPolicy, experiment: str
) -> None:
    record(5)
    mltrack.set_experiment(f"{experiment} allowed")
    record(1)
    forbidden = Answer(403, b'{"error_code":"PERMISSION_DENIED","message":"Permission denied"}')

    def fault(seen: Seen) -> Fault:
        is_it = b"allowed" not in seen.body + seen.query.encode()
        ends = ("experiments/get-by-name", "experiments/create")
        return forbidden if is_it and seen.path.endswith(ends) else None

    proxy.fault = fault
    report = push(store, spoiled, policy=hasty)
    assert (report.runs, [item.kind for item in report.rejected]) == (1, ["run"] * 5)
    assert "Permission denied" in report.rejected[0].reason
    proxy.fault = lambda seen: None
    assert push(store, spoiled, policy=hasty).complete


def test_a_user_without_any_permission_gets_an_error_at_once(
    store: Store, proxy: FaultyProxy, spoiled: Remote, hasty: RetryPolicy
) -> None:
    record(10)
    proxy.fault = lambda seen: Answer(403, b'{"message":"no"}') if seen.path.endswith("runs/create") else None
    with pytest.raises(RemoteAuthError, match="403"):
        push(store, spoiled, policy=hasty, jobs=1)
    assert proxy.count("runs/create") <= 3 * 2 * 2
    proxy.fault = lambda seen: None
    assert push(store, spoiled, policy=hasty).complete


@pytest.mark.parametrize(
    "line",
    [
        {"type": "run"},
        {"type": "run", "run": 5, "remote": [], "experiment": None, "uri": 1},
        {"type": "ack", "run": "a", "at": {"w": [-1, "x"]}},
        {"type": "rejected"},
        {"type": 5},
        {},
        {"type": "experiment", "local": "0", "remote": 7, "tags": []},
        {"type": "logged_model_state", "model": "m"},
    ],
)
def test_a_ledger_of_an_unexpected_shape_is_reported_in_one_line_and_nothing_is_lost(
    store: Store, line: dict[str, Any]
) -> None:
    fake = FakeMlflow()
    remote = Remotes(store).add("fake", "http://fake")
    record()
    push(store, remote, http=fake)
    path = store.layout.remote("fake") / "ledger.jsonl"
    with open(path, "ab") as file:
        file.write(encode_line(line))
    damage = status_of(store, remote).damage
    assert len(damage) == 1
    assert str(path) in damage[0]
    assert "nothing is lost" in damage[0]
    record()
    report = push(store, remote, http=fake)
    assert report.problems == damage
    assert verify(store, remote, http=fake).same
    assert push(store, remote, http=fake).complete
    assert len(fake.runs) == 2
    assert status_of(store, remote).damage == ()
