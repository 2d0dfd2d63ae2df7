"""Real processes that use MLflow's own functions on one store: at once, killed, ended without end_run, forked."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mltrack.mlflow_plugin import run_pool
from mltrack.storage.check.check import check_store
from tests.support.plugin.spawning import Template
from tests.support.recording import run_python

POINTS = 50


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """MLflow on a new store."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"mltrack://{tmp_path}/.mltrack")
    yield MlflowClient()
    while mlflow.active_run():
        mlflow.end_run()
    run_pool.close_all()


@pytest.fixture(scope="module")
def template() -> Iterator[Template]:
    made = Template()
    yield made
    made.close()


@pytest.mark.slow
def test_eight_processes_log_to_one_run_and_to_their_own_and_nothing_is_lost(
    client: Any, tmp_path: Path, template: Template
) -> None:
    shared = client.create_run("0").info.run_id
    lines = (
        f"with mlflow.start_run(run_id={shared!r}):",
        f"    for n in range({POINTS}): mlflow.log_metric(f'loss.{{NUMBER}}', n / 7, step=n)",
        "    mlflow.log_param(f'p{NUMBER}', NUMBER); mlflow.set_tag('last', NUMBER)",
        "    with mlflow.start_run(nested=True, run_name=f'own-{NUMBER}'):",
        f"        for n in range({POINTS}): mlflow.log_metrics({{'a': n, 'b': -n}}, step=n)",
    )
    template.run(tmp_path, *lines, count=8)

    run = client.get_run(shared)
    assert run.data.params == {f"p{number}": str(number) for number in range(8)}
    assert run.data.tags["last"] in "01234567"
    for number in range(8):
        history = client.get_metric_history(shared, f"loss.{number}")
        assert [(m.step, m.value) for m in history] == [(n, n / 7) for n in range(POINTS)]
    children = client.search_runs(["0"], f"tags.mlflow.parentRunId = '{shared}'")
    assert {child.info.run_name for child in children} == {f"own-{number}" for number in range(8)}
    assert {child.info.status for child in children} == {"FINISHED"}
    for child in children:
        assert child.data.metrics == {"a": POINTS - 1, "b": 1 - POINTS}
        assert len(client.get_metric_history(child.info.run_id, "b")) == POINTS


def test_a_killed_process_keeps_everything_it_logged(client: Any, tmp_path: Path, template: Template) -> None:
    template.run(
        tmp_path,
        "run = mlflow.start_run(run_name='doomed')",
        "mlflow.log_param('lr', 0.1)",
        f"for n in range({POINTS}): mlflow.log_metric('loss', n, step=n)",
        "os.kill(os.getpid(), signal.SIGKILL)",
        code=-signal.SIGKILL,
    )
    (run,) = client.search_runs(["0"])
    assert (run.info.run_name, run.data.params, run.data.metrics) == ("doomed", {"lr": "0.1"}, {"loss": POINTS - 1})
    assert run.info.status == "FAILED"  # where the SQL store has it RUNNING for ever
    assert len(client.get_metric_history(run.info.run_id, "loss")) == POINTS
    with mlflow.start_run(run_id=run.info.run_id):
        mlflow.log_metric("loss", 0.5, step=POINTS)
        assert client.get_run(run.info.run_id).info.status == "RUNNING"
    assert client.get_run(run.info.run_id).info.status == "FINISHED"
    assert len(client.get_metric_history(run.info.run_id, "loss")) == POINTS + 1


def test_a_script_that_ends_finishes_its_run_as_with_mlflow(client: Any, tmp_path: Path, template: Template) -> None:
    template.run(
        tmp_path,
        "mlflow.start_run(run_name='active')",
        "mlflow.log_metric('a', 1)",
        "run = MlflowClient().create_run('0', run_name='by-client')",
        "MlflowClient().log_metric(run.info.run_id, 'a', 2)",
    )
    found = {run.info.run_name: run for run in client.search_runs(["0"])}
    assert {name: run.info.status for name, run in found.items()} == {"active": "FINISHED", "by-client": "RUNNING"}
    assert {name: run.data.metrics for name, run in found.items()} == {"active": {"a": 1.0}, "by-client": {"a": 2.0}}
    folder = tmp_path / ".mltrack" / "runs" / found["active"].info.run_id / "events"
    assert len(list(folder.iterdir())) == 1  # it was not let go of before MLflow ended it


