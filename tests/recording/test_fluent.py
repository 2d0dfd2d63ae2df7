"""The module-level functions: which run is active, where it goes, and what importing costs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mltrack
from mltrack.errors import NotFoundError, RunStateError, UsageError
from tests.support.recording import run_python


@pytest.fixture
def store(tmp_path: Path) -> Path:
    mltrack.set_store(tmp_path / "s")
    return tmp_path / "s"


def test_logging_without_a_run_starts_one(store: Path) -> None:
    assert mltrack.active_run() is None
    mltrack.log_metric("a", 1.0, 1)
    run = mltrack.active_run()
    assert run is not None
    mltrack.log_metrics({"a": 2.0}, 2, timestamp=5)
    mltrack.log({"a": 3.0}, 3)
    mltrack.log_series("a", [4.0], [4])
    mltrack.log_metric("a", 5.0, 5, timestamp=9)
    mltrack.log_param("p", 1)
    mltrack.log_params({"q": 2})
    mltrack.set_tag("t", 1)
    mltrack.set_tags({"u": 2})
    mltrack.delete_tag("u")
    mltrack.log_input(mltrack.Dataset("d", "1", "local", "{}"), context="training")
    mltrack.log_text("x", "a.txt")
    mltrack.log_dict({}, "d.json")
    mltrack.flush()
    assert Path(mltrack.get_artifact_uri("a.txt")).read_text() == "x"
    mltrack.end_run()
    assert mltrack.active_run() is None
    assert mltrack.last_active_run() is run
    found = mltrack.get_run(run.run_id)
    assert found.metrics("a").column("step").to_pylist() == [1, 2, 3, 4, 5]
    assert found.params == {"p": "1", "q": "2"}
    assert [(used.dataset.name, used.context) for used in found.datasets] == [("d", "training")]
    assert found.tags["t"] == "1"
    assert found.info.status == "FINISHED"


def test_one_run_is_active_at_a_time_unless_nested(store: Path) -> None:
    with mltrack.start_run(run_name="parent", tags={"t": 1}, description="text") as parent:
        with pytest.raises(RunStateError, match="is active already"):
            mltrack.start_run()
        with mltrack.start_run(nested=True) as child:
            mltrack.log_metric("a", 1.0)
            with mltrack.start_run(nested=True) as grandchild:
                assert mltrack.active_run() is grandchild
            assert mltrack.active_run() is child
        mltrack.log_metric("b", 1.0)
    assert (parent.info.run_name, parent.data.tags["mlflow.note.content"]) == ("parent", "text")
    assert child.info.parent_run_id == parent.run_id
    assert grandchild.info.parent_run_id == child.run_id
    assert (set(parent.data.metrics), set(child.data.metrics)) == ({"b"}, {"a"})
    mltrack.start_run().end()


def test_a_run_ended_by_its_own_method_or_another_thread_is_no_longer_active(store: Path) -> None:
    run = mltrack.start_run()
    run.end()
    assert mltrack.active_run() is None
    second = mltrack.start_run()
    thread = threading.Thread(target=mltrack.end_run)
    thread.start()
    thread.join()
    assert second.info.status == "FINISHED"
    assert mltrack.active_run() is None
    mltrack.start_run().end()


def test_threads_have_their_own_runs(store: Path) -> None:
    main = mltrack.start_run()
    found: dict[str, str] = {}

    def work(name: str) -> None:
        mltrack.log_metric("before", 1.0)
        with mltrack.start_run(run_name=name) as run:
            found[name] = run.run_id
            mltrack.log_metric(name, 1.0)

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mltrack.log_metric("main", 1.0)
    main.end()
    for name, run_id in found.items():
        assert name in mltrack.get_run(run_id).summaries
    assert main.data.metrics["main"] == 1.0


def test_experiments_by_name_by_id_and_by_the_environment(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = mltrack.set_experiment("größe")
    assert mltrack.set_experiment("größe") == chosen == mltrack.get_experiment_by_name("größe")
    with mltrack.start_run() as run:
        pass
    assert (run.info.experiment_id, run.info.experiment_name) == (chosen.experiment_id, "größe")
    mltrack.set_experiment_tag("k", 1)
    assert mltrack.get_experiment(chosen.experiment_id).tags == {"k": "1"}
    other = mltrack.create_experiment("other", None, {"a": 1})
    with mltrack.start_run(experiment_id=other) as run:
        pass
    assert run.info.experiment_name == "other"
    mltrack.delete_experiment(other)
    for call in (
        lambda: mltrack.set_experiment(experiment_id=other),
        lambda: mltrack.set_experiment("other"),
        mltrack.set_experiment,
        lambda: mltrack.set_experiment("a", experiment_id="0"),
        lambda: mltrack.create_experiment("größe"),
        lambda: mltrack.delete_experiment("0"),
    ):
        with pytest.raises(UsageError):
            call()
    with pytest.raises(NotFoundError):
        mltrack.set_experiment(experiment_id="77")
    mltrack.set_store(store)  # forgets the choice
    monkeypatch.setenv("MLTRACK_EXPERIMENT_NAME", "from outside")
    with mltrack.start_run() as run:
        pass
    assert run.info.experiment_name == "from outside"


def test_a_deleted_experiment_refuses_runs_and_is_restored_with_its_own(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = mltrack.set_experiment("gone's")
    with mltrack.start_run() as kept:
        pass
    mltrack.delete_experiment(gone.experiment_id)
    mltrack.delete_experiment(gone.experiment_id)  # again: nothing happens
    number: Any = int(gone.experiment_id)
    starts: list[Callable[[], object]] = [
        mltrack.start_run,
        lambda: mltrack.start_run(experiment_id=gone.experiment_id),
        lambda: mltrack.start_run(experiment_id=number),
        lambda: mltrack.start_run(kept.run_id),
        lambda: mltrack.log_metric("a", 1.0),
        lambda: mltrack.set_experiment("gone's"),
        lambda: mltrack.set_experiment(experiment_id=gone.experiment_id),
        lambda: mltrack.set_experiment_tag("a", 1),
    ]
    for start in starts:
        with pytest.raises((UsageError, RunStateError), match="is deleted") as caught:
            start()
        assert "mltrack restore" in caught.value.hint
    assert mltrack.get_run(kept.run_id).info.lifecycle_stage == "deleted"
    mltrack.set_store(store)  # forgets the choice
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "gone's")
    with pytest.raises(UsageError, match="is deleted"):
        mltrack.start_run()
    assert mltrack.get_store().run_ids() == [kept.run_id]
    mltrack.restore_experiment(gone.experiment_id)
    assert mltrack.get_run(kept.run_id).info.lifecycle_stage == "active"
    with mltrack.start_run() as run:
        pass
    assert run.info.experiment_id == gone.experiment_id


def test_a_run_whose_experiment_alone_is_deleted_is_not_resumed(store: Path) -> None:
    gone = mltrack.set_experiment("gone")
    with mltrack.start_run() as run:
        pass
    mltrack.get_store().workspace.set_stage(gone.experiment_id, "deleted")
    with pytest.raises(RunStateError, match="experiment 'gone' of run") as caught:
        mltrack.start_run(run.run_id)
    assert caught.value.hint == "restore it: mltrack restore --experiment gone"


def test_the_environment_names_store_and_run(tmp_path: Path) -> None:
    code = "import mltrack\nwith mltrack.start_run() as run: run.log_metric('a', 1.0)\nprint(run.run_id)"
    env = {"MLTRACK_STORE": str(tmp_path / "named")}
    run_id = run_python(code, env=env).strip()
    assert run_python(code, env={**env, "MLTRACK_RUN_ID": run_id}).strip() == run_id
    mltrack.set_store(tmp_path / "named")
    assert mltrack.get_run(run_id).summaries["a"].count == 2


def test_a_wrong_status_is_refused_and_the_run_continues(store: Path) -> None:
    run = mltrack.start_run()
    with pytest.raises(UsageError, match="'DONE'"):
        mltrack.end_run("DONE")
    assert mltrack.active_run() is run
    mltrack.end_run("KILLED")
    mltrack.end_run()
    assert run.info.status == "KILLED"


def test_every_public_name_exists() -> None:
    pytest.importorskip("mlflow", reason="MlflowClient is made of MLflow's")
    for name in mltrack.__all__:
        assert getattr(mltrack, name) is not None
    shown = dir(mltrack)
    assert set(mltrack.__all__) <= set(shown)
    assert len(shown) == len(set(shown)) and "TYPE_CHECKING" not in shown
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mltrack.nothing  # type: ignore[attr-defined]  # noqa: B018


HEAVY = ["mlflow", "duckdb", "pyarrow", "pandas", "numpy", "httpx", "tenacity", "rich", "click", "psutil", "watchdog"]


def test_importing_and_a_short_run_import_nothing_heavy_and_importing_starts_no_thread(tmp_path: Path) -> None:
    code = """
