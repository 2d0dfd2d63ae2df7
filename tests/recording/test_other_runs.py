"""Logging to a run by its id, whoever records it; and metrics with the model and the dataset they are about."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mltrack
from mltrack.errors import InvalidPathError, NotFoundError, ParamConflictError, RunStateError
from mltrack.recording import other_runs
from tests.support.recording import run_python, start_python

DATASET = mltrack.Dataset("d", "1", "local", "/d")


@pytest.fixture
def ended(tmp_path: Path) -> str:
    mltrack.set_store(tmp_path / "s")
    with mltrack.start_run() as run:
        mltrack.log_param("p", "1")
    return run.run_id


def test_everything_that_accepts_a_run_id_logs_to_that_run_and_keeps_its_status(ended: str, tmp_path: Path) -> None:
    end = mltrack.get_run(ended).info.end_time
    active = mltrack.start_run()
    (tmp_path / "f.txt").write_text("f")
    mltrack.log_metric("a", 1.5, 2, run_id=ended)
    mltrack.log_metrics({"b": 2.5}, 3, run_id=ended, timestamp=5)
    mltrack.log_params({"q": 2}, run_id=ended)
    mltrack.log_text("x", "t.txt", run_id=ended)
    mltrack.log_dict({}, "d.json", run_id=ended)
    mltrack.log_table({"a": [1]}, "table.json", run_id=ended)
    mltrack.log_artifact(tmp_path / "f.txt", run_id=ended)
    mltrack.log_artifacts(tmp_path / "s" / "workspace", "w", run_id=ended)
    with open(tmp_path / "f.txt", "rb") as file:
        mltrack.log_stream(file, "s.bin", run_id=ended)
    found = mltrack.get_run(ended)
    assert dict(found.data.metrics) == {"a": 1.5, "b": 2.5}
    assert found.params == {"p": "1", "q": "2"}
    assert [a.path for a in found.artifacts if not a.path.startswith("w/")] == [
        "d.json", "f.txt", "s.bin", "t.txt", "table.json",
    ]  # fmt: skip
    assert (found.info.status, found.info.end_time, found.info.live) == ("FINISHED", end, False)
    assert mltrack.active_run() is active
    assert active.stored().params == {}
    assert not active.stored().artifacts


def test_the_id_of_a_run_of_this_process_refers_to_that_run(ended: str) -> None:
    run = mltrack.start_run()
    mltrack.log_metric("a", 1.0, run_id=run.run_id)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(other_runs.run_by_id(run.run_id)))
    thread.start()
    thread.join()
    assert seen == [run]
    assert len(run.stored().writers()) == 1


def test_params_that_others_logged_meanwhile_are_respected(ended: str) -> None:
    mltrack.log_params({"mine": 1}, run_id=ended)
    with mltrack.start_run(ended, nested=True):
        mltrack.log_param("theirs", 1)
    mltrack.log_params({"theirs": 1}, run_id=ended)
    with pytest.raises(ParamConflictError):
        mltrack.log_params({"theirs": 2}, run_id=ended)


def test_a_deleted_or_missing_run_is_refused(ended: str) -> None:
    mltrack.log_metric("a", 1.0, run_id=ended)
    mltrack.delete_run(ended)
    with pytest.raises(RunStateError, match="is deleted"):
        mltrack.log_metric("a", 2.0, run_id=ended)
    with pytest.raises(NotFoundError):
        mltrack.log_text("x", "a", run_id="0" * 32)
    with pytest.raises(InvalidPathError):
        mltrack.log_params({}, run_id="nothing")
    mltrack.restore_run(ended)
    mltrack.log_metric("a", 3.0, run_id=ended)
    assert mltrack.get_run(ended).data.metrics == {"a": 3.0}


def test_a_live_run_of_another_process_stays_live_and_has_both_parts(tmp_path: Path) -> None:
    code = """
import sys, mltrack
mltrack.set_store(sys.argv[1])
with mltrack.start_run() as run:
    print(run.run_id, flush=True)
    sys.stdin.readline()
    mltrack.log_metric("theirs", 1.0)
"""
    other = start_python(code, tmp_path / "s")
    assert other.stdout is not None
    run_id = other.stdout.readline().strip()
    mltrack.set_store(tmp_path / "s")
    mltrack.log_metric("mine", 2.0, run_id=run_id)
    info = mltrack.get_run(run_id).info
    assert (info.status, info.live) == ("RUNNING", True)
    other.communicate("go\n", timeout=100)
    assert mltrack.get_run(run_id).info.status == "FINISHED"
    assert dict(mltrack.get_run(run_id).data.metrics) == {"mine": 2.0, "theirs": 1.0}


def test_few_runs_are_kept_open_and_a_process_releases_them_at_exit(tmp_path: Path) -> None:
    code = """
