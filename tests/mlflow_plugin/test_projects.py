"""MLflow projects run by the backend ``mltrack``: from Python and from the command line, good ones and bad ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from mltrack import Store
from mltrack.mlflow_plugin.projects import _env_manager
from mltrack.storage.runs.stored_run import StoredRun

pytestmark = pytest.mark.slow

MLPROJECT = """
name: spirals
entry_points:
  main:
    parameters:
      lr: {type: float, default: 0.1}
    command: "python train.py {lr}"
  fail:
    command: "python fail.py"
"""
TRAIN = """
import pathlib, sys
import mlflow
mlflow.set_experiment("named by the script")
with mlflow.start_run(run_name="by the script"):
    mlflow.log_metric("loss", float(sys.argv[1]))
pathlib.Path("outputs").mkdir()
pathlib.Path("outputs/weights.txt").write_text("w")
print("trained")
"""


class Project:
    """A project, a store beside it, and both ways to run it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.folder.mkdir()
        (self.folder / "MLproject").write_text(MLPROJECT)
        (self.folder / "train.py").write_text(TRAIN)
        (self.folder / "fail.py").write_text("raise ValueError('no such spiral')")
        self._store = folder / ".mltrack"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "MLTRACK_"))}
        path = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
        self.env = {**kept, "PATH": path, "MLFLOW_TRACKING_URI": f"mltrack://{self._store}"}

    def __call__(self, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words], cwd=self.folder.parent, env={**self.env, **env}, capture_output=True, text=True
        )

    def run(self) -> StoredRun:
        (run,) = self.runs()
        return run

    def runs(self) -> list[StoredRun]:
        return list(Store.open(self._store).runs())


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


CALL = """
import mlflow
config = {"USE_CONDA": "false", "STREAM_OUTPUT": False}
done = mlflow.projects.run(
    "project", backend="mltrack", parameters={"lr": 0.5}, backend_config=config, experiment_name="spirals"
)
print(done.run_id, done.get_status(), done.wait())
"""


def test_a_project_is_one_run_with_everything_a_launch_records(project: Project) -> None:
    done = project("-c", CALL)
    assert done.returncode == 0, done.stderr
    run = project.run()
    assert done.stdout == f"{run.run_id} FINISHED True\n"  # nothing that the project prints
    assert run.info.experiment_name == "spirals"
    assert run.info.status == "FINISHED"
    assert run.params == {"lr": "0.5"}
    assert run.data.metrics["loss"] == 0.5
    assert run.tags["mlflow.project.backend"] == "mltrack"
    assert run.tags["mlflow.source.type"] == "PROJECT"
    assert run.artifact_path("user_logs/std_log.txt").read_text().endswith("trained\n")
    assert run.artifact_path("outputs/weights.txt").read_text() == "w"
    listed = json.loads(run.artifact_path("code/files.json").read_text())["files"]
    assert set(listed) == {"MLproject", "train.py", "fail.py"}
    assert "\nmlflow==" in run.artifact_path("environment/requirements.txt").read_text()


def test_a_failing_project_is_a_failed_run_with_its_traceback(project: Project, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"STREAM_OUTPUT": true}')
    words = ("-m", "mlflow", "run", "project", "-e", "fail", "-b", "mltrack", "--backend-config", "config.json")
    done = project(*words)
    assert done.returncode == 1
    assert "ValueError: no such spiral" in done.stderr  # streamed
    run = project.run()
    assert run.info.status == "FAILED"
    assert run.tags["mltrack.error"].endswith("ValueError: no such spiral")
    assert "no such spiral" in run.artifact_path("user_logs/std_log.txt").read_text()


CANCEL = """
import mlflow
run = mlflow.projects.run("project", "long", backend="mltrack", synchronous=False)
print(run.get_status())
run.cancel()
print(run.get_status(), run.wait())
"""


def test_a_project_can_run_in_the_background_and_be_cancelled(project: Project) -> None:
    with open(project.folder / "MLproject", "a", encoding="utf-8") as file:
        file.write('  long:\n    command: "sleep 60"\n')
    done = project("-c", CANCEL)
    assert done.returncode == 0, done.stderr
    first, last = done.stdout.splitlines()[0], done.stdout.splitlines()[-1]
    assert first in ("SCHEDULED", "RUNNING")
    assert last == "KILLED False"


def test_another_tracking_store_is_refused_with_a_hint(project: Project, tmp_path: Path) -> None:
    done = project("-m", "mlflow", "run", "project", "-b", "mltrack", MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/x.db")
    assert done.returncode != 0
    assert "set it to 'mltrack:'" in done.stderr


class Declared:
    """A project as far as its environment goes."""

    def __init__(self, path: str | None) -> None:
        self.env_config_path = path


@pytest.mark.parametrize(
    ("config", "declared", "manager"),
    [
        ({}, None, "local"),
        ({}, "python_env.yaml", "virtualenv"),
        ({"USE_CONDA": False}, "python_env.yaml", "local"),
        ({"USE_CONDA": "False"}, "python_env.yaml", "local"),
        ({"USE_CONDA": True}, "conda.yaml", "virtualenv"),
        ({"USE_CONDA": True, "ENV_MANAGER": "conda"}, "conda.yaml", "conda"),
        ({"ENV_MANAGER": "local"}, "conda.yaml", "local"),
        ({"ENV_MANAGER": "uv"}, None, "uv"),
        ({"ENV_MANAGER": None}, None, "local"),
    ],
)
def test_a_project_runs_in_the_requested_environment(
    config: dict[str, Any], declared: str | None, manager: str
) -> None:
    assert _env_manager(config, Declared(declared)) == manager


def test_a_setting_that_is_neither_true_nor_false_is_refused_before_a_run_is_created(project: Project) -> None:
    with pytest.raises(MlflowException, match="USE_CONDA in the backend's config is 'perhaps': use true or false"):
        _env_manager({"USE_CONDA": "perhaps"}, Declared(None))
    done = project("-c", CALL.replace('"STREAM_OUTPUT": False', '"STREAM_OUTPUT": "maybe"'))
    assert done.returncode == 1
    assert "STREAM_OUTPUT in the backend's config is 'maybe': use true or false" in done.stderr
    assert project.runs() == []
