"""Ray Tune's trials are runs, for real: recorded by the driver's callback, or in the trials themselves."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from mltrack.storage.runs.stored_run import StoredRun
from mltrack.store import Store

pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(1200)]

HEAD = """
import os
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
import mltrack
from mltrack.integrations.ray import MltrackLoggerCallback, setup_mltrack

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
space = {"x": tune.grid_search([0, 1, 2, 3]), "net": {"depth": 4}}
scheduler = ASHAScheduler(time_attr="training_iteration", max_t=6, grace_period=2, reduction_factor=2)
where = os.path.abspath("results")
"""

CALLBACK = """
def train(config):
    for step in range(6):
        if config["x"] == 3 and step == 1:
            raise ValueError("broken")
        tune.report({"loss": config["x"] + step / 10, "net": {"grad": 0.5}})

with mltrack.start_run(run_name="search") as parent:
    callback = MltrackLoggerCallback(experiment_name="tuning", tags={"team": "a"}, save_artifact=True)
    settings = tune.TuneConfig(metric="loss", mode="min", scheduler=scheduler)
    run_settings = tune.RunConfig(name="first", storage_path=where, verbose=0, callbacks=[callback])
    tune.Tuner(train, param_space=space, tune_config=settings, run_config=run_settings).fit()
before = len(list(mltrack.get_store().runs()))
tuner = tune.Tuner.restore(where + "/first", train, resume_errored=True)
tuner.fit()
assert len(list(mltrack.get_store().runs())) == before, "the trial that failed goes on with its run"
"""

IN_TRIALS = """
def train(config):
    run = setup_mltrack(config, parent_run_id=parent_id)
    for step in range(6):
        mltrack.log_metric("inside", step, step=step)
        tune.report({"loss": config["x"] + step / 10})
        if config["x"] == 0 and step == 3:
            raise ValueError("broken")

with mltrack.start_run(run_name="search") as parent:
    parent_id = parent.run_id
    settings = tune.TuneConfig(metric="loss", mode="min", scheduler=scheduler, reuse_actors=True)
    run_settings = tune.RunConfig(name="second", storage_path=where, verbose=0)
    tune.Tuner(train, param_space=space, tune_config=settings, run_config=run_settings).fit()
"""


IN_WORKERS = """
import ray.train
from ray.train import RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

def train(config):
    with setup_mltrack(config, parent_run_id=config.pop("parent"), run_name="worker") as run:
        for step in range(5):
            run.log_metric("inside", step, step=step)
            mltrack.log_metric("active", step, step=step) if ray.train.get_context().get_world_rank() == 0 else None
            ray.train.report({"loss": 1.0})

with mltrack.start_run(run_name="search") as parent:
    DataParallelTrainer(
        train,
        train_loop_config={"x": 1, "net": {"depth": 4}, "parent": parent.run_id},
        scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 0.5}),
        run_config=RunConfig(name="third", storage_path=where),
    ).fit()
"""


def recorded(folder: Path, script: str) -> list[StoredRun]:
    """The runs that a script records."""
    if find_spec("ray") is None:
        pytest.skip("ray is not installed: pip install '.[frameworks]'")
    (folder / "tune.py").write_text(HEAD + script)
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_raylet_start_wait_time_s": "300",  # machines of tests are slow
    }
    command = [sys.executable, "-W", "ignore", "tune.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not list(folder.glob("results/**/store.json")), "no store in a trial's folder"
    return list(Store.open(folder / ".mltrack").runs())


def trials(runs: list[StoredRun]) -> dict[str, StoredRun]:
    """Trials by their x."""
    return {run.params["x"]: run for run in runs if "x" in run.params}


def test_the_callback_records_each_trial_and_goes_on_after_restore(tmp_path: Path) -> None:
    runs = recorded(tmp_path, CALLBACK)
    (parent,) = (run for run in runs if run.info.run_name == "search")
    found = trials(runs)
    assert found.keys() == {"0", "1", "2", "3"}
    assert {run.tags["mlflow.parentRunId"] for run in found.values()} == {parent.run_id}
    assert {run.info.experiment_name for run in found.values()} == {"tuning"}
    assert {run.tags["team"] for run in found.values()} == {"a"}
    assert [found[x].info.status for x in "0123"] == ["FINISHED", "FINISHED", "FINISHED", "FAILED"]
    best = found["0"]
    assert best.params == {"x": "0", "net/depth": "4"}
    losses = best.metrics("loss")
    assert losses.column("step").to_pylist() == [1, 2, 3, 4, 5, 6]
    assert losses.column("value").to_pylist() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert best.summaries["net/grad"].value == 0.5
    assert not {"pid", "timestamp", "done", "config/x"} & best.summaries.keys()
    assert any(artifact.path == "result.json" for artifact in best.artifacts)
    assert found["3"].metrics("loss").column("step").to_pylist()[:1] == [1]


def test_setup_in_a_trial_makes_a_run_that_ends_with_the_trial(tmp_path: Path) -> None:
    runs = recorded(tmp_path, IN_TRIALS)
    found = trials(runs)
    assert found.keys() == {"0", "1", "2", "3"}
    assert [found[x].info.status for x in "0123"] == ["FAILED", "FINISHED", "FINISHED", "FINISHED"]
    assert found["0"].metrics("inside").column("step").to_pylist() == [0, 1, 2, 3]
    assert any(run.summaries["inside"].count < 6 for x, run in found.items() if x != "0"), "some were stopped early"
    assert {run.tags["mlflow.parentRunId"] for run in found.values()} == {runs_named(runs, "search")}
    assert all(run.tags["ray.trial_id"] and run.info.live is not True for run in found.values())


def test_setup_in_workers_of_ray_train_makes_one_run_in_the_store_of_the_driver(tmp_path: Path) -> None:
    runs = recorded(tmp_path, IN_WORKERS)
    assert sorted(run.info.run_name for run in runs) == ["search", "worker"]
    (worker,) = (run for run in runs if run.info.run_name == "worker")
    assert worker.info.status == "FINISHED"
    assert worker.params == {"x": "1", "net/depth": "4"}
    assert worker.tags["mlflow.parentRunId"] == runs_named(runs, "search")
    for key in ("inside", "active"):
        assert worker.metrics(key).column("step").to_pylist() == [0, 1, 2, 3, 4]


def test_a_machine_without_the_store_says_what_to_do(tmp_path: Path) -> None:
    if find_spec("ray") is None:
        pytest.skip("ray is not installed: pip install '.[frameworks]'")
    from mltrack.integrations.ray import own_store

    head = {"NodeID": "1", "Alive": True, "NodeManagerHostname": "a", "Resources": {"node:__internal_head__": 1.0}}
    worker = {"NodeID": "2", "Alive": True, "NodeManagerHostname": "b", "Resources": {"CPU": 2.0}}
    store = tmp_path / ".mltrack"
    words = own_store(store, [head, worker], "2")
    assert words.startswith(f"b has no store at {store}, so one begins there")
    assert words.endswith(f"mltrack pull ssh://b{store}")
    assert own_store(store, [head, worker], "1") == own_store(store, [head, worker | {"Alive": False}], "1") == ""
    assert own_store(store, [head, worker | {"NodeManagerHostname": "a"}], "2") == ""
    Store.create(store)
    assert own_store(store, [head, worker], "2") == ""


def runs_named(runs: list[StoredRun], name: str) -> str:
    (run,) = (run for run in runs if run.info.run_name == name)
    return run.run_id