def test_a_script_that_fails_ends_its_run_as_failed(client: Any, tmp_path: Path, template: Template) -> None:
    template.run(tmp_path, "with mlflow.start_run(): mlflow.log_metric('a', 1); sys.exit(3)", code=3)
    (run,) = client.search_runs(["0"])
    assert (run.info.status, run.data.metrics) == ("FAILED", {"a": 1.0})


def test_children_of_multiprocessing_log_to_the_run_of_their_parent(
    client: Any, tmp_path: Path, template: Template
) -> None:
    template.run(
        tmp_path,
        "import multiprocessing, warnings; warnings.simplefilter('ignore')",
        "context = multiprocessing.get_context('fork')",
        "def work(number):",
        "    for n in range(50): MlflowClient().log_metric(run.info.run_id, f'm{number}', n, step=n)",
        "    other = MlflowClient().create_run('0', run_name=f'child-{number}')",
        "    MlflowClient().log_metric(other.info.run_id, 'a', number)",
        "with mlflow.start_run(run_name='parent') as run:",
        "    mlflow.log_metric('before', 1)",
        "    children = [context.Process(target=work, args=(n,)) for n in range(2)]",
        "    for child in children: child.start()",
        "    for child in children: child.join()",
        "    assert [child.exitcode for child in children] == [0, 0]",
        "    mlflow.log_metric('after', 1)",
    )
    found = {run.info.run_name: run for run in client.search_runs(["0"])}
    assert found["parent"].data.metrics == {"before": 1.0, "after": 1.0, "m0": 49.0, "m1": 49.0}
    assert found["parent"].info.status == "FINISHED"
    for number in range(2):
        assert len(client.get_metric_history(found["parent"].info.run_id, f"m{number}")) == 50
        child = found[f"child-{number}"]
        assert (child.info.status, child.data.metrics) == ("RUNNING", {"a": float(number)})


def test_threads_log_to_a_shared_run_and_to_their_own(client: Any) -> None:
    shared = client.create_run("0").info.run_id
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with mlflow.start_run(run_name=f"own-{number}"):
                for n in range(50):
                    client.log_metric(shared, "shared", number * 1_000 + n, step=number * 1_000 + n)
                    mlflow.log_metric("own", n, step=n)
                    client.log_param(shared, f"p{number}.{n}", n)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    steps = {m.step for m in client.get_metric_history(shared, "shared")}
    assert steps == {number * 1_000 + n for number in range(2) for n in range(50)}
    assert len(client.get_run(shared).data.params) == 100
    assert {r.info.status for r in client.search_runs(["0"], "run_name LIKE 'own-%'")} == {"FINISHED"}


def test_everything_logged_asynchronously_is_stored_after_a_flush(client: Any) -> None:
    with mlflow.start_run() as run:
        for n in range(300):
            mlflow.log_metric("a", n, step=n, synchronous=False)
        mlflow.log_params({"x": 1, "y": 2}, synchronous=False)
        tagging: Any = mlflow.set_tag("t", "v", synchronous=False)
        tagging.wait()
        mlflow.flush_async_logging()
        changing: Any = mlflow.log_param("x", 3, synchronous=False)
        with pytest.raises(MlflowException):
            changing.wait()
    assert len(client.get_metric_history(run.info.run_id, "a")) == 300
    data = client.get_run(run.info.run_id).data
    assert (data.params, data.tags["t"]) == ({"x": "1", "y": "2"}, "v")


def test_everything_logged_asynchronously_is_stored_after_the_end(
    client: Any, tmp_path: Path, template: Template
) -> None:
    template.run(
        tmp_path,
        "mlflow.start_run()",
        "for n in range(300): mlflow.log_metric('a', n, step=n, synchronous=False)",
    )
    (run,) = client.search_runs(["0"])
    assert run.info.status == "FINISHED"
    assert len(client.get_metric_history(run.info.run_id, "a")) == 300


def test_threads_may_use_the_registry_for_the_first_time_concurrently(
    client: Any, tmp_path: Path, template: Template
) -> None:
    template.run(
        tmp_path,
        "client, found = MlflowClient(), []",
        "gate = threading.Barrier(8)",
        "def work(): gate.wait(); found.append(client.search_registered_models())",
        "threads = [threading.Thread(target=work) for _ in range(8)]",
        "for thread in threads: thread.start()",
        "for thread in threads: thread.join()",
        "assert found == [[]] * 8, found",
    )


