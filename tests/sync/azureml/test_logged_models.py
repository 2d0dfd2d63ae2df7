"""Logged models and versions made of them, pushed to a workspace that has none: their files go to their runs, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml

import mltrack
from mltrack.store import Store
from mltrack_sync import Remote, push
from mltrack_sync.engine.verify import verify
from mltrack_sync.gc import plan_gc
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.remotes.ledgers import ledger_path
from mltrack_sync.status import status_of
from tests.support.azure.emulator import AzureEmulator, Contents, Cut, LoseAnswer, unavailable
from tests.support.mlflow_recording import log_adder, mlflow_on, uri_of
from tests.support.model_recording import mlmodel_there, put_file, record_model

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's and its libraries', not ours

HASTY = RetryPolicy(sleep=lambda seconds: None)
LACKING = "logged models: this server does not take them; {} (files in their runs: {})"


def record_run(**files: str) -> str:
    with mltrack.start_run() as run:
        mltrack.log_metric("acc", 0.5)
        for name, text in files.items():
            mltrack.log_text(text, f"{name}/words.txt")
    return run.run_id


def there(contents: Contents, experiment: str, run_id: str) -> tuple[dict[str, Any], dict[str, bytes | None]]:
    """The run, and all its artifacts."""
    run = contents.runs(experiment)[run_id]
    return run, contents.artifacts(run)


@pytest.mark.slow
def test_a_model_registered_offline_arrives_with_its_files_among_those_of_its_run(
    azure_store: Store, azure_remote: Remote, azure_contents: Contents, experiment: str, tmp_path: Path
) -> None:
    with mlflow_on(uri_of(azure_store), experiment), mlflow.start_run() as active:
        info = log_adder(tmp_path, registered_model_name="spiral")
    run_id = active.info.run_id
    files = azure_store.logged_models.artifacts(info.model_id)
    foreseen = push(azure_store, azure_remote, dry_run=True)
    report = push(azure_store, azure_remote)
    assert (report.problems, report.rejected, report.models, report.model_versions) == ((), (), 1, 1)
    assert foreseen.artifacts == report.artifacts == len(files)
    assert report.unsupported == (LACKING.format("1 waits", 1),)
    run, content = there(azure_contents, experiment, run_id)
    (version,) = azure_contents.models()["spiral"]
    assert (version["source"], version["run_id"]) == (f"{run['info']['artifact_uri']}/adder", run["info"]["run_id"])
    assert content.keys() == {f"adder/{file.path}" for file in files}
    folder = azure_store.logged_models.folder(info.model_id).artifacts
    for file in files:
        if file.path != "MLmodel":
            assert content[f"adder/{file.path}"] == (folder / file.path).read_bytes()
    assert status_of(azure_store, azure_remote).pending_model_versions == 0
    assert push(azure_store, azure_remote).requests == 0
    assert verify(azure_store, azure_remote).same
    plan = plan_gc(azure_store, azure_remote)
    assert [(kept.run_id, kept.reason) for kept in plan.retained] == [
        (run_id, "version 1 of model 'spiral' is made of it")
    ]

    fetched = tmp_path / "fetched"
    for path, content_of in content.items():
        (fetched / path).parent.mkdir(parents=True, exist_ok=True)
        (fetched / path).write_bytes(content_of or b"")
    model = mlflow.pyfunc.load_model(str(fetched / "adder"))
    assert model.predict([1.0, 2.0]) == [2.0, 3.0]
    fields = yaml.safe_load((fetched / "adder" / "MLmodel").read_text())
    assert (fields["run_id"], fields["artifact_path"]) == (run["info"]["run_id"], "adder")
    assert (fields["model_uuid"], "model_id" in fields) == (info.model_id.removeprefix("m-"), False)
    assert str(azure_store.path) not in str({key: fields[key] for key in fields.keys() - {"flavors"}})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["artifacts/batch-metadata", "blob/put", "mlflow/model-versions/create"])
@pytest.mark.parametrize("fault", [LoseAnswer(), Cut(), unavailable(503)], ids=lambda f: type(f).__name__)
def test_network_faults_duplicate_nothing(
    azure: AzureEmulator,
    azure_store: Store,
    azure_remote: Remote,
    azure_contents: Contents,
    experiment: str,
    kind: str,
    fault: Any,
) -> None:
    run_id = record_run()
    model_id = record_model(azure_store, run_id)
    azure_store.registry.create_version("net", f"models:/{model_id}", model_id=model_id, create_model=True)
    azure.faults.on(kind, fault)
    push(azure_store, azure_remote, policy=HASTY)
    push(azure_store, azure_remote, policy=HASTY)
    run, content = there(azure_contents, experiment, run_id)
    remote_run = run["info"]["run_id"]
    expected = {"net/MLmodel": mlmodel_there(model_id, remote_run, "net"), "net/data/weights.bin": b"\0\1\2\3"}
    assert content == expected
    (version,) = azure_contents.models()["net"]
    assert (version["source"], version["run_id"]) == (f"{run['info']['artifact_uri']}/net", remote_run)
    assert push(azure_store, azure_remote).requests == 0


def test_a_lost_ledger_finds_the_files_where_they_are(
    azure_store: Store, azure_remote: Remote, azure_contents: Contents, experiment: str
) -> None:
    run_id = record_run()
    first = record_model(azure_store, run_id)
    second = record_model(azure_store, run_id, weights=b"other")
    push(azure_store, azure_remote)
    before = there(azure_contents, experiment, run_id)[1]
    ledger_path(azure_store, azure_remote).unlink()
    azure_store.logged_models.purge(first)
    with mltrack.start_run(run_id=run_id):
        mltrack.log_text("of the run", f"net-{second}/words.txt")
    report = push(azure_store, azure_remote)
    assert (report.rejected, report.problems) == ((), ())
    after = there(azure_contents, experiment, run_id)[1]
    assert after == {**before, f"net-{second}/words.txt": b"of the run"}


def test_models_of_one_name_and_files_of_the_run_get_separate_folders(
    azure_store: Store, azure_remote: Remote, azure_contents: Contents, experiment: str
) -> None:
    run_id = record_run(taken="by the run")
    ids = [record_model(azure_store, run_id, name) for name in ("net", "net", "taken", "a/../b", "..")]
    for n, model_id in enumerate(ids):
        azure_store.registry.create_version(f"m{n}", f"models:/{model_id}", model_id=model_id, create_model=True)
    report = push(azure_store, azure_remote)
    assert (report.rejected, report.problems, report.model_versions) == ((), (), 5)
    run, content = there(azure_contents, experiment, run_id)
    places = ["net", f"net-{ids[1]}", f"taken-{ids[2]}", ids[3], ids[4]]
    expected = {"taken/words.txt": b"by the run"}
    for model_id, place in zip(ids, places, strict=True):
        expected[f"{place}/MLmodel"] = mlmodel_there(model_id, run["info"]["run_id"], place)
        expected[f"{place}/data/weights.bin"] = b"\0\1\2\3"
    assert content == expected
    models = azure_contents.models()
    sources = [models[f"m{n}"][0]["source"] for n in range(5)]
    assert sources == [f"{run['info']['artifact_uri']}/{place}" for place in places]


def test_a_model_without_a_run_waits_and_is_reported_and_an_unfinished_one_waits(
    azure_store: Store, azure_remote: Remote, azure_contents: Contents, experiment: str
) -> None:
    run_id = record_run()
    alone, making = record_model(azure_store, None), record_model(azure_store, run_id)
    azure_store.logged_models.set_status(making, "PENDING")
    azure_store.registry.create_version("net", f"models:/{alone}", model_id=alone, create_model=True)
    report = push(azure_store, azure_remote)
    words = "logged models: this server does not take them; 2 wait (without a run to hold files: 1)"
    assert report.unsupported == (words,)
    assert report.problems == (
        f"model 'net' version 1 waits: the server has no logged models, and {alone} has no run to put its files into",
    )
    assert status_of(azure_store, azure_remote).pending_model_versions == 1
    assert there(azure_contents, experiment, run_id)[1] == {}
    azure_store.logged_models.set_status(making, "READY")
    assert push(azure_store, azure_remote).artifacts == 2
    assert there(azure_contents, experiment, run_id)[1].keys() == {"net/MLmodel", "net/data/weights.bin"}


def test_a_file_that_changed_is_rejected_and_reported(
    azure_store: Store, azure_remote: Remote, azure_contents: Contents, experiment: str
) -> None:
    run_id = record_run()
    model_id = record_model(azure_store, run_id)
    push(azure_store, azure_remote)
    put_file(azure_store, model_id, "data/weights.bin", b"changed")
    put_file(azure_store, model_id, "new.txt", b"new")
    report = push(azure_store, azure_remote)
    assert [(item.kind, item.key) for item in report.rejected] == [
        ("logged model file in run", f"{model_id}/data/weights.bin")
    ]
    assert "with another content" in report.rejected[0].reason
    content = there(azure_contents, experiment, run_id)[1]
    assert (content["net/data/weights.bin"], content["net/new.txt"]) == (b"\0\1\2\3", b"new")
    assert push(azure_store, azure_remote).requests == 0
