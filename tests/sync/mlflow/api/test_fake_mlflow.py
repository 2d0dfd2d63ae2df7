"""The MLflow server in memory answers our clients as the real one does: the same calls on both, the same assertions."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from mltrack.entities import LoggedModel
from mltrack.environment import MODEL_ID_TAG, RUN_ID_TAG
from mltrack_sync.errors import RemoteRefusedError, RemoteUnavailableError
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.http.transport import Transport
from mltrack_sync.mlflow.api.client import MlflowClient
from mltrack_sync.mlflow.api.models import LoggedModelsClient
from mltrack_sync.mlflow.api.readback import ComparedClient
from mltrack_sync.mlflow.api.registry import RegistryClient
from mltrack_sync.mlflow.api.traces import TracesClient
from mltrack_sync.mlflow.plan.otlp import span_bodies
from mltrack_sync.mlflow.provider import MlflowWorkspace
from tests.support.fake_mlflow import FakeMlflow
from tests.support.server import MlflowServer
from tests.support.small_records import span_content


@pytest.fixture(params=["fake", "server"])
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    """Calls to the one and then to the other."""
    http: httpx.BaseTransport | None = None
    url = "http://fake"
    if request.param == "fake":
        http = FakeMlflow()
    else:
        server: MlflowServer = request.getfixturevalue("server")
        url = server.url
    made = Transport(MlflowWorkspace(url, environ={}), policy=RetryPolicy(sleep=lambda seconds: None), http=http)
    yield made
    made.close()


def test_runs_are_created_found_filled_and_deleted(transport: Transport, experiment: str) -> None:
    client = MlflowClient(transport)
    transport.check_connection()
    assert client.experiment_by_name(experiment) is None
    made = client.create_experiment(experiment, {"k": experiment})
    assert client.experiment_by_id(made).name == experiment
    found = client.experiment_by_tag("k", experiment)
    assert found is not None and (found.experiment_id, found.deleted) == (made, False)
    with pytest.raises(RemoteRefusedError) as caught:
        client.create_experiment(experiment, {})
    assert caught.value.code == "RESOURCE_ALREADY_EXISTS"

    run = client.create_run(made, name="one", user="u", start_time=5, tags={RUN_ID_TAG: "abc"})
    assert [each.run_id for each in client.find_runs(made, "abc")] == [run.run_id]
    assert client.find_runs(made, "other") == []
    for step in (2, 1):
        point = f'{{"key":"m","value":{step}.5,"timestamp":10,"step":{step}}}'
        client.log_batch(f'{{"run_id":"{run.run_id}","metrics":[{point}]}}'.encode(), repeatable=False)
    both = '"params":[{"key":"p","value":"1"}],"tags":[{"key":"t","value":"2"}]'
    client.log_batch(f'{{"run_id":"{run.run_id}",{both}}}'.encode(), repeatable=True)
    now = client.get_run(run.run_id)
    assert (now.latest, now.values, now.params, now.tags["t"]) == ({"m": (2, 10)}, {"m": 2.5}, {"p": "1"}, "2")
    history = [step for page in client.history(run.run_id, "m", 100) for step in page.steps.tolist()]
    assert sorted(history) == [1, 2]
    other = f'{{"run_id":"{run.run_id}","params":[{{"key":"p","value":"2"}}]}}'.encode()
    with pytest.raises(RemoteRefusedError):
        client.log_batch(other, repeatable=True)

    client.update_run(run.run_id, status="FINISHED", end_time=9, name="two")
    ended = client.get_run(run.run_id)
    assert (ended.status, ended.end_time, ended.name) == ("FINISHED", 9, "two")
    client.delete_tag(run.run_id, "t")
    client.delete_tag(run.run_id, "t")
    client.delete_run(run.run_id)
    assert client.get_run(run.run_id).deleted
    with pytest.raises(RemoteRefusedError):
        client.log_batch(other, repeatable=True)
    client.restore_run(run.run_id)
    with pytest.raises(RemoteRefusedError) as caught:
        client.get_run("f" * 32)
    assert caught.value.is_missing


def test_files_are_uploaded_and_listed(transport: Transport, experiment: str) -> None:
    client = MlflowClient(transport)
    run = client.create_run(client.create_experiment(experiment, {}), name="one", user="u", start_time=5, tags={})
    root = run.artifact_uri.removeprefix("mlflow-artifacts:/")
    client.put_artifact(f"{root}/folder/file.txt", lambda: iter([b"hel", b"lo"]), 5)
    assert client.list_artifacts(run.run_id, "") == {"folder": -1}
    assert client.list_artifacts(run.run_id, "folder") == {"folder/file.txt": 5}


def test_models_and_versions_are_created_once_and_changed(transport: Transport) -> None:
    client, name = RegistryClient(transport), f"model {uuid.uuid4().hex}"
    assert client.create_model(name, "first", {"a": "1"})
    assert not client.create_model(name, "second", {})
    assert client.versions(name) == []
    made = client.create_version(name, "s3://somewhere/else", run_id=None, description="d", tags={"mark": "x"})
    assert [(v.number, v.tags) for v in client.versions(name)] == [(made.number, {"mark": "x"})]
    client.tag_version(name, made.number, "k", "v")
    client.set_stage(name, made.number, "Staging")
    client.describe_version(name, made.number, "e")
    client.set_alias(name, "best", made.number)
    compared = ComparedClient(transport)
    model = compared.registered_model(name)
    assert model is not None and (model["description"], model["tags"]) == ("first", [{"key": "a", "value": "1"}])
    assert [(alias["alias"], str(alias["version"])) for alias in model["aliases"]] == [("best", made.number)]
    (there,) = compared.versions(name, prompts=False)
    assert (there["current_stage"], there["description"], there["source"]) == ("Staging", "e", "s3://somewhere/else")
    assert compared.registered_model(f"no {name}") is None
    client.set_alias(name, "best", None)
    client.set_alias(name, "best", None)
    now = client.get_version(name, made.number)
    assert (now.status, now.tags) == ("READY", {"mark": "x", "k": "v"})


def test_logged_models_are_created_filled_changed_and_deleted(transport: Transport, experiment: str) -> None:
    plain, client, compared = MlflowClient(transport), LoggedModelsClient(transport), ComparedClient(transport)
    where = plain.create_experiment(experiment, {})
    run = plain.create_run(where, name="one", user="u", start_time=5, tags={})
    assert client.find(where, "mine") == []
    tags = {MODEL_ID_TAG: "mine", "a": "1"}
    model = LoggedModel("mine", "0", "net", 5, 5, model_type="agent")
    made = client.create(where, model, run.run_id, params={"p": "1"}, tags=tags)
    assert [(each.model_id, each.uri) for each in client.find(where, "mine")] == [(made.model_id, made.uri)]
    assert (made.params, made.tags) == ({"p": "1"}, tags)
    client.log_params(made.model_id, {"q": "2"})
    with pytest.raises(RemoteRefusedError):
        client.log_params(made.model_id, {"q": "3"})
    client.set_tags(made.model_id, {"a": "2"})
    client.delete_tag(made.model_id, "no such")
    point = f'{{"key":"m","value":0.5,"timestamp":10,"step":1,"model_id":"{made.model_id}"}}'
    for _ in range(2):
        plain.log_batch(f'{{"run_id":"{run.run_id}","metrics":[{point}]}}'.encode(), repeatable=True)
    client.set_status(made.model_id, "READY")
    root = made.uri.removeprefix("mlflow-artifacts:/")
    plain.put_artifact(f"{root}/folder/w.bin", lambda: iter([b"hello"]), 5)
    assert compared.logged_model_files(made.model_id, "folder") == {"folder/w.bin": 5}
    (there,) = compared.logged_models([where], "mine")
    info, metrics = there["info"], there["data"]["metrics"]
    assert (info["name"], info["model_type"], info["source_run_id"]) == ("net", "agent", run.run_id)
    assert info["status"] == "LOGGED_MODEL_READY"
    assert [(row["key"], row["value"], row["run_id"]) for row in metrics] == [("m", 0.5, run.run_id)]
    assert [step for page in plain.history(run.run_id, "m", 10) for step in page.steps.tolist()] == [1]
    now = client.get(made.model_id)
    assert (now.params, now.tags["a"]) == ({"p": "1", "q": "2"}, "2")
    client.delete(made.model_id)
    assert client.find(where, "mine") == []
    assert compared.logged_model(made.model_id) is not None
    assert compared.logged_model("m-" + "0" * 32) is None


def test_traces_are_created_from_spans_and_info_and_changed(transport: Transport, experiment: str) -> None:
    plain, client, compared = MlflowClient(transport), TracesClient(transport), ComparedClient(transport)
    where = plain.create_experiment(experiment, {})
    run = plain.create_run(where, name="one", user="u", start_time=5, tags={})
    number = uuid.uuid4().int
    trace_id = f"tr-{number:032x}"
    assert compared.trace(trace_id) is None
    texts = [json.dumps(span_content(number, each, 1 if each > 1 else None)) for each in (1, 2)]
    client.send_spans(where, b"".join(span_bodies(trace_id, texts, 1 << 20)))
    feedback: dict[str, Any] = {"assessment_id": f"a-{number:x}", "assessment_name": "good", "trace_id": trace_id}
    feedback |= {"source": {"source_type": "HUMAN", "source_id": "me"}, "feedback": {"value": 0.5}, "valid": True}
    feedback |= dict.fromkeys(("create_time", "last_update_time"), "2023-11-14T22:13:20.000Z")
    info = {
        "trace_id": trace_id,
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": where}},
        "request_time": "2023-11-14T22:13:20.000Z",
        "execution_duration": "0.007s",
        "state": "OK",
        "trace_metadata": {"m": "1"},
        "tags": {"kind": "a"},
        "assessments": [feedback],
    }
    for _ in range(2):
        put = client.put(info)
    assert (put.experiment_id, put.tags["kind"], put.assessments) == (where, "a", (feedback["assessment_id"],))
    assert put.tags["mlflow.artifactLocation"].endswith(f"/traces/{trace_id}/artifacts")
    over = {**feedback, "assessment_id": f"b-{number:x}", "overrides": feedback["assessment_id"]}
    client.create_assessment(trace_id, over)
    with pytest.raises(RemoteUnavailableError):
        client.create_assessment(trace_id, over)
    client.set_tag(trace_id, "late", "1")
    client.delete_tag(trace_id, "kind")
    client.delete_tag(trace_id, "kind")
    client.link_to_run(run.run_id, [trace_id])
    found = compared.trace(trace_id)
    assert found is not None and len(found["spans"]) == 2
    about = found["trace_info"]
    assert (about["state"], about["execution_duration"], about["trace_metadata"]["m"]) == ("OK", "0.007s", "1")
    assert about["tags"].get("late") == "1" and "kind" not in about["tags"]
    assert {each["assessment_id"][0]: each["valid"] for each in about["assessments"]} == {"a": False, "b": True}
    client.delete_assessment(trace_id, over["assessment_id"])
    assert list(compared.trace_infos([trace_id, "tr-" + "0" * 32])) == [trace_id]
    assert client.get(trace_id).assessments == (feedback["assessment_id"],)


def test_models_prompts_and_their_versions_are_listed(transport: Transport) -> None:
    registry, reading, name = RegistryClient(transport), ComparedClient(transport), uuid.uuid4().hex
    is_prompt = {"mlflow.prompt.is_prompt": "true"}
    registry.create_model(name, "words", {"team": "red"})
    registry.create_version(name, "s3://x/model", run_id=None, description="first", tags={"k": "v"})
    registry.set_alias(name, "champion", "1")
    registry.create_model(f"{name} prompt", "", is_prompt)
    text = {**is_prompt, "mlflow.prompt.text": "hi"}
    registry.create_version(f"{name} prompt", "prompt-template", run_id=None, description="", tags=text)
    found = {}
    for prompts in (False, True):
        models = [row for page in reading.registered_models(prompts=prompts) for row in page]
        versions = [row for page in reading.all_versions(prompts=prompts) for row in page]
        found[prompts] = (
            [
                (row["name"].removeprefix(name), row.get("aliases", []), row["creation_timestamp"] > 0)
                for row in models
                if row["name"].startswith(name)
            ],
            [
                (row["name"].removeprefix(name), str(row["version"]), row["status"], row["creation_timestamp"] > 0)
                for row in versions
                if row["name"].startswith(name)
            ],
        )
    alias = [{"alias": "champion", "version": "1"}]
    assert found[False] == ([("", alias, True)], [("", "1", "READY", True)])
    assert found[True] == ([(" prompt", [], True)], [(" prompt", "1", "READY", True)])


def test_traces_are_listed_by_experiment_and_by_run(transport: Transport, experiment: str) -> None:
    client, traces, reading = MlflowClient(transport), TracesClient(transport), ComparedClient(transport)
    place = client.create_experiment(experiment, {})
    run = client.create_run(place, name="one", user="u", start_time=5, tags={})
    numbers = [uuid.uuid4().int for _ in range(2)]
    ids = [f"tr-{number:032x}" for number in numbers]
    for number, trace_id in zip(numbers, ids, strict=True):
        for body in span_bodies(trace_id, [json.dumps(span_content(number, 1, None))], 10**6):
            traces.send_spans(place, body)
    traces.link_to_run(run.run_id, ids[1:])
    listed = [row for page in reading.search_traces(place) for row in page]
    assert sorted(row["trace_id"] for row in listed) == sorted(ids)
    linked = [row for page in reading.traces_of_run(place, run.run_id) for row in page]
    assert [row["trace_id"] for row in linked] == ids[1:]
    assert list(reading.traces_of_run(place, "f" * 32)) == [[]]
