"""Runs that are started, and asked for, while the machine refuses what it gave before."""

from __future__ import annotations

from pathlib import Path

import pytest

from mltrack.store import Store
from tests.support.recording import run_python

SCRIPT = """
import os, resource, sys, mltrack
mltrack.set_store(sys.argv[1])
mltrack.set_experiment("trials")
outer = mltrack.start_run(run_name="outer")
before = outer.info
{limit}
for trial in range(3):
    with mltrack.start_run(run_name=f"trial {{trial}}", nested=True, log_system_metrics=True) as run:
        info = run.info
        assert (info.run_id, info.run_name, info.status) == (run.run_id, f"trial {{trial}}", "RUNNING")
        assert (info.experiment_name, info.parent_run_id) == ("trials", outer.run_id)
        mltrack.log_metric("loss", 1.0)
    assert run.info.status == "FINISHED"
assert outer.info == before
{relief}
mltrack.end_run()
"""
HARD = "resource.getrlimit(resource.{})[1]"
DESCRIPTORS = f"resource.setrlimit(resource.RLIMIT_NOFILE, (3, {HARD.format('RLIMIT_NOFILE')}))"
MORE = f"resource.setrlimit(resource.RLIMIT_NOFILE, (100, {HARD.format('RLIMIT_NOFILE')}))"
FILE_SIZE = f"resource.setrlimit(resource.RLIMIT_FSIZE, (0, {HARD.format('RLIMIT_FSIZE')}))"
NO_FOLDER = "import shutil; shutil.rmtree(sys.argv[1] + '/runs'); open(sys.argv[1] + '/runs', 'w').close()"


@pytest.mark.parametrize("limit", [DESCRIPTORS, FILE_SIZE], ids=["descriptors", "file size"])
def test_runs_inside_a_training_start_whatever_resource_runs_out(tmp_path: Path, limit: str) -> None:
    run_python(SCRIPT.format(limit=limit, relief=""), tmp_path / "s")


def test_runs_started_without_file_descriptors_are_stored_once_there_are_some(tmp_path: Path) -> None:
    relief = f"{MORE}; run = mltrack.start_run(run_name='last', nested=True); run.end()"
    run_python(SCRIPT.format(limit=DESCRIPTORS, relief=relief), tmp_path / "s")
    named = {run.info.run_name: run.info.status for run in Store.open(tmp_path / "s").search_runs()}
    assert named["outer"] == named["last"] == "FINISHED"


def test_a_store_that_becomes_unusable_ends_no_training_and_is_refused_to_the_next(tmp_path: Path) -> None:
    script = f"""
import sys, mltrack
mltrack.set_store(sys.argv[1])
mltrack.start_run().end()
{NO_FOLDER}
with mltrack.start_run(): mltrack.log_metric("loss", 1.0)
"""
    run_python(script, tmp_path / "s")
    run_python("import sys, mltrack\nmltrack.set_store(sys.argv[1])\nmltrack.start_run()", tmp_path / "s", status=1)


def test_a_run_can_be_shown_without_arrow(tmp_path: Path) -> None:
    script = """
import sys
sys.modules["pyarrow"] = sys.modules["numpy"] = None
import mltrack
mltrack.set_store(sys.argv[1])
with mltrack.start_run(run_name="plain") as run:
    assert (run.info.run_name, run.info.status) == ("plain", "RUNNING")
assert run.info.status == "FINISHED"
with mltrack.start_run(run_id=run.run_id) as again:
    assert (again.info.run_name, again.info.status) == ("plain", "RUNNING")
"""
    run_python(script, tmp_path / "s")


def test_a_histogram_that_cannot_be_counted_is_lost_and_what_is_logged_with_it_is_not(tmp_path: Path) -> None:
    script = """
import sys
sys.modules["numpy"] = None
import mltrack
mltrack.set_store(sys.argv[1])
with mltrack.start_run():
    mltrack.log({"weights": mltrack.Histogram([1.0, 2.0]), "loss": 0.5})
"""
    run_python(script, tmp_path / "s")
    (run,) = Store.open(tmp_path / "s").runs()
    assert (run.info.status, dict(run.data.metrics)) == ("FINISHED", {"loss": 0.5})
