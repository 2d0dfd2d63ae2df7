"""The same scripts with wandb offline, imported, and with mltrack.wandb: the runs are compared point by point."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from mltrack.importers.engine import import_source
from mltrack.store import Store
from tests.support.wandb_scripts import FOLDER, SCRIPTS, record, values_of

PACKAGES = ("wandb==0.31.0", "numpy", "pillow")

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has wandb; ``MLTRACK_TEST_WANDB`` may name one."""
    given = os.environ.get("MLTRACK_TEST_WANDB")
    if given:
        return Path(given)
    folder = tmp_path_factory.mktemp("env")
    venv.create(folder, with_pip=True)
    subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "-q", *PACKAGES], check=True)
    return folder / "bin" / "python"


def imported(python: Path, script: str, folder: Path) -> Store:
    """Run a script with wandb offline, and import what it wrote."""
    folder.mkdir()
    settings = {
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "WANDB_DISABLE_GIT": "true",
        "WANDB_X_DISABLE_STATS": "true",
        "HOME": str(folder),
    }
    held = {key: value for key, value in os.environ.items() if not key.startswith(("MLTRACK_", "WANDB_", "PYTHON"))}
    subprocess.run([python, FOLDER / f"{script}.py"], cwd=folder, env={**held, **settings}, capture_output=True)
    store = Store.create(folder / ".mltrack")
    report = import_source(store, folder / "wandb")
    assert (report.problems, report.runs) == ((), 1)
    return store


def has_torch(python: Path | str) -> bool:
    return subprocess.run([python, "-c", "import torch"], capture_output=True).returncode == 0


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_gives_the_same_run_as_with_wandb(python: Path, script: str, tmp_path: Path) -> None:
    if script == "watched" and not (has_torch(python) and has_torch(sys.executable)):
        pytest.skip("torch is not installed on both sides")
    theirs = values_of(imported(python, script, tmp_path / "theirs"))
    ours = values_of(record(script, tmp_path / "ours", code=script == "failed"))
    assert ours.keys() == theirs.keys()
    for part in ("experiment", "name", "status"):
        assert ours[part] == theirs[part]
    assert known(ours["params"], "seed") == known(theirs["params"], "seed")  # see docs/wandb.md: a config that changes
    assert of_programs(ours["tags"]) == of_programs(theirs["tags"])
    assert ours["points"].keys() == theirs["points"].keys()
    for key, points in theirs["points"].items():
        if key.rpartition(".")[2] in ("min", "max", "mean", "first", "last"):
            # wandb writes a summary before the row that it is of: the values are compared
            assert sorted(value for _, value in ours["points"][key]) == sorted(value for _, value in points)
        else:
            assert ours["points"][key] == points
    assert ours["series"] == theirs["series"]
    assert logged_files(theirs["files"]).items() <= logged_files(ours["files"]).items()
    assert plain(ours["summary"]) == plain(theirs["summary"])


def known(params: dict[str, str], changed: str) -> dict[str, str]:
    return {key: value for key, value in params.items() if key != changed}


def of_programs(tags: dict[str, str]) -> dict[str, str]:
    """Without what wandb says of the machine, and what an offline folder does not say: its own id, and versions."""
    own = ("wandb.host", "wandb.run_id", "wandb.artifact.", "wandb.config.")
    return {key: value for key, value in tags.items() if not key.startswith(own)}


def logged_files(files: dict[str, str]) -> dict[str, str]:
    """Without files that wandb makes itself; a page is changed by wandb, so its name and content differ."""
    own = ("requirements.txt", "output.log", "wandb-summary.json", "wandb-metadata.json", "config.yaml")
    return {path: sha256 for path, sha256 in files.items() if path not in own and not path.startswith("media/html")}


def plain(summary: dict[str, Any]) -> dict[str, Any]:
    """Numbers and texts of the summary, without wandb's own: media are described in other words."""
    found = {}
    for key, value in summary.items():
        if not key.startswith("_") and not (isinstance(value, dict) and ("_type" in value or media_in(value))):
            found[key] = repr(value) if isinstance(value, float) else value
    return found


def media_in(value: dict[str, Any]) -> bool:
    return any(isinstance(inner, dict) and "_type" in inner for inner in value.values())
