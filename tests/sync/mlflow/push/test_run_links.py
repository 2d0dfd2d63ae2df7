"""What runs are tied to, pushed to an MLflow server: datasets, models they used, models they made; each once."""

from __future__ import annotations

from typing import Any

import pytest

import mltrack
from mltrack.store import Store
from mltrack_sync import Remote, push
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.ledger.ledger import LedgerState
from mltrack_sync.remotes.ledgers import ledger_path
from mltrack_sync.status import status_of
from tests.support.command_line import run
from tests.support.proxy import Answer, Fault, FaultyProxy, LoseAnswer, Seen
from tests.support.server import MlflowServer

NOT_KNOWN = Answer(404, b"<!doctype html><title>404 Not Found</title>", {"Content-Type": "text/html"})


def dataset(name: str, digest: str = "abc") -> mltrack.Dataset:
    return mltrack.Dataset(name, digest, "http", '{"url": "http://data/x"}', '{"columns": []}', '{"rows": 3}')


def record(store: Store) -> tuple[str, str]:
    """A run that made a model from two datasets, and one that used that model; returns the run ids."""
    with mltrack.start_run() as run:
        run.log_input(dataset("training"), context="training", tags={"part": "front"})
        run.log_input(dataset("holdout"))
    first = run.run_id
    experiment_id = store.run(first).info.experiment_id
    model = store.logged_models.create(experiment_id, "net", source_run_id=first)
    with mltrack.start_run() as run:
        run.log_input(dataset("training"), context="validation")
        run._recorder.emit({"type": "model_input", "model_id": model.model_id})
    with mltrack.start_run(first) as again:
        again._recorder.emit({"type": "model_output", "model_id": model.model_id, "step": 7})
    return first, run.run_id


def ties(of: dict[str, Any]) -> dict[str, Any]:
    inputs, outputs = of.get("inputs", {}), of.get("outputs", {})
    datasets = {each["dataset"]["name"]: each for each in inputs.get("dataset_inputs", [])}
    assert len(datasets) == len(inputs.get("dataset_inputs", []))
    return {
        "datasets": datasets,
        "inputs": [each["model_id"] for each in inputs.get("model_inputs", [])],
        "outputs": [(each["model_id"], int(each.get("step", 0))) for each in outputs.get("model_outputs", [])],
    }


def assert_tied_once(server: MlflowServer, experiment: str, first: str, second: str) -> None:
    runs = server.runs(experiment)
    maker, user = (server.get("runs/get", run_id=runs[run_id]["info"]["run_id"])["run"] for run_id in (first, second))
    found = server.post("logged-models/search", experiment_ids=[maker["info"]["experiment_id"]])["models"]
    assert [model["info"]["name"] for model in found] == ["net"]
    assert found[0]["info"]["source_run_id"] == maker["info"]["run_id"]
    model_id = found[0]["info"]["model_id"]
    assert ties(maker)["outputs"] == [(model_id, 7)]
    assert ties(user)["inputs"] == [model_id]
    assert ties(maker)["datasets"].keys() == {"training", "holdout"}
    training = ties(maker)["datasets"]["training"]
    assert {tag["key"]: tag["value"] for tag in training["tags"]} == {
        "mlflow.data.context": "training",
        "part": "front",
    }
    here = dataset("training")
    assert training["dataset"] == {
        "name": here.name,
        "digest": here.digest,
        "source_type": here.source_type,
        "source": here.source,
        "schema": here.schema,
        "profile": here.profile,
    }
    assert ties(user)["datasets"]["training"]["tags"] == [{"key": "mlflow.data.context", "value": "validation"}]


