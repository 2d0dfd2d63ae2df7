"""Children of multiprocessing log to the run of their parent, however they are started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mltrack.store import Store

pytestmark = pytest.mark.slow

PROGRAM = """
import sys
import mltrack

def log(number):
    mltrack.log_metric("loss", number, step=number)
    mltrack.set_tag(f"tag{number}", "set")

def log_in_a_grandchild(number):
    import multiprocessing
    child = multiprocessing.get_context(sys.argv[1]).Process(target=log, args=(number,))
    child.start()
    child.join()

def start_a_run(number, nested):
    with mltrack.start_run(run_name=f"own{number}", nested=nested):
        mltrack.log_metric("own", number)
    log(number)

def end_and_log(number):
    mltrack.end_run()
    mltrack.log_param("new", number)

def run(target, *args):
    child = context.Process(target=target, args=args)
    child.start()
    child.join()
    assert child.exitcode == 0

if __name__ == "__main__":
    with mltrack.start_run(run_name="parent"):
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor
        context = multiprocessing.get_context(sys.argv[1])
        with context.Pool(2) as pool:
            pool.map(log, range(2))
        with ProcessPoolExecutor(2, mp_context=context) as executor:
            list(executor.map(log, [2, 3]))
        run(log_in_a_grandchild, 4)
        run(start_a_run, 5, False)
        run(start_a_run, 6, True)
        run(end_and_log, 7)
    run(log, 8)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_log_to_the_run_that_was_active_when_they_were_started(tmp_path: Path, method: str) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    environment = {**os.environ, "MLTRACK_STORE": str(tmp_path / ".mltrack"), "MLTRACK_QUIET": "1"}
    command = [sys.executable, "program.py", method]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")

    store = Store.open(tmp_path / ".mltrack")
    runs = {found.info.run_name: store.run(found.info.run_id) for found in store.search_runs()}
    parent = runs.pop("parent")
    assert sorted(parent.metrics("loss")["step"].to_pylist()) == [0, 1, 2, 3, 4, 5, 6]
    assert {f"tag{number}" for number in range(7)} <= set(parent.data.tags)
    assert parent.info.status == "FINISHED"
    assert "mlflow.parentRunId" not in runs.pop("own5").data.tags
    assert runs.pop("own6").data.tags["mlflow.parentRunId"] == parent.run_id
    after_its_end, later = sorted(runs.values(), key=lambda run: run.info.start_time)
    assert after_its_end.data.params == {"new": "7"}  # the child ended its part of the run, and then began another
    assert later.metrics("loss")["step"].to_pylist() == [8]  # started when no run was active


CHOSEN = """
import sys
import mltrack

def train(number):
    with mltrack.start_run(run_name=f"run{number}"):
        mltrack.log_metric("loss", number)

if __name__ == "__main__":
    import multiprocessing
    mltrack.set_tracking_uri("elsewhere")
    mltrack.set_experiment("sweep")
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        pool.map(train, range(2))
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_record_into_the_store_and_the_experiment_that_were_chosen(tmp_path: Path, method: str) -> None:
    (tmp_path / "program.py").write_text(CHOSEN)
    environment = {key: value for key, value in os.environ.items() if key != "MLTRACK_STORE"}
    done = subprocess.run([sys.executable, "program.py", method], cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    found = Store.open(tmp_path / "elsewhere").search_runs()
    assert sorted((run.info.run_name, run.info.experiment_name) for run in found) == [
        ("run0", "sweep"),
        ("run1", "sweep"),
    ]
    assert not (tmp_path / ".mltrack").exists()


LIGHT = """
import multiprocessing, sys

def look(_):
    return sorted(name for name in sys.modules if name.startswith("mltrack"))

if __name__ == "__main__":
    import mltrack
    with mltrack.start_run():
        mltrack.log_metric("loss", 1)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(pool.map(look, [0]))
"""


def test_a_child_that_logs_nothing_does_not_import_mltrack(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(LIGHT)
    environment = {**os.environ, "MLTRACK_STORE": str(tmp_path / ".mltrack"), "MLTRACK_QUIET": "1"}
    command = [sys.executable, "program.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[[]]\n", "")
