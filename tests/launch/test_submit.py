"""Submitting from Python: the handle, what it reads, and how a run that goes wrong is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import mltrack
from mltrack import NotFoundError, RunStateError, ScriptRunConfig, UsageError
from mltrack.recording import current_store

PROGRAM = """
import os, sys
import mltrack
with mltrack.start_run() as run:
    for step in range(3):
        mltrack.log_metric("loss", 1 / (step + 1), step)
    mltrack.log_metric("accuracy", 0.9)
    mltrack.log_text("weights", "model/weights.txt")
print("trained with", sys.argv[1], os.environ.get("GREETING"))
"""


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Path]:
    """A folder with a program, and a store beside it."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "train.py").write_text(PROGRAM, "utf-8")
    (folder / "bad.py").write_text("raise ValueError('no such spiral')", "utf-8")
    current_store.set_store(tmp_path / ".mltrack")
    yield folder
    current_store.set_store(None)


def config(source: Path, script: str = "train.py", **more: object) -> ScriptRunConfig:
    return ScriptRunConfig(source, script, snapshot=False, system_metrics=False, **more)  # type: ignore[arg-type]


def test_a_submitted_script_can_be_awaited_read_and_registered(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    what = config(source, arguments=[0.1], environment_variables={"GREETING": "hello"})
    run = mltrack.submit(
        what, "spirals", run_name="first", params={"lr": 0.1, "password": "hunter22"}, tags={"team": 1}
    )
    assert run.wait_for_completion(show_output=True) == "FINISHED"
    assert capsys.readouterr().out == "trained with 0.1 hello\n"
    assert run.get_metrics() == {"loss": [1.0, 0.5, pytest.approx(1 / 3)], "accuracy": 0.9}
    assert run.get_status() == "FINISHED"
    assert set(run.get_file_names()) == {"model/weights.txt", "user_logs/std_log.txt"}
    stored = run.stored()
    assert stored.info.run_name == "first"
    assert stored.info.experiment_name == "spirals"
    assert stored.params == {"lr": "0.1", "password": "[redacted]"}
    assert stored.tags["team"] == "1"
    assert stored.tags["mlflow.source.name"] == "train.py"
    version = run.register_model("spiral", "model")
    assert (version.version, version.run_id) == (1, run.run_id)
    assert mltrack.active_run() is None


def test_a_submitted_run_is_in_the_store_before_it_starts(source: Path) -> None:
    run = mltrack.submit(config(source, arguments=["x"]))
    assert run.get_status() in ("SCHEDULED", "RUNNING", "FINISHED")
    assert mltrack.get_run(run.run_id).info.run_id == run.run_id
    run.wait_for_completion()


def test_a_failing_script_is_reported_with_its_traceback(source: Path) -> None:
    run = mltrack.submit(config(source, "bad.py"))
    with pytest.raises(RunStateError, match="ValueError: no such spiral"):
        run.wait_for_completion()
    assert run.wait_for_completion(raise_on_error=False) == "FAILED"


@pytest.mark.slow
def test_a_submitted_run_can_be_cancelled(source: Path) -> None:
    run = mltrack.submit(ScriptRunConfig(source, command="sh -c 'echo on; exec sleep 60'", snapshot=False))
    log = run.stored().folder.path / "live" / "std_log.txt"
    while not log.exists() or log.read_text() != "on\n":
        pass
    run.cancel()
    assert run.wait_for_completion(raise_on_error=False) == "KILLED"
    assert run.stored().tags["mltrack.preempted"] == "SIGTERM"


def test_an_invalid_config_is_refused_before_anything_is_created(source: Path) -> None:
    for useless in (
        ScriptRunConfig(source),
        ScriptRunConfig(source, "train.py", command="x"),
    ):
        with pytest.raises(UsageError, match="a script or a command"):
            mltrack.submit(useless)
    with pytest.raises(NotFoundError, match="no remote"):
        mltrack.submit(config(source), sync="nowhere")
    with pytest.raises(NotFoundError, match="no script"):
        mltrack.submit(ScriptRunConfig(source, "other.py"))
    with pytest.raises(NotFoundError, match="is not a folder"):
        mltrack.submit(ScriptRunConfig(source / "other", "train.py"))
    with pytest.raises(UsageError, match="is a ScriptRunConfig, not str"):
        mltrack.submit("train.py")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="there is no program 'no-such-program'"):
        mltrack.submit(ScriptRunConfig(source, command=["no-such-program"]))
    assert mltrack.get_store().run_ids() == []
