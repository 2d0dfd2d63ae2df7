"""The difference of two runs: launched ones, and runs that recorded themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mltrack.diff.launches import parse_requirements
from mltrack.entities import Dataset
from mltrack.recording import current_store, fluent
from mltrack.store import Store


def launch(folder: Path, name: str, *words: str, **variables: str) -> None:
    options = ["--no-system-metrics", "--no-watch", "--name", name]
    held = {key: value for key, value in os.environ.items() if not key.startswith(("MLTRACK_", "MLFLOW_"))}
    command = [sys.executable, "-m", "mltrack", "run", *options, "--", *words]
    subprocess.run(command, cwd=folder, env={**held, **variables}, check=True, capture_output=True, timeout=120)


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two launches: between them a file was changed, one added, and a variable and an argument are others."""
    folder = tmp_path_factory.mktemp("program")
    (folder / "train.sh").write_text("echo one\n")
    launch(folder, "one", "sh", "train.sh", "1", OMP_NUM_THREADS="1")
    (folder / "train.sh").write_text("echo two\n")
    (folder / "more.txt").write_text("new\n")
    launch(folder, "two", "sh", "train.sh", "2", OMP_NUM_THREADS="2")
    return Store.open(folder / ".mltrack")


def test_launched_runs_differ_in_source_command_and_environment(launched: Store) -> None:
    found = launched.diff("one", "two")
    assert [(file.name, file.change) for file in found.files] == [("more.txt", "added"), ("train.sh", "changed")]
    assert found.files[1].lines == "@@ -1 +1 @@\n-echo one\n+echo two\n"
    assert [(one.name, one.a, one.b) for one in found.command] == [("command", "sh train.sh 1", "sh train.sh 2")]
    assert [(one.name, one.a, one.b) for one in found.environment] == [("OMP_NUM_THREADS", "1", "2")]
    assert found.host == ()
    assert set(found.unknown) == {"packages"}  # a shell has none


def test_a_run_does_not_differ_from_itself(launched: Store) -> None:
    found = launched.diff("one", "one")
    assert not found.differs()


def test_the_order_of_the_runs_is_that_of_the_difference(launched: Store) -> None:
    found = launched.diff("two", "one")
    assert [(file.name, file.change) for file in found.files] == [("more.txt", "removed"), ("train.sh", "changed")]


def test_a_content_that_the_store_has_lost_is_said(launched: Store, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(launched.path, copy)
    for pack in (copy / "sources").glob("*.zip"):
        pack.unlink()
    changed = Store.open(copy).diff("one", "two").files[1]
    assert (changed.lines, changed.why) == (None, "not in this store")


def test_recorded_runs_differ_in_params_data_and_metrics_and_the_rest_is_unknown(tmp_path: Path) -> None:
    current_store.set_store(tmp_path / ".mltrack")
    for name, digest, rate in (("one", "d1", 0.1), ("two", "d2", 0.2)):
        with fluent.start_run(run_name=name) as run:
            run.log_params({"rate": rate, "same": 1})
            run.log_input(Dataset("digits", digest, "local", "{}"), context="training")
            run.log({"loss": rate})
    found = Store.open(tmp_path / ".mltrack").diff("one", "two")
    assert [(one.name, one.a, one.b) for one in found.params] == [("rate", "0.1", "0.2")]
    assert [(one.name, one.a, one.b) for one in found.data] == [("digits (training)", "d1", "d2")]
    assert [one.key for one in found.metrics] == ["loss"]
    assert set(found.unknown) == {"source", "packages", "environment"}
    assert "has no snapshot" in found.unknown["source"]
    assert found.differs("params")
    assert not found.differs("source", "command", "host")


def test_requirements_give_versions_and_origins_by_normalised_names() -> None:
    text = (
        "# Python 3.12.1\nNumPy==2.0\nruamel.yaml_x==1\nours @ git+https://host/x@abc\n"
        "# mine==0.1 (editable, from a folder of the machine it ran on)\n"
    )
    assert parse_requirements(text) == {
        "python": "3.12.1",
        "numpy": "2.0",
        "ruamel-yaml-x": "1",
        "ours": "git+https://host/x@abc",
        "mine": "0.1 (editable, from a folder of the machine it ran on)",
    }
