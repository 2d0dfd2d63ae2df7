"""What a logger of mltrack costs a step, beside the framework's own MLflow logger on the same store by the plugin.

    pip install '.[frameworks,mlflow]' && python benchmarks/bench_integrations.py [NAME ...]

A step logs three metrics, by the call that the framework makes: XGBoost, LightGBM and Ignite really train, and what
the training costs without a logger is taken off; of the others the logger's own method is called with what the
framework gives it. Each figure is the median of several fresh processes. Stable-Baselines3 brings no MLflow logger:
beside it is the one that its documentation shows. What is not installed is left out.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

from measure import fresh_folder, heading, in_fresh_process, median_of, row

STEPS = {"mltrack": 3_000, "mlflow": 300}
"""How many are measured, after a tenth of it to warm up."""

VALUES = {"loss": 0.25, "accuracy": 0.75, "lr": 0.001}
ROUNDS_FEW, ROUNDS_MANY = 50, 250


def is_ours(kind: str) -> bool:
    """Which of the two is measured."""
    return kind == "mltrack"


def seconds_a_step(kind: str, step: Callable[[int], Any]) -> float:
    """How long a call takes."""
    count = STEPS[kind]
    for number in range(count // 10):
        step(number)
    start = time.perf_counter()
    for number in range(count // 10, count // 10 + count):
        step(number)
    return (time.perf_counter() - start) / count


# --- the parts, each in a process of its own ---


def lightning(kind: str) -> float:
    """Lightning's ``log_metrics``."""
    if is_ours(kind):
        from mltrack.integrations.lightning import MltrackLogger

        logger: Any = MltrackLogger()
    else:
        from lightning.pytorch.loggers import MLFlowLogger

        logger = MLFlowLogger(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    return seconds_a_step(kind, lambda number: logger.log_metrics(VALUES, step=number))


def transformers(kind: str) -> float:
    """The Trainer's ``on_log``."""
    from transformers import TrainerControl, TrainerState, TrainingArguments

    if is_ours(kind):
        from mltrack.integrations.transformers import MltrackCallback

        callback: Any = MltrackCallback()
    else:
        from transformers.integrations import MLflowCallback

        callback = MLflowCallback()
    arguments, control = TrainingArguments("out", report_to="none"), TrainerControl()
    state = TrainerState(is_world_process_zero=True)
    callback.on_train_begin(arguments, state, control, model=None)

    def step(number: int) -> None:
        state.global_step = number
        callback.on_log(arguments, state, control, logs=VALUES, model=None)

    return seconds_a_step(kind, step)


def accelerate(kind: str) -> float:
    """``accelerator.log``."""
    from accelerate import Accelerator

    if is_ours(kind):
        from mltrack.integrations.accelerate import MltrackTracker

        accelerator = Accelerator(cpu=True, log_with=MltrackTracker())
    else:
        accelerator = Accelerator(cpu=True, log_with="mlflow")
    accelerator.init_trackers("bench")
    return seconds_a_step(kind, lambda number: accelerator.log(VALUES, step=number))


def keras(kind: str) -> float:
    """Keras's ``on_train_batch_end``, with each batch logged."""
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    if is_ours(kind):
        from mltrack.integrations.keras import MltrackCallback

        callback: Any = MltrackCallback(log_batches=True)
    else:
        import mlflow

        mlflow.start_run()
        callback = mlflow.keras.MlflowCallback(log_every_epoch=False, log_every_n_steps=1)
    callback.set_model(model)
    callback.set_params({"epochs": 1})
    callback.on_train_begin()
    return seconds_a_step(kind, lambda number: callback.on_train_batch_end(number, VALUES))


def seconds_a_round(train: Callable[[int, bool], object]) -> float:
    """The processor's time that a round costs more with a logger than without, from trainings of two lengths."""

    def slope(logs: bool) -> float:
        train(ROUNDS_FEW, logs)
        times = []
        for rounds in (ROUNDS_FEW, ROUNDS_MANY):
            start = time.process_time()
            train(rounds, logs)
            times.append(time.process_time() - start)
        return (times[1] - times[0]) / (ROUNDS_MANY - ROUNDS_FEW)

    return slope(True) - slope(False)


def samples() -> tuple[Any, Any]:
    """A little data."""
    import numpy as np

    random = np.random.default_rng(0)
    rows = random.normal(size=(50, 2))
    return rows, rows[:, 0] + random.normal(size=50)


def xgboost(kind: str) -> float:
    """A round of XGBoost."""
    import xgboost as library

    matrix = library.DMatrix(*samples())
    if not is_ours(kind):
        import mlflow

    def train(rounds: int, logs: bool) -> None:
        callbacks: list[Any] = []
        if is_ours(kind):
            from mltrack.integrations.xgboost import MltrackCallback

            callbacks = [MltrackCallback()] if logs else []
        else:
            mlflow.xgboost.autolog(log_models=False, log_datasets=False, disable=not logs, silent=True)
        settings = {"max_depth": 1, "nthread": 1, "eval_metric": ["rmse", "mae", "mape"]}
        evals = [(matrix, "train")]
        library.train(settings, matrix, rounds, evals=evals, verbose_eval=False, callbacks=callbacks)

    return seconds_a_round(train)


def lightgbm(kind: str) -> float:
    """A round of LightGBM."""
    import lightgbm as library

    rows, labels = samples()
    if not is_ours(kind):
        import mlflow

    def train(rounds: int, logs: bool) -> None:
        callbacks: list[Any] = []
        if is_ours(kind):
            from mltrack.integrations.lightgbm import MltrackCallback

            callbacks = [MltrackCallback()] if logs else []
        else:
            mlflow.lightgbm.autolog(log_models=False, log_datasets=False, disable=not logs, silent=True)
        data = library.Dataset(rows, labels)
        settings = {"num_leaves": 2, "num_threads": 1, "verbose": -1, "metric": ["l1", "l2", "mape"]}
        library.train(settings, data, rounds, valid_sets=[data], callbacks=callbacks)

    return seconds_a_round(train)


def ray(kind: str) -> float:
    """Ray Tune's ``log_trial_result``."""
    if is_ours(kind):
        from mltrack.integrations.ray import MltrackLoggerCallback

        callback: Any = MltrackLoggerCallback()
    else:
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        callback = MLflowLoggerCallback(experiment_name="bench")
    trial = SimpleTrial()
    callback.setup()
    callback.log_trial_start(trial)
    about = {"trial_id": trial.trial_id, "date": "2026-01-01", "timestamp": 1, "pid": 2, "hostname": "h", "done": False}
    times = {"time_this_iter_s": 0.1, "time_total_s": 0.1, "config": trial.config}

    def step(number: int) -> None:
        callback.log_trial_result(number, trial, VALUES | times | about | {"training_iteration": number + 1})

    return seconds_a_step(kind, step)


class SimpleTrial:
    """What callbacks use of a trial."""

    trial_id = "abc_00000"
    local_path = None

    def __init__(self) -> None:
        self.config = {"lr": 0.1}


def ignite(kind: str) -> float:
    """An iteration of an engine of Ignite."""
    from ignite.engine import Engine, Events

    def run(steps: int, logger: Any) -> float:
        engine = Engine(lambda engine, batch: VALUES)
        if logger is not None:
            logger.attach_output_handler(engine, Events.ITERATION_COMPLETED, tag="training", output_transform=dict)
        start = time.perf_counter()
        engine.run(range(steps))
        return (time.perf_counter() - start) / steps

    if is_ours(kind):
        from mltrack.integrations.ignite import MltrackLogger

        logger: Any = MltrackLogger()
    else:
        from ignite.handlers.mlflow_logger import MLflowLogger

        logger = MLflowLogger()
    run(STEPS[kind] // 10, logger)
    return run(STEPS[kind], logger) - run(STEPS[kind], None)


def stable_baselines3(kind: str) -> float:
    """``logger.dump`` of Stable-Baselines3."""
    from stable_baselines3.common.logger import KVWriter, Logger

    if is_ours(kind):
        from mltrack.integrations.stable_baselines3 import MltrackOutputFormat

        output: Any = MltrackOutputFormat()
    else:
        import mlflow

        class Output(KVWriter):  # type: ignore[misc]
            """The documentation's."""

            def write(self, key_values: dict[str, Any], key_excluded: dict[str, Any], step: int = 0) -> None:
                """Log numbers."""
                for key, value in key_values.items():
                    mlflow.log_metric(key, value, step)

        output = Output()
    logger = Logger(None, [output])

    def step(number: int) -> None:
        for key, value in VALUES.items():
            logger.record(key, value)
        logger.dump(number)

    return seconds_a_step(kind, step)


PARTS: dict[str, tuple[Callable[[str], float], str]] = {
    "lightning": (lightning, "Lightning, log_metrics"),
    "transformers": (transformers, "Trainer, on_log"),
    "accelerate": (accelerate, "Accelerate, log"),
    "keras": (keras, "Keras, on_train_batch_end"),
    "xgboost": (xgboost, "XGBoost, a round"),
    "lightgbm": (lightgbm, "LightGBM, a round"),
    "ray": (ray, "Ray Tune, log_trial_result"),
    "ignite": (ignite, "Ignite, an iteration"),
    "stable_baselines3": (stable_baselines3, "Stable-Baselines3, dump"),
}


def measure(name: str, kind: str) -> list[float]:
    """One figure of one fresh process, on a store of its own."""
    with fresh_folder() as folder:
        os.environ["MLTRACK_STORE"] = f"{folder}/.mltrack"
        os.environ["MLFLOW_TRACKING_URI"] = f"mltrack://{folder}/.mltrack"
        return in_fresh_process(__file__, "part", name, kind)


def main() -> None:
    """Run from the command line."""
    if sys.argv[1:2] == ["part"]:
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        print(PARTS[sys.argv[2]][0](sys.argv[3]))
        return
    os.environ |= {"KERAS_BACKEND": "torch", "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
    heading("A step of three metrics: mltrack's logger, the framework's MLflow logger on the plugin, the ratio")
    for name in sys.argv[1:] or PARTS:
        part = PARTS[name][1]
        if find_spec(name) is None:
            row(part, "not installed")
            continue
        ours = median_of(partial(measure, name, "mltrack"))[0]
        theirs = median_of(partial(measure, name, "mlflow"), 3)[0]
        row(part, f"{ours * 1e6:.1f} us", f"{theirs * 1e6:.1f} us", f"{theirs / ours:.0f}x", verdict=theirs > ours)


if __name__ == "__main__":
    main()
