"""XGBoost, LightGBM and Optuna log to runs, for real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mltrack
from mltrack.store import Store

pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("ignore")]

HOW = "pip install '.[frameworks]'"


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> Iterator[Store]:
    mltrack.set_store(tmp_path / "store")
    yield mltrack.get_store()
    mltrack.set_store(None)


def data() -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    rows = random.normal(size=(200, 3))
    return rows, rows[:, 0] * 2 + random.normal(scale=0.1, size=200)


def test_xgboost_logs_each_round_and_its_settings(store: Store) -> None:
    xgboost = pytest.importorskip("xgboost", reason=HOW)
    from mltrack.integrations.xgboost import MltrackCallback

    rows, labels = data()
    matrix = xgboost.DMatrix(rows, labels)
    evaluations = [(matrix, "train"), (matrix, "valid")]
    xgboost.train(
        {"max_depth": 2, "eta": 0.5},
        matrix,
        num_boost_round=5,
        evals=evaluations,
        verbose_eval=False,
        callbacks=[MltrackCallback(run_name="trees")],
    )
    (run,) = store.runs()
    assert (run.info.run_name, run.info.status) == ("trees", "FINISHED")
    assert run.metrics("train-rmse").column("step").to_pylist() == [0, 1, 2, 3, 4]
    assert run.summaries["valid-rmse"].count == 5
    assert run.params["max_depth"] == "2"
    assert run.params["objective"] == "reg:squarederror"


def test_xgboost_ends_a_training_whose_run_is_asked_to_stop(store: Store) -> None:
    xgboost = pytest.importorskip("xgboost", reason=HOW)
    from mltrack.integrations.xgboost import MltrackCallback

    rows, labels = data()
    matrix = xgboost.DMatrix(rows, labels)
    with mltrack.start_run() as run:
        store.stop_run(run.run_id, "enough")
        xgboost.train({}, matrix, num_boost_round=50, evals=[(matrix, "train")], callbacks=[MltrackCallback()])
    assert store.run(run.run_id).summaries["train-rmse"].count == 1


def test_lightgbm_logs_each_round_into_the_active_run(store: Store) -> None:
    lightgbm = pytest.importorskip("lightgbm", reason=HOW)
    from mltrack.integrations.lightgbm import MltrackCallback

    rows, labels = data()
    training = lightgbm.Dataset(rows, labels)
    with mltrack.start_run(run_name="leaves") as run:
        lightgbm.train(
            {"num_leaves": 4, "verbose": -1, "metric": "l2"},
            training,
            num_boost_round=6,
            valid_sets=[training],
            valid_names=["valid"],
            callbacks=[MltrackCallback()],
        )
        assert not run.ended
    (stored,) = store.runs()
    assert stored.metrics("valid-l2").column("step").to_pylist() == [0, 1, 2, 3, 4, 5]
    assert stored.params["num_leaves"] == "4"


def test_each_trial_of_optuna_is_a_run_and_a_pruned_one_has_not_failed(store: Store) -> None:
    optuna = pytest.importorskip("optuna", reason=HOW)
    from mltrack.integrations.optuna import MltrackTracker

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def objective(trial: Any) -> float:
        x = trial.suggest_float("x", -1, 1)
        mltrack.log_metric("inside", x)
        trial.report(x, 3)
        if trial.number == 1:
            raise optuna.TrialPruned
        if trial.number == 2:
            raise ValueError("broken")
        return float(x * x)

    with mltrack.start_run(run_name="search") as parent:
        study = optuna.create_study(study_name="squares")
        study.optimize(MltrackTracker(["loss"]).track(objective), n_trials=4, catch=(ValueError,))
    runs = {run.tags["optuna.trial"]: run for run in store.runs() if run.run_id != parent.run_id}
    assert runs.keys() == {"0", "1", "2", "3"}
    assert {run.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.run_id}
    assert [runs[n].tags["optuna.state"] for n in "0123"] == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE"]
    assert [runs[n].info.status for n in "0123"] == ["FINISHED", "FINISHED", "FAILED", "FINISHED"]
    assert runs["0"].summaries["loss"].value == pytest.approx(float(runs["0"].params["x"]) ** 2)
    assert runs["1"].metrics("intermediate_value").column("step").to_pylist() == [3]
    assert runs["0"].summaries["inside"].count == 1
    assert runs["0"].tags["optuna.study"] == "squares"


def test_lightgbm_ends_a_training_whose_run_is_asked_to_stop(store: Store) -> None:
    lightgbm = pytest.importorskip("lightgbm", reason=HOW)
    from mltrack.integrations.lightgbm import MltrackCallback

    rows, labels = data()
    training = lightgbm.Dataset(rows, labels)
    settings = {"num_leaves": 4, "verbose": -1}
    with mltrack.start_run() as run:
        store.stop_run(run.run_id, "enough")
        booster = lightgbm.train(settings, training, 50, valid_sets=[training], callbacks=[MltrackCallback()])
        lightgbm.cv(settings, training, 50, nfold=2, stratified=False, callbacks=[MltrackCallback()])
    assert booster.current_iteration() == booster.best_iteration == 1
    assert booster.best_score["training"]
    assert {summary.count for summary in store.run(run.run_id).summaries.values()} == {1}


def test_lightgbm_keeps_the_round_that_stops_early_and_ends_its_own_run(store: Store) -> None:
    lightgbm = pytest.importorskip("lightgbm", reason=HOW)
    from mltrack.integrations.lightgbm import MltrackCallback

    rows, labels = data()
    training = lightgbm.Dataset(rows[:100], labels[:100])
    noise = lightgbm.Dataset(rows[100:], -labels[100:], reference=training)  # gets worse from the first round on

    def train(callback: MltrackCallback) -> Any:
        stopping = lightgbm.early_stopping(3, verbose=False)
        return lightgbm.train(
            {"num_leaves": 4, "verbose": -1, "metric": "l2"},
            training,
            num_boost_round=50,
            valid_sets=[noise],
            valid_names=["valid"],
            callbacks=[stopping, callback],
        )

    with MltrackCallback(run_name="first") as callback:
        booster = train(callback)
    again = MltrackCallback(run_name="again")
    train(again)
    train(again)
    again.end()
    runs = list(store.runs())
    assert sorted(run.info.run_name for run in runs) == ["again", "again", "first"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    rounds = booster.best_iteration + 3
    assert rounds < 50
    assert {run.summaries["valid-l2"].count for run in runs} == {rounds}, "the last round is there"


def test_a_callback_logs_to_the_run_that_is_active_when_it_trains_again(store: Store) -> None:
    lightgbm = pytest.importorskip("lightgbm", reason=HOW)
    from mltrack.integrations.lightgbm import MltrackCallback

    rows, labels = data()
    callback = MltrackCallback()
    for name in ("one", "two"):
        with mltrack.start_run(run_name=name):
            training = lightgbm.Dataset(rows, labels)
            lightgbm.train({"verbose": -1}, training, num_boost_round=2, valid_sets=[training], callbacks=[callback])
    assert {run.info.run_name: run.summaries["training-l2"].count for run in store.runs()} == {"one": 2, "two": 2}