@pytest.mark.slow
def test_a_relative_uri_means_the_same_store_after_the_working_folder_changed(
    client: Any, tmp_path: Path, template: Template
) -> None:
    (tmp_path / "elsewhere").mkdir()
    template.run(
        tmp_path,
        f"os.chdir({str(tmp_path)!r}); mlflow.set_tracking_uri('mltrack:.mltrack')",
        "run = MlflowClient().create_run('0')",
        "os.chdir('elsewhere')",
        "MlflowClient().create_registered_model('m')",
        "MlflowClient().log_text(run.info.run_id, 'x', 'x.txt')",
        "assert not os.listdir('.'), os.listdir('.')",
    )
    assert [model.name for model in client.search_registered_models()] == ["m"]
    assert [info.path for info in client.list_artifacts(client.search_runs(["0"])[0].info.run_id)] == ["x.txt"]


@pytest.mark.slow
def test_nested_runs_know_their_parent(client: Any) -> None:
    with mlflow.start_run() as parent:
        for number in range(2):
            with mlflow.start_run(nested=True) as child:
                mlflow.log_metric("a", number)
            assert client.get_run(child.info.run_id).data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert client.get_parent_run(child.info.run_id).info.run_id == parent.info.run_id
    assert len(mlflow.search_runs(filter_string=f"tags.mlflow.parentRunId = '{parent.info.run_id}'")) == 2


@pytest.mark.slow
def test_mlflow_gc_removes_deleted_runs_and_experiments(client: Any, tmp_path: Path, template: Template) -> None:
    experiment_id = client.create_experiment("old")
    doomed = [client.create_run(experiment_id).info.run_id, client.create_run("0").info.run_id]
    kept = client.create_run("0").info.run_id
    client.delete_experiment(experiment_id)
    client.delete_run(doomed[1])
    uri = f"mltrack://{tmp_path}/.mltrack"
    run_pool.close_all()
    template.run(
        tmp_path, f"from mlflow.cli import cli; cli(['gc', '--backend-store-uri', {uri!r}, '--tracking-uri', {uri!r}])"
    )
    assert sorted(path.name for path in (tmp_path / ".mltrack" / "runs").iterdir()) == [kept]
    assert client.get_experiment_by_name("old") is None


@pytest.mark.slow
def test_a_store_moved_under_a_process_is_reported_in_one_line(client: Any, tmp_path: Path) -> None:
    run = mlflow.start_run()
    mlflow.log_metric("loss", 1.0)
    (tmp_path / ".mltrack").rename(tmp_path / "moved")
    calls: list[Callable[[], object]] = [
        lambda: mlflow.log_metric("loss", 2.0),
        lambda: mlflow.log_text("x", "a.txt"),
        lambda: mlflow.get_run(run.info.run_id),
        lambda: mlflow.search_runs(search_all_experiments=True),
        lambda: mlflow.set_experiment("other"),
        lambda: mlflow.register_model(f"runs:/{run.info.run_id}/m", "m"),
    ]
    for call in calls:
        with pytest.raises(MlflowException, match=r"the store .* is gone: it was moved or removed"):
            call()
    assert not (tmp_path / ".mltrack").exists()
    assert check_store(tmp_path / "moved").sound
    (tmp_path / "moved").rename(tmp_path / ".mltrack")  # back where it was, it serves again
    mlflow.log_metric("loss", 3.0)
    mlflow.end_run()
    assert mlflow.get_run(run.info.run_id).data.metrics == {"loss": 3.0}


CHILDREN = """
import multiprocessing, sys, mlflow

def left(name): mlflow.start_run(run_name=name); mlflow.log_metric("m", 1)
def failed(name): left(name); sys.exit(3)
def nested(name): left(name); mlflow.start_run(run_name="nested", nested=True)
def by_client(name): mlflow.MlflowClient().create_run("0", run_name=name)

if __name__ == "__main__":
    def run(method, work):
        child = multiprocessing.get_context(method).Process(target=work, args=(work.__name__,))
        child.start()
        child.join()

    for work in (left, failed):
        run("fork", work)
    with mlflow.start_run(run_name="parent"):
        for work in (left, nested, by_client):
            run("fork", work)
        mlflow.log_metric("m", 1)
    run("forkserver", left)
"""


@pytest.mark.slow
def test_a_child_of_multiprocessing_ends_its_own_runs_and_none_of_its_parent(client: Any, tmp_path: Path) -> None:
    script = tmp_path / "children.py"
    script.write_text(CHILDREN)
    run_python("import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')", script)
    found = sorted((run.info.run_name, run.info.status) for run in client.search_runs(["0"]))
    assert found == [
        ("by_client", "RUNNING"),
        ("failed", "FAILED"),
        *[("left", "FINISHED")] * 3,
        ("nested", "FINISHED"),
        ("nested", "FINISHED"),
        ("parent", "FINISHED"),
    ]
