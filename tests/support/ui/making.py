"""Makes the store that the browser looks at.

``python -m tests.support.ui.making STORE`` is run with MLflow's tracking URI set to the store.
The many runs and the long one are recorded natively, since that is quick; the rest by MLflow's own API.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import numpy.typing as npt
from mlflow.data.pandas_dataset import from_pandas
from mlflow.pyfunc.model import PythonModel
from mlflow.tracking import MlflowClient

from mltrack.recording import current_store, fluent
from tests.support.ui.spike import DIP, SPIKE

RUNS = 3_000
BEST = 1_234
THREADS = 16
POINTS = 1_000_000


def make_many_runs() -> None:
    """An experiment of thousands of runs, of which one in the midst has the least loss."""
    current_store.set_experiment("many")
    with ThreadPoolExecutor(THREADS) as pool:  # each of them waits for the disk
        list(pool.map(make_run_of_many, range(RUNS)))


def make_run_of_many(number: int) -> None:
    with fluent.start_run(run_name=f"many-{number:04d}", tags={"team": "red" if number % 2 else "blue"}) as run:
        run.log_params({"lr": 10.0 ** -(number % 5), "seed": number})
        run.log_metrics({"loss": (abs(number - BEST) + 1) / RUNS, "accuracy": number / RUNS}, step=1)


def make_long_run() -> None:
    """One metric of a million points, with one point far up and one far down."""
    current_store.set_experiment("long")
    values: npt.NDArray[np.float64] = np.sin(np.arange(POINTS) / 50_000)
    values[POINTS // 3 + 7], values[2 * POINTS // 3 + 11] = SPIKE, DIP
    with fluent.start_run(run_name="long-run") as run:
        run.log_series("noise", values)
        run.log_series("loss", 1 / np.arange(1, 1001))
        now_ms = time.time_ns() // 1_000_000
        for step in range(50):
            measured = {"cpu_utilization_percentage": 40 + step % 7, "system_memory_usage_megabytes": 900 + step}
            run.log_metrics(
                {f"system/{key}": value for key, value in measured.items()},
                step,
                timestamp=now_ms - (50 - step) * 10_000,
            )


def make_compared_runs() -> None:
    """Runs of a small sweep, and a parent with a child."""
    current_store.set_experiment("nested")
    with fluent.start_run(run_name="the-parent") as parent:
        parent.log_metric("best", 0.5)
        with fluent.start_run(run_name="the-child", nested=True) as child:
            child.log_metric("loss", 0.5)
    current_store.set_experiment("sweep")
    for number in range(4):
        with fluent.start_run(run_name=f"sweep-{number}") as run:
            run.log_params({"lr": 0.1 * (number + 1), "optimizer": "adam" if number % 2 else "sgd"})
            for step in range(100):
                run.log_metric("loss", (number + 1) / (step + 1), step)
                run.log_metric("accuracy", 1 - (number + 1) / (step + 4), step)


def picture() -> npt.NDArray[np.uint8]:
    """A red square in a blue one."""
    pixels = np.zeros((120, 160, 3), dtype=np.uint8)
    pixels[:, :, 2] = 255
    pixels[30:90, 40:120] = (255, 0, 0)
    return pixels


class Doubled(PythonModel):
    """The smallest model."""

    def predict(self, context: Any, model_input: list[float]) -> list[float]:  # type: ignore[override]
        return [2 * value for value in model_input]


def make_full_run() -> None:
    """A run with one of everything, through MLflow's API."""
    import pandas as pd

    mlflow.set_experiment("full")
    table = pd.DataFrame({"x": [1, 2, 3], "y": [2, 4, 6]})
    with mlflow.start_run(run_name="full-run", description="one of *everything*"):
        mlflow.log_params({"depth": 3, "note": "a long value " * 20})
        mlflow.set_tag("stage", "trial")
        mlflow.log_input(from_pandas(table, name="points", targets="y"), context="training")
        mlflow.log_image(picture(), "images/square.png")
        for step in range(3):
            mlflow.log_image(picture(), key="progress", step=step)
        mlflow.log_text("the quick brown fox\n", "notes/fox.txt")
        mlflow.log_dict({"answer": 42}, "notes/answer.json")
        mlflow.log_table(table, "tables/points.json")
        model = mlflow.pyfunc.log_model(
            name="doubled", python_model=Doubled(), input_example=[1.0], pip_requirements=[], params={"factor": 2}
        )
        for step in range(20):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metric("quality", 0.875, model_id=model.model_id, step=20)
    client = MlflowClient()
    client.create_registered_model("doubler", description="it *doubles*", tags={"kind": "toy"})
    for _ in range(2):
        mlflow.register_model(model.model_uri, "doubler")
    client.set_registered_model_alias("doubler", "champion", "1")
    client.set_model_version_tag("doubler", "1", "checked", "yes")


def make_traces() -> None:
    """A few traces with nested spans, one of them failed; and a prompt of two versions."""
    mlflow.set_experiment("traced")

    @mlflow.trace(span_type="RETRIEVER")
    def look_up(question: str) -> list[str]:
        return [f"a page about {question}"]

    @mlflow.trace(name="answer", span_type="CHAIN")
    def answer(question: str) -> str:
        if question == "broken":
            raise ValueError("nobody knows")
        return f"it is in {look_up(question)[0]}"

    for number in range(10):
        answer(f"question {number}")
    try:
        answer("broken")
    except ValueError:
        pass
    mlflow.flush_trace_async_logging()
    # not the newest of all: two of them begin in the same millisecond, and which of the two is listed first is chance
    (failed,) = mlflow.search_traces(return_type="list", filter_string="trace.status = 'ERROR'")
    mlflow.log_feedback(trace_id=failed.info.trace_id, name="helpful", value=True)
    mlflow.genai.register_prompt("greeter", "Greet {{name}} kindly.", commit_message="first words")
    mlflow.genai.register_prompt("greeter", "Greet {{name}} very kindly.", commit_message="warmer")


def main(store: str) -> None:
    current_store.set_store(Path(store))
    make_compared_runs()
    make_long_run()
    make_full_run()
    make_traces()
    make_many_runs()


if __name__ == "__main__":
    os.chdir(Path(sys.argv[1]).parent)
    main(sys.argv[1])