def test_datasets_and_models_arrive_with_their_runs_and_can_be_searched_for(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    first, second = record(store)
    assert push(store, remote, dry_run=True).datasets == 3
    report = push(store, remote)
    assert (report.complete, report.datasets, report.logged_models) == (True, 3, 1), report
    assert_tied_once(server, experiment, first, second)
    found = server.post(
        "runs/search",
        experiment_ids=[server.experiment_id(experiment)],
        filter="dataset.name = 'training' AND dataset.context = 'validation'",
    )["runs"]
    assert [run["info"]["run_id"] for run in found] == [server.runs(experiment)[second]["info"]["run_id"]]
    assert push(store, remote).requests == 0
    with mltrack.start_run(second) as run:
        run.log_input(dataset("more"))
    assert push(store, remote).datasets == 1


@pytest.mark.parametrize("path", ["runs/log-inputs", "runs/outputs", "logged-models"])
def test_a_lost_answer_links_nothing_twice(
    path: str,
    store: Store,
    server: MlflowServer,
    proxy: FaultyProxy,
    spoiled: Remote,
    experiment: str,
    hasty: RetryPolicy,
) -> None:
    first, second = record(store)
    proxy.fault = lambda seen: LoseAnswer() if seen.path.endswith(f"/{path}") and seen.number == 1 else None
    assert push(store, spoiled, policy=hasty).complete
    assert_tied_once(server, experiment, first, second)


def test_a_lost_ledger_links_nothing_twice(store: Store, server: MlflowServer, remote: Remote, experiment: str) -> None:
    first, second = record(store)
    push(store, remote)
    ledger_path(store, remote).unlink()
    report = push(store, remote)
    assert (report.complete, report.created) == (True, 0)
    assert_tied_once(server, experiment, first, second)


def test_a_server_that_supports_neither_is_asked_once_and_gets_both_once_it_supports_them(
    store: Store, server: MlflowServer, proxy: FaultyProxy, spoiled: Remote, experiment: str
) -> None:
    first, second = record(store)

    def old(seen: Seen) -> Fault:
        return NOT_KNOWN if "logged-models" in seen.path or seen.path.endswith("runs/log-inputs") else None

    proxy.fault = old
    report = push(store, spoiled, jobs=1)
    assert report.unsupported == (
        "datasets: this server does not take them; 2 runs have some that wait",
        "logged models: this server does not take them; 1 waits",
    )
    assert (report.complete, report.rejected, report.problems) == (False, (), ())
    assert (proxy.count("runs/log-inputs"), proxy.count("logged-models/search")) == (1, 1)
    assert server.runs(experiment).keys() == {first, second}
    status = status_of(store, spoiled)
    assert (status.pending_runs, status.pending_links, status.pending_logged_models) == (0, 2, 1)
    again = push(store, spoiled)
    assert (again.runs, len(again.unsupported), proxy.count("logged-models/search")) == (0, 2, 2)
    proxy.fault = lambda seen: None
    report = push(store, spoiled)
    assert (report.complete, report.datasets, report.logged_models) == (True, 3, 1)
    assert_tied_once(server, experiment, first, second)
    assert push(store, spoiled).requests == 0


def test_the_command_says_in_one_line_what_the_server_does_not_support_and_exits_with_3(
    store: Store, proxy: FaultyProxy, spoiled: Remote
) -> None:
    record(store)
    proxy.fault = lambda seen: NOT_KNOWN if "logged-models" in seen.path else None
    done = run(store, "sync", spoiled.name)
    words = "logged models: this server does not take them; 1 waits"
    assert (done.exit_code, done.output.count(words)) == (3, 1)
    assert "spoiled: 1 logged model pending" in run(store, "status").output
    proxy.fault = lambda seen: None
    done = run(store, "sync", spoiled.name)
    assert (done.exit_code, "logged models" in done.output) == (0, True)
    assert run(store, "sync", spoiled.name).output.endswith("nothing to send\n")


def test_a_rewritten_ledger_has_the_same_content(store: Store, remote: Remote) -> None:
    record(store)
    push(store, remote)
    state, again = LedgerState.read(ledger_path(store, remote)), LedgerState()
    for line in state.compacted():
        again.apply(line)
    assert (again.logged, again.runs, again.traces) == (state.logged, state.runs, state.traces)
    assert any(entry.linked for entry in again.runs.values())


def test_a_dataset_that_is_refused_is_rejected_and_the_others_arrive(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    with mltrack.start_run() as run:
        run.log_input(dataset("fine"))
        run.log_input(dataset("n" * 501))
    report = push(store, remote)
    assert [(item.run_id, item.kind) for item in report.rejected] == [(run.run_id, "dataset")]
    assert report.datasets == 1
    remote_run = server.get("runs/get", run_id=server.runs(experiment)[run.run_id]["info"]["run_id"])["run"]
    assert ties(remote_run)["datasets"].keys() == {"fine"}
    assert push(store, remote).requests == 0
    assert len(push(store, remote, retry_rejected=True).rejected) == 1
