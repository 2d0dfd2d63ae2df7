"""MLflow's runs join the run that the program records."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mltrack
from mltrack.store import Store

TRAINING = """
import threading
import warnings

warnings.simplefilter("ignore")
import mlflow
from sklearn.linear_model import LogisticRegression

import mltrack

mltrack.set_experiment("digits")
mltrack.autolog(log_models=False, silent=True)
with mltrack.start_run(run_name="outer") as run:
    mltrack.log_metric("native", 1)
    LogisticRegression(C=0.25).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
    mlflow.log_metric("fluent", 2)
    mlflow.end_run()
    with mlflow.start_run():
        mlflow.set_tag("again", "yes")
        with mlflow.start_run(nested=True, run_name="child"):
            mlflow.log_param("depth", 1)
    thread = threading.Thread(target=lambda: mlflow.log_param("thread", "joined"))
    thread.start()
    thread.join()
    mltrack.log_metric("native", 3)
with mlflow.start_run(run_name="later"):
    pass
mltrack.autolog(disable=True)
with mltrack.start_run(run_name="alone"), mlflow.start_run(run_name="own"):
    pass
"""


@pytest.mark.slow
def test_autologging_and_runs_of_mlflow_join_the_active_run(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAINING)
    done = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mltrack", "train.py"], "no database of MLflow's own"
    runs = {run.info.run_name: run for run in Store.open(tmp_path / ".mltrack").runs()}
    assert runs.keys() == {"outer", "child", "later", "alone", "own"}
    assert {run.info.experiment_name for run in runs.values()} == {"digits"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    outer = runs["outer"]
    assert outer.params["C"] == "0.25"
    assert outer.params["thread"] == "joined"
    assert outer.tags["again"] == "yes"
    assert {key: summary.value for key, summary in outer.summaries.items() if key in ("native", "fluent")} == {
        "native": 3.0,
        "fluent": 2.0,
    }
    assert "training_score" in outer.summaries
    assert runs["child"].tags["mlflow.parentRunId"] == outer.run_id
    assert runs["child"].params == {"depth": "1"}


@pytest.fixture
def joined(tmp_path: Path) -> Iterator[Any]:
    """MLflow's store, whose new runs are the active run."""
    from mltrack.integrations.autolog import _active_in
    from mltrack.mlflow_plugin.joining import join_runs
    from mltrack.mlflow_plugin.tracking import TrackingStore

    mltrack.set_store(tmp_path / "store")
    join_runs(_active_in)
    yield TrackingStore(f"mltrack://{tmp_path / 'store'}")
    join_runs(None)


def begin(tracking: Any) -> str:
    return str(tracking.create_run("0", "ada", None, [], "theirs").info.run_id)


def test_what_mlflow_says_of_the_end_does_not_end_the_run(joined: Any) -> None:
    from mlflow.entities import RunStatus

    with mltrack.start_run(run_name="mine") as run:
        assert begin(joined) == run.run_id
        assert joined.update_run_info(run.run_id, RunStatus.FAILED, 5, None).status == "RUNNING"
        assert not run.ended
    ended = joined.get_run(run.run_id).info
    assert (ended.status, ended.run_name) == ("FINISHED", "mine")
    assert ended.end_time > 5


def test_what_mlflow_says_once_the_run_and_all_that_joined_it_have_ended_counts(joined: Any) -> None:
    from mlflow.entities import RunStatus

    with mltrack.start_run() as run:
        begin(joined)
        begin(joined)
        joined.update_run_info(run.run_id, RunStatus.FINISHED, 5, None)
    ended = joined.get_run(run.run_id).info.end_time
    joined.update_run_info(run.run_id, RunStatus.FAILED, 6, None)  # the second that had joined, late
    assert (joined.get_run(run.run_id).info.status, joined.get_run(run.run_id).info.end_time) == ("FINISHED", ended)
    joined.update_run_info(run.run_id, RunStatus.KILLED, 7, None)
    assert (joined.get_run(run.run_id).info.status, joined.get_run(run.run_id).info.end_time) == ("KILLED", 7)
    joined.update_run_info(run.run_id, RunStatus.FINISHED, 8, None)
    assert joined.get_run(run.run_id).info.status == "FINISHED"


def test_a_run_that_mlflow_starts_again_after_its_end_is_mlflows(joined: Any) -> None:
    from mlflow.entities import RunStatus

    with mltrack.start_run() as run:
        begin(joined)
    assert joined.update_run_info(run.run_id, RunStatus.RUNNING, None, None).status == "RUNNING"
    assert joined.update_run_info(run.run_id, RunStatus.FAILED, 9, None).status == "FAILED"


def test_a_run_of_another_store_is_not_joined(joined: Any, tmp_path: Path) -> None:
    mltrack.set_store(tmp_path / "other")
    with mltrack.start_run() as run:
        assert begin(joined) != run.run_id


def test_without_an_active_run_mlflow_makes_its_own(joined: Any) -> None:
    with mltrack.start_run() as run:
        pass
    assert begin(joined) != run.run_id
