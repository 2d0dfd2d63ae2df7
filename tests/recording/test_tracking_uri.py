"""Where is recorded, in MLflow's words: a store, or a clear refusal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import mltrack
from mltrack.errors import UsageError


@pytest.mark.parametrize("form", ["mltrack://{}", "file://{}", "{}", "mltrack:////{}"])
def test_a_store_is_named_by_a_uri_or_a_path(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "a store"
    uri = form.format(folder if form == "{}" else str(folder).replace(" ", "%20"))
    mltrack.set_tracking_uri(uri)
    assert mltrack.is_tracking_uri_set()
    with mltrack.start_run():
        pass
    assert mltrack.get_store().path == folder
    assert mltrack.get_tracking_uri() == mltrack.get_registry_uri() == f"mltrack://{tmp_path}/a%20store"
    mltrack.set_tracking_uri(mltrack.get_tracking_uri())  # what it says is understood
    assert mltrack.get_store().path == folder
    mltrack.set_registry_uri(uri)
    mltrack.set_registry_uri("")


@pytest.mark.parametrize("uri", ["", "mltrack:", "mltrack://"])
def test_a_uri_without_a_folder_means_the_store_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("MLTRACK_STORE", str(tmp_path / "usual"))
    mltrack.set_tracking_uri(tmp_path / "other")
    mltrack.set_tracking_uri(uri)
    assert mltrack.get_store().path == tmp_path / "usual"


@pytest.mark.parametrize(
    "uri",
    [
        "http://localhost:5000",
        "HTTPS://user:secret@host/path?token=secret",
        "sqlite:///mlflow.db",
        "postgresql://user:secret@host/db",
        "databricks",
        "databricks://profile",
        "s3://bucket/x",
    ],
)
def test_a_server_or_a_database_is_refused_with_a_hint_to_sync(tmp_path: Path, uri: str) -> None:
    mltrack.set_store(tmp_path / "s")
    for call in (mltrack.set_tracking_uri, mltrack.set_registry_uri):
        with pytest.raises(UsageError) as caught:
            call(uri)
        assert "mltrack remote add" in caught.value.hint
        assert "secret" not in f"{caught.value} {caught.value.hint}"
    assert mltrack.get_store().path == tmp_path / "s"


def test_another_folder_is_not_a_store_and_the_registry_uri_is_that_of_runs(tmp_path: Path) -> None:
    (tmp_path / "mlruns" / "0").mkdir(parents=True)
    with pytest.raises(UsageError, match="is not an mltrack store"):
        mltrack.set_tracking_uri(tmp_path / "mlruns")
    assert os.listdir(tmp_path / "mlruns") == ["0"]
    mltrack.set_tracking_uri(tmp_path / "s")
    with pytest.raises(UsageError, match="is not the store"):
        mltrack.set_registry_uri(tmp_path / "t")


def test_an_artifact_location_has_no_effect_and_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mltrack.set_store(tmp_path / "s")
    made = mltrack.create_experiment("e", tmp_path / "elsewhere", {"k": 1})
    assert "artifact_location is not used" in caplog.text
    assert mltrack.get_experiment(made).tags == {"k": "1"}
    with mltrack.start_run(experiment_id=made) as run:
        mltrack.log_text("x", "a.txt")
    assert (run.folder.artifacts / "a.txt").is_file()


def test_settings_of_system_metrics_hold_for_runs_from_now_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["MLFLOW_SYSTEM_METRICS_SAMPLES_BEFORE_LOGGING", "MLFLOW_SYSTEM_METRICS_NODE_ID"]
    for variable in ["MLTRACK_SYSTEM_METRICS", "MLTRACK_SYSTEM_METRICS_INTERVAL", *names]:
        monkeypatch.setenv(variable, "")  # so that it is taken away at the end
        monkeypatch.delenv(variable)
    mltrack.set_store(tmp_path / "s")
    mltrack.enable_system_metrics_logging()
    mltrack.set_system_metrics_sampling_interval(60)
    mltrack.set_system_metrics_samples_before_logging(1)
    mltrack.set_system_metrics_node_id("node7")
    with mltrack.start_run() as run:
        pass
    measured = [key for key in mltrack.get_run(run.run_id).summaries if key.startswith("system/")]
    assert measured
    assert all("node7" in key for key in measured)
    mltrack.disable_system_metrics_logging()
    mltrack.set_system_metrics_sampling_interval(None)
    with mltrack.start_run() as run:
        pass
    assert not mltrack.get_run(run.run_id).summaries
    assert "MLTRACK_SYSTEM_METRICS_INTERVAL" not in os.environ
