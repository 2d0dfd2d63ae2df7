"""Runs that are copied, pickled and sent to other processes, and where their counted steps go on."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

import mltrack
from mltrack.errors import NotFoundError, ParamConflictError, RunStateError
from tests.support.recording import run_python


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> mltrack.Store:
    mltrack.set_store(tmp_path / "s")
    return mltrack.get_store()


ELSEWHERE = """
import pickle, sys, mltrack
from mltrack.errors import MltrackError
run = pickle.loads(bytes.fromhex(sys.argv[1]))
"""


def elsewhere(run: mltrack.Run, code: str, status: int = 0) -> str:
    """Run code in another process, which is sent the run."""
    return run_python(ELSEWHERE + code, pickle.dumps(run).hex(), status=status)


def test_unpickling_a_run_in_its_own_process_gives_the_run_itself() -> None:
    with mltrack.start_run() as run:
        for other in (copy.copy(run), copy.deepcopy(run), copy.deepcopy({"run": [run]})["run"][0]):
            assert other is run
        assert pickle.loads(pickle.dumps(run)) is run
    assert pickle.loads(pickle.dumps(run)) is run


def test_a_run_unpickled_in_another_process_joins_it_and_does_not_end_it() -> None:
    with mltrack.start_run(run_name="r") as run:
        run.log_param("p", 1)
        out = elsewhere(
            run,
            """
print(run.run_id, run.name, run.ended)
with run:
    run.log_metric("a", 1.0)
    run.log_text("x", "from/afar.txt")
    run.set_tag("t", 1)
    run.log({"b": 1.0})
try: run.log_metric("a", 2.0)
except MltrackError as error: print(type(error).__name__)
again = pickle.loads(bytes.fromhex(sys.argv[1]))  # the next task of a worker
try: again.log_param("p", 2)
except MltrackError as error: print(type(error).__name__)
again.log_metric("a", 3.0)
again.log_series("c", range(5000))
assert pickle.loads(bytes.fromhex(sys.argv[1])) is again
sys.exit(3)
""",
            3,
        )
        assert out.split() == [run.run_id, "r", "False", RunStateError.__name__, ParamConflictError.__name__]
        assert run.info.status == "RUNNING"
        found = run.stored()
        assert {key: summary.count for key, summary in found.summaries.items()} == {"a": 2, "b": 1, "c": 5000}
        assert found.artifact_path("from/afar.txt").read_text() == "x"
        assert all(writer.ended for writer in found.writers() if writer.role == "fork")
    assert run.info.status == "FINISHED"
    assert not run.info.crashed


def test_an_unused_handle_leaves_nothing_behind() -> None:
    with mltrack.start_run() as run:
        elsewhere(run, "assert run.info.run_id == run.run_id")
        assert [writer.role for writer in run.stored().writers()] == ["create"]


def test_an_ended_run_is_unpickled_as_ended() -> None:
    with mltrack.start_run() as run:
        run.log_metric("a", 1.0)
    out = elsewhere(
        run,
        """
print(run.data.metrics["a"], run.ended)
try: run.log_metric("a", 2.0)
except MltrackError as error: print(type(error).__name__)
try: run.set_tag("a", 2.0)
except MltrackError as error: print(type(error).__name__)
""",
    )
    assert out.split() == ["1.0", "True", RunStateError.__name__, RunStateError.__name__]


def test_a_handle_without_access_to_its_store_fails_at_its_first_call_and_creates_nothing(tmp_path: Path) -> None:
    with mltrack.start_run() as run:
        sent = pickle.dumps(run)
        # the same bytes on a machine where the folder is another one
        moved = sent.replace(str(tmp_path / "s").encode(), str(tmp_path / "t").encode())
        code = """
print(run.run_id)
for call in (lambda: run.log_metric("a", 1.0), lambda: run.set_tag("a", 1), lambda: run.log_text("a", "a.txt")):
    try: call()
    except MltrackError as error: print(type(error).__name__)
