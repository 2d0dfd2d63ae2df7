"""The page on MLflow projects: run from the command line and from Python, streamed and not, and failing."""

from __future__ import annotations

from pathlib import Path

import pytest

from mltrack import Store
from mltrack.storage.runs.stored_run import StoredRun
from tests.support.pages import Page

pytestmark = pytest.mark.slow


def last_loss(lr: float, steps: int) -> float:
    x = 5.0
    for _ in range(steps - 1):
        x -= lr * 2 * x
    return x * x


def run_of(page: Page, name: str) -> StoredRun:
    return Store.open(page.store).run(name)


def test_a_project_runs_from_the_command_line_and_from_python(tmp_path: Path) -> None:
    page = Page("mlflow-project.md", tmp_path)
    said = page.run(page.commands("by-hand -P") + page.commands("run_project.py"))
    by_hand, from_python = run_of(page, "by-hand"), run_of(page, "from-python")
    for run, lr, steps in ((by_hand, 0.2, 50), (from_python, 0.05, 20)):
        assert (run.info.status, run.info.experiment_name) == ("FINISHED", "valley")
        assert run.metrics("loss").column("step").to_pylist() == list(range(steps))
        assert run.data.metrics["loss"] == last_loss(lr, steps)
        assert {file.path for file in run.artifacts} >= {"outputs/weights.txt", "user_logs/std_log.txt"}
    assert by_hand.params == {"lr": "0.2", "steps": "50"}
    printed = by_hand.artifact_path("user_logs/std_log.txt").read_text().splitlines()[-1]
    assert printed.startswith("the last loss is ")
    lines = said.splitlines()
    assert lines.count(printed) == 2  # streamed, and by mltrack logs
    assert "True FINISHED" in lines
    assert sum(line.startswith("the last loss") for line in lines) == 2  # from Python it was not streamed


def test_the_command_line_waits_for_a_project_unless_the_config_says_otherwise(tmp_path: Path) -> None:
    page = Page("mlflow-project.md", tmp_path, {"MLFLOW_TRACKING_URI": "mltrack:"})
    assert "the last loss is" in page.run(page.commands("start-only"))
    run = run_of(page, "started")
    assert run.params == {"lr": "0.1", "steps": "50"}

    train = tmp_path / "project" / "train.py"
    train.write_text("raise ValueError('no such valley')\n")
    with page.started("mlflow run project --backend mltrack --run-name fails") as process:
        assert process.wait() == 1
    run = run_of(page, "fails")
    assert run.info.status == "FAILED"
    assert run.tags["mltrack.error"].endswith("ValueError: no such valley")