import sys, mltrack
from mltrack.recording import other_runs
mltrack.set_store(sys.argv[1])
ids = []
for _ in range(other_runs.OPEN_MAX + 3):
    with mltrack.start_run() as run:
        ids.append(run.run_id)
for step in range(2):
    for run_id in ids:
        mltrack.log_metric("a", 1.0, step, run_id=run_id)
assert len(other_runs._held) == other_runs.OPEN_MAX
print(" ".join(ids))
"""
    ids = run_python(code, tmp_path / "s").split()
    mltrack.set_store(tmp_path / "s")
    for run_id in ids:
        run = mltrack.get_run(run_id)
        assert run.summaries["a"].count == 2
        assert (run.info.status, run.info.crashed) == ("FINISHED", False)
        assert all(writer.ended for writer in run.writers())


# --- models and datasets ---


def test_a_metric_with_a_model_and_a_dataset_belongs_to_the_model_too(ended: str) -> None:
    store = mltrack.get_store()
    model = store.logged_models.create("0", "m")
    with mltrack.start_run() as run:
        array: Any = np.array([0.5])
        mltrack.log_metric("acc", array, 3, timestamp=7, model_id=model.model_id, dataset=DATASET)
        mltrack.log_metrics({"loss": 1}, model_id=model.model_id)
        mltrack.log_metric("other", 1.0, dataset=DATASET)
        with pytest.raises(NotFoundError):
            mltrack.log_metric("none", 1.0, model_id="m-" + "0" * 32)
    found = mltrack.get_run(run.run_id)
    assert dict(found.data.metrics) == {"acc": 0.5, "loss": 1.0, "other": 1.0}
    assert [used.dataset for used in found.datasets] == [DATASET]
    assert found.model_inputs == [model.model_id]
    metrics = {metric.key: metric for metric in store.logged_models.get(model.model_id).metrics}
    acc = metrics["acc"]
    assert (acc.value, acc.step, acc.time, acc.run_id) == (0.5, 3, 7, run.run_id)
    assert (acc.dataset_name, acc.dataset_digest) == ("d", "1")
    assert metrics["loss"].dataset_name is None


def test_inputs_and_outputs_are_recorded_together_or_not_at_all(ended: str) -> None:
    from mlflow.entities import LoggedModelInput, LoggedModelOutput

    other = mltrack.Dataset("e", "1", "local", "/e")
    with mltrack.start_run() as run:
        wrong: Any = [
            lambda: mltrack.log_inputs([DATASET], ["a"], []),
            lambda: mltrack.log_inputs([DATASET, "x"], [None] * 2, [None] * 2),
            lambda: mltrack.log_inputs([None], ["training"], [None]),
            lambda: mltrack.log_input(model=5),
            lambda: mltrack.log_outputs(["m-1", None]),
        ]
        for call in wrong:
            with pytest.raises(mltrack.UsageError):
                call()
        assert not run.stored().datasets
        assert not run.stored().model_outputs
        mltrack.log_inputs([DATASET, other, None], ["train", None, None], [None, {"k": 1}, None], ["m-1"])
        mltrack.log_input(other, model=LoggedModelInput("m-2"))
        mltrack.log_outputs([LoggedModelOutput("m-3", 7), "m-4"])
        mltrack.log_outputs()
    found = mltrack.get_run(run.run_id)
    assert [(used.dataset, used.tags) for used in found.datasets] == [
        (DATASET, {"mlflow.data.context": "train"}),
        (other, {"k": "1"}),
    ]
    assert found.model_inputs == ["m-1", "m-2"]
    assert [(made.model_id, made.step) for made in found.model_outputs] == [("m-3", 7), ("m-4", 0)]


def test_asynchronous_calls_complete_and_can_be_waited_for(ended: str) -> None:
    made: list[Any] = [
        mltrack.log_metric("a", 1.0, synchronous=False),
        mltrack.log_metrics({"a": 1.0}, synchronous=False),
        mltrack.log_param("a", 1, synchronous=False),
        mltrack.log_params({"b": 1}, synchronous=False),
        mltrack.set_tag("a", 1, synchronous=False),
        mltrack.set_tags({"a": 1}, synchronous=False),
    ]
    for operation in made:
        operation.wait()
    assert mltrack.log_metric("a", 1.0, synchronous=True) is None
    assert mltrack.log_param("c", 5, synchronous=True) == 5
    run = mltrack.active_run()
    assert run is not None
    assert run.stored().params == {"a": "1", "b": "1", "c": "5"}