"""
        assert run_python(ELSEWHERE + code, moved.hex()).split() == [run.run_id, *[NotFoundError.__name__] * 3]
        assert not (tmp_path / "t").exists()


def log_in_worker(run: mltrack.Run, number: int) -> int:
    run.log_metric("worker", number, number)
    return number


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_run_is_passed_to_forked_workers() -> None:
    with mltrack.start_run() as run:
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
            assert list(pool.map(log_in_worker, [run] * 20, range(20))) == list(range(20))
        run.log_metric("worker", 20, 20)
    assert sorted(run.metrics("worker").column("step").to_pylist()) == list(range(21))
    assert len(run.stored().writers()) <= 3
    assert all(writer.ended for writer in run.stored().writers())


@pytest.mark.slow
def test_a_run_is_passed_to_joblib_workers(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(
        "import mltrack\n"
        "def log(run, number): run.log_metric('worker', number, number); return run.run_id\n"
        "def own(number):\n"
        "    with mltrack.start_run(run_name='own'): mltrack.log_metric('own', number)\n"
    )
    code = """
import sys, joblib, mltrack, work
mltrack.set_store(sys.argv[1])
with mltrack.start_run(run_name="parent") as run:
    for backend in ("loky", "multiprocessing", "threading"):
        ids = joblib.Parallel(2, backend=backend)(joblib.delayed(work.log)(run, number) for number in range(4))
        assert set(ids) == {run.run_id}
        joblib.Parallel(2, backend=backend)(joblib.delayed(work.own)(number) for number in range(2))
"""
    store = tmp_path / "s"
    run_python(code, store, env={"PYTHONPATH": str(tmp_path), "MLTRACK_STORE": str(store)})
    runs = mltrack.Store.open(store).search_runs(filter_string="attributes.run_name = 'parent'")
    assert [(run.info.status, run.info.crashed) for run in runs] == [("FINISHED", False)]
    assert mltrack.get_run(runs[0].info.run_id).summaries["worker"].count == 12
    own = mltrack.Store.open(store).search_runs(filter_string="attributes.run_name = 'own'")
    assert [run.info.status for run in own] == ["FINISHED"] * 6


def test_stores_and_stored_runs_are_pickled(store: mltrack.Store) -> None:
    with mltrack.start_run() as run:
        run.log_metric("a", 1.0)
    for held in (store, copy.deepcopy(store), pickle.loads(pickle.dumps(store))):
        assert held.run(run.run_id).data.metrics == {"a": 1.0}
    stored = pickle.loads(pickle.dumps(store.run(run.run_id)))
    assert (stored.info.status, stored.data.metrics) == ("FINISHED", {"a": 1.0})


def test_log_without_a_step_continues_in_a_joined_run() -> None:
    with mltrack.start_run() as run:
        for _ in range(3):
            run.log({"loss": 1.0})
    with mltrack.start_run(run_id=run.run_id) as again:
        again.log_metrics({"system/cpu": 1.0}, 1000)
        for _ in range(2):
            again.log({"loss": 1.0})
        again.log_metric("loss", 1.0, step=10)
    with mltrack.start_run(run_id=run.run_id) as again:
        again.log({"loss": 1.0})
        again.log({"loss": 1.0}, step=20)
        again.log({"text": mltrack.Text("words")})
    with mltrack.start_run(run_id=run.run_id) as again:
        again.log({"loss": 1.0})
    assert again.metrics("loss").column("step").to_pylist() == [0, 1, 2, 3, 4, 10, 11, 20, 22]
    with mltrack.start_run(run_id=run.run_id) as again:
        again.log_metric("far", 1.0, step=2**63 - 1)
    with mltrack.start_run(run_id=run.run_id) as again:
        again.log({"far": 1.0})
    assert again.metrics("far").column("step").to_pylist() == [2**63 - 1] * 2
