"""Comparing datasets, logged models, registered models and prompts with the remote: each difference is named alone."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow.data.pandas_dataset import from_pandas
from mlflow.entities import LoggedModelInput, LoggedModelStatus, Metric

import mltrack
from mltrack.entities import DELETED, ModelMetric
from mltrack.store import Store
from mltrack_sync import Remote, Selection, push
from mltrack_sync.engine.verify import VerifyReport, verify
from mltrack_sync.gc import plan_gc
from tests.support.command_line import run as command
from tests.support.mlflow_recording import log_adder, mlflow_on, uri_of
from tests.support.model_recording import put_file
from tests.support.proxy import Answer, Fault, FaultyProxy, Seen
from tests.support.server import MlflowServer

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # warnings of MLflow's, and its libraries'

NOT_KNOWN = Answer(404, b'{"error_code": "ENDPOINT_NOT_FOUND", "message": "no such call"}')


class Recorded:
    """A run that used a table and made a model, one that used the model; versions made of it; a prompt."""

    def __init__(self, store: Store, experiment: str, folder: Path) -> None:
        self.name = f"adder {experiment[-8:]}"
        self.prompt = f"greet-{experiment[-8:]}"
        with mlflow_on(uri_of(store), experiment) as client:
            mlflow.genai.register_prompt(name=self.prompt, template="Grüß {{name}}", commit_message="first")
            with mlflow.start_run(run_name="training") as run:
                table = from_pandas(pd.DataFrame({"x": [1.0, 2.0]}), name="table")
                mlflow.log_input(table, context="training")
                info = log_adder(folder, params={"by": "1"}, tags={"team": "v"})
                for step, value in enumerate((0.5, 0.75, float("nan"))):
                    mlflow.log_metric("acc", value, step=step, model_id=info.model_id, dataset=table)
            with mlflow.start_run(run_name="evaluation") as using:
                client.log_inputs(using.info.run_id, models=[LoggedModelInput(info.model_id)])
            mlflow.register_model(info.model_uri, self.name, tags={"checked": "yes"})
            client.copy_model_version(f"models:/{self.name}/1", f"copy of {self.name}")
            client.set_registered_model_alias(self.name, "champion", "1")
            client.transition_model_version_stage(self.name, "1", "Staging")
        self.run_id, self.using, self.model_id = run.info.run_id, using.info.run_id, info.model_id


@pytest.fixture
def recorded(store: Store, experiment: str, server: MlflowServer, tmp_path: Path) -> Recorded:
    with mlflow_on(server.url):  # so that versions of the prompt have other numbers there
        mlflow.genai.register_prompt(name=f"greet-{experiment[-8:]}", template="of another")
    return Recorded(store, experiment, tmp_path)


def told(report: VerifyReport) -> list[tuple[str, str, str, str]]:
    """Each difference: of what (a run by "run"), what, here and there."""
    return [(d.subject.split()[0] if d.subject else "run", d.thing, d.local, d.remote) for d in report.differences]


def model_there(server: MlflowServer, experiment: str) -> dict[str, Any]:
    (model,) = server.post("logged-models/search", experiment_ids=[server.experiment_id(experiment)])["models"]
    found: dict[str, Any] = model["info"]
    return found


@pytest.mark.parametrize("quick", [False, True])
def test_models_datasets_and_prompts_are_equal_after_a_sync(
    quick: bool, store: Store, remote: Remote, recorded: Recorded
) -> None:
    push(store, remote)
    report = verify(store, remote, quick=quick)
    assert (report.differences, report.unsupported) == ((), ())
    assert (report.runs, report.datasets, report.model_links) == (2, 1, 2)
    assert (report.logged_models, report.models, report.model_versions) == (1, 3, 3)
    assert report.artifacts == len(store.logged_models.get(recorded.model_id).artifacts) > 0
    assert report.points == (0 if quick else 6)
    assert (report.artifact_bytes == 0) == quick


def test_what_was_not_pushed_is_reported_as_pending(store: Store, remote: Remote, recorded: Recorded) -> None:
    found = [line for line in told(verify(store, remote)) if line[1] not in ("run", "tag '_mlflow_experiment_ids'")]
    waits = "nothing (waits to be pushed)"
    assert found == [
        ("model", "model", "present with 1 version", waits),
        ("model", "model", "present with 1 version", waits),
        ("prompt", "description", "'first'", "'' (waits to be pushed)"),
        ("prompt", "prompt version", "present", waits),
        ("logged", "logged model", "present", waits),
    ]
    push(store, remote)
    with mlflow_on(uri_of(store)) as client:
        client.set_model_version_tag(recorded.name, "1", "checked", "twice")
        client.delete_registered_model_alias(recorded.name, "champion")
        client.delete_logged_model_tag(recorded.model_id, "team")
    with mltrack.start_run(recorded.run_id) as run:
        run.log_input(mltrack.Dataset("more", "abc", "http", "{}"))
    put_file(store, recorded.model_id, "late.txt", b"late")
    assert [line for line in told(verify(store, remote)) if line[1] not in ("end time", "run")] == [
        ("run", "dataset 'more' (abc)", "is used", waits),
        ("model", "alias 'champion'", "nothing", "version 1 on the remote (locally 1) (waits to be pushed)"),
        ("model", "tag 'checked'", "'twice'", "'yes' (waits to be pushed)"),
        ("logged", "tag 'team'", "nothing", "'v' (waits to be pushed)"),
        ("logged", "file 'late.txt'", "4 bytes", waits),
    ]


def test_each_change_on_the_remote_is_named(
    store: Store, server: MlflowServer, remote: Remote, experiment: str, recorded: Recorded
) -> None:
    push(store, remote)
    there, name = model_there(server, experiment), recorded.name
    with mlflow_on(server.url) as client:
        client.set_logged_model_tags(there["model_id"], {"team": "other", "theirs": "1"})
        client.finalize_logged_model(there["model_id"], LoggedModelStatus.FAILED)
        client.log_batch(there["source_run_id"], [Metric("acc", 0.1, 5, 9, model_id=there["model_id"])])
        client.update_registered_model(name, "of somebody")
        client.set_model_version_tag(name, "1", "checked", "no")
        client.update_model_version(name, "1", "changed")
        client.transition_model_version_stage(name, "1", "Production")
        client.delete_registered_model_alias(name, "champion")
        client.delete_model_version(f"copy of {name}", "1")
        mlflow.genai.set_prompt_version_tag(recorded.prompt, 2, "mlflow.prompt.text", "Hi")
    folder = Path(server.folder, "artifacts", there["artifact_uri"].removeprefix("mlflow-artifacts:/"))
    environment_bytes = (folder / "conda.yaml").stat().st_size  # it names the version of pip
    (folder / "adds_one.py").write_text("other")
    (folder / "conda.yaml").unlink()
    (folder / "MLmodel").write_bytes((folder / "MLmodel").read_bytes()[::-1])
    expected = [
        ("model", "description", "''", "'of somebody'"),
        ("model", "alias 'champion'", "version 1", "nothing"),
        ("model", "description", "''", "'changed'"),
        ("model", "stage", "Staging", "Production"),
        ("model", "tag 'checked'", "'yes'", "'no'"),
        ("model", "model version", "present", "nothing"),
        ("prompt", "tag 'mlflow.prompt.text'", "'Grüß {{name}}'", "'Hi'"),
        ("logged", "status", "READY", "FAILED"),
        ("logged", "tag 'team'", "'v'", "'other'"),
        ("logged", "metric 'acc'", "missing", "1 point, the first step 9 at 5 ms"),
        ("logged", "file 'adds_one.py'", "233 bytes", "5 bytes"),
        ("logged", "file 'conda.yaml'", f"{environment_bytes} bytes", "nothing"),
    ]
    found = [line for line in told(verify(store, remote)) if line[0] != "run"]
    contents = [line for line in found if line[1] == "file 'MLmodel'"]
    assert ([line for line in found if line not in contents], len(contents)) == (expected, 1)
    assert [line for line in told(verify(store, remote, quick=True)) if line[0] != "run"] == expected


def test_links_that_differ_are_named(
    store: Store, server: MlflowServer, remote: Remote, experiment: str, recorded: Recorded
) -> None:
    push(store, remote)
    there, runs = model_there(server, experiment), server.runs(experiment)
    using, training = (runs[run_id]["info"]["run_id"] for run_id in (recorded.using, recorded.run_id))
    with mlflow_on(server.url) as client:
        client.log_inputs(training, models=[LoggedModelInput(there["model_id"])])
    with closing(sqlite3.connect(server.folder / "mlflow.db")) as database, database:
        database.execute("DELETE FROM inputs WHERE destination_type='MODEL_INPUT' AND source_id=?", [using])
        database.execute("UPDATE inputs SET step=3 WHERE destination_type='MODEL_OUTPUT' AND source_id=?", [training])
        database.execute(
            "UPDATE datasets SET dataset_profile='{}' WHERE experiment_id=?", [server.experiment_id(experiment)]
        )
    report = verify(store, remote)
    found = {(d.run_id, d.thing.split(" (")[0], d.local, d.remote) for d in report.differences}
    model = recorded.model_id
    profile = json.dumps({"num_rows": 2, "num_elements": 2})
    assert found == {
        (recorded.using, f"model input {model}", "is used", "nothing"),
        (recorded.run_id, f"model input {there['model_id']}", "nothing", "is used"),
        (recorded.run_id, f"model output {model}", "made at step 0", "made at step 3"),
        (recorded.run_id, "dataset 'table'", repr(profile), "'{}'"),
    }
    assert (report.datasets, report.model_links) == (0, 0)


def test_a_logged_model_deleted_on_one_side_differs(
    store: Store, server: MlflowServer, remote: Remote, experiment: str, recorded: Recorded
) -> None:
    push(store, remote)
    there = model_there(server, experiment)["model_id"]
    logged = [("logged", "logged model", "deleted", f"exists as {there}")]
    store.logged_models.set_stage(recorded.model_id, DELETED)
    assert told(verify(store, remote)) == [(*logged[0][:3], f"{logged[0][3]} (waits to be pushed)")]
    push(store, remote)
    assert verify(store, remote).same
    store.logged_models.set_stage(recorded.model_id, "active")
    push(store, remote)
    ((_, thing, here, beyond),) = told(verify(store, remote))
    assert (thing, here) == ("logged model", "present")
    assert beyond.startswith(f"deleted ({there}) (rejected: model {there} was deleted on the remote")


def test_what_was_rejected_in_a_model_differs_with_the_reason(
    store: Store, proxy: FaultyProxy, spoiled: Remote, recorded: Recorded
) -> None:
    no = Answer(400, b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "not that"}')

    def fault(seen: Seen) -> Fault:
        return no if ("logged-models" in seen.path and b'"team"' in seen.body) or "alias" in seen.path else None

    proxy.fault = fault
    push(store, spoiled)
    assert told(verify(store, spoiled)) == [
        ("model", "alias 'champion'", "version 1", "nothing (rejected: not that)"),
        ("logged", "tag 'team'", "'v'", "nothing (rejected: not that)"),
    ]


def test_with_a_selection_only_what_sync_would_send_is_compared(
    store: Store, remote: Remote, experiment: str, recorded: Recorded
) -> None:
    push(store, remote, selection=Selection(runs=(recorded.run_id,)))
    report = verify(store, remote, selection=Selection(runs=(recorded.run_id,)))
    assert report.differences == ()
    assert (report.runs, report.logged_models, report.models, report.datasets) == (1, 1, 2, 1)
    report = verify(store, remote, selection=Selection(runs=(recorded.using,)))
    assert (report.runs, report.logged_models, report.models) == (1, 0, 0)
    assert not report.same
    assert verify(store, remote, selection=Selection(experiments=(experiment,))).logged_models == 1


def test_a_remote_without_logged_models_is_reported_in_one_line_and_is_not_a_difference(
    store: Store, proxy: FaultyProxy, spoiled: Remote, experiment: str
) -> None:
    with mltrack.start_run() as run:
        mltrack.log_metric("acc", 1.0)
    model = store.logged_models.create(store.run(run.run_id).info.experiment_id, "net", source_run_id=run.run_id)
    store.logged_models.log_metrics(model.model_id, [ModelMetric("acc", 1.0, 0, 1, run.run_id)])
    with mltrack.start_run(run.run_id) as again:
        again._recorder.emit({"type": "model_output", "model_id": model.model_id, "step": 7})
    proxy.fault = lambda seen: NOT_KNOWN if "logged-models" in seen.path else None
    push(store, spoiled)
    report = verify(store, spoiled)
    assert (report.differences, report.logged_models) == ((), 0)
    assert report.unsupported == ("logged models: this server does not take them; not compared: 1",)
    done = command(store, "verify", spoiled.name)
    assert (done.exit_code, done.output.count(report.unsupported[0])) == (0, 1)
    fields = json.loads(command(store, "verify", spoiled.name, "--json").output)
    assert (fields["same"], fields["unsupported"]) == (True, list(report.unsupported))
    assert (fields["lacking"], fields["model_ties"]) == (fields["unsupported"], fields["model_links"])


def test_the_command_names_what_differs_and_exits_with_1(store: Store, remote: Remote, recorded: Recorded) -> None:
    push(store, remote)
    done = command(store, "verify", "there")
    assert done.exit_code == 0
    assert "in 2 runs, 3 registered models, 3 versions, 1 logged model; 0 differences" in done.output
    store.registry.set_version_tag(recorded.name, 1, "checked", None)
    done = command(store, "verify", "there")
    line = f"model version {recorded.name}/1\ttag 'checked'\tnothing\t'yes' (waits to be pushed)"
    assert (done.exit_code, done.output.splitlines()[0]) == (1, line)
    fields = json.loads(command(store, "verify", "there", "--json").output)
    (difference,) = fields["differences"]
    assert (difference["run_id"], difference["subject"]) == ("", f"model version {recorded.name}/1")
    assert (difference["here"], difference["there"]) == (difference["local"], difference["remote"])
    assert (fields["logged_models"], fields["models"], fields["model_versions"]) == (1, 3, 3)


def test_gc_requests_nothing_but_the_runs(store: Store, proxy: FaultyProxy, spoiled: Remote, experiment: str) -> None:
    with mltrack.start_run() as run:
        mltrack.log_metric("acc", 1.0)
    store.logged_models.create(store.run(run.run_id).info.experiment_id, "net", source_run_id=run.run_id)
    push(store, spoiled)
    before = len(proxy.seen)
    assert [each.run_id for each in plan_gc(store, spoiled).deletable] == [run.run_id]
    assert not [seen for seen in proxy.seen[before:] if "logged-models" in seen.path]