import json, sys, threading
import mltrack
from mltrack import Run, start_run, log_metric, end_run
after_import = threading.active_count()
mltrack.set_store(sys.argv[1])
mltrack.set_experiment("e")
with mltrack.start_run() as run:
    for n in range(1000): run.log_metric("a", n, n)
    run.log({"b": 1.0})
    run.log_param("p", 1)
    run.log_text("x", "a.txt")
    run.log_dict({"a": 1}, "d.json")
print(json.dumps([after_import, sorted(name for name in sys.modules if "." not in name)]))
"""
    threads, modules = json.loads(run_python(code, tmp_path / "s"))
    assert threads == 1
    assert [name for name in HEAVY if name in modules] == []


def test_what_is_no_list_path_or_number_is_refused_with_words(tmp_path: Path) -> None:
    wrong: Any = 3
    with pytest.raises(UsageError, match=r"experiment_ids is 3, not a list"):
        mltrack.search_runs(experiment_ids=wrong, output_format="list")
    with pytest.raises(UsageError, match=r"experiment_ids is 3, not a list"):
        mltrack.Store.create(tmp_path / "s").search_runs(experiment_ids=wrong)
    with pytest.raises(UsageError, match=r"the store is 3, which is not a path"):
        mltrack.Store(wrong)
    with pytest.raises(UsageError, match=r"history='all' is not a number of points"):
        mltrack.start_run(history="all")  # type: ignore[arg-type]
