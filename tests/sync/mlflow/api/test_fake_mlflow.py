"""The MLflow server in memory answers our clients as the real one does: the same calls on both, the same assertions."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import httpx
import pytest

from mltrack.environment import RUN_ID_TAG
from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.http.transport import Transport
from mltrack_sync.mlflow.api.client import MlflowClient
from mltrack_sync.mlflow.api.readback import ComparedClient
from mltrack_sync.mlflow.api.registry import RegistryClient
from mltrack_sync.mlflow.provider import MlflowWorkspace
from tests.support.fake_mlflow import FakeMlflow
from tests.support.server import MlflowServer


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
    made = Transport(MlflowWorkspace(url, environ={}), policy=RetryPolicy(), http=http)
    yield made
    made.close()


def test_runs_are_made_found_filled_and_deleted(transport: Transport, experiment: str) -> None:
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


def test_files_are_put_and_listed(transport: Transport, experiment: str) -> None:
    client = MlflowClient(transport)
    run = client.create_run(client.create_experiment(experiment, {}), name="one", user="u", start_time=5, tags={})
    root = run.artifact_uri.removeprefix("mlflow-artifacts:/")
    client.put_artifact(f"{root}/folder/file.txt", lambda: iter([b"hel", b"lo"]), 5)
    assert client.list_artifacts(run.run_id, "") == {"folder": -1}
    assert client.list_artifacts(run.run_id, "folder") == {"folder/file.txt": 5}


def test_models_and_versions_are_made_once_and_changed(transport: Transport) -> None:
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
