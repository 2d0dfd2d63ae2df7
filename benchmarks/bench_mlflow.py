"""MLflow's own API on the mltrack store, beside the same on MLflow's SQLite store, in one run.

    python benchmarks/bench_mlflow.py [--runs 10000] [--points 1000000] [--only log|search|history|charts|processes]

Each figure is from a fresh process, the median of several. A store that does nothing stands beside, to tell what
MLflow's own layers cost (the floor), and mltrack's own API. The goals: ``mlflow.log_metric`` within 1.5 times the
floor, and with ``MlflowClient.log_batch`` of 1,000 metrics at least 10x faster than SQLite; ``search_runs`` over
10,000 runs and the history of a million points at least 5x; the histories of 10 such runs for a chart
(``get_metric_history_bulk_interval``) within half a second; and eight processes that log at once end without an error
and with nothing lost.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bench_search
from measure import fresh_folder, heading, in_fresh_process, median_of, row

CALLS = 1_000
BATCHES = 10
BATCH = 1_000
PROCESSES = 8
LOGGED_BY_EACH = 200
KEY = "loss"
CHART_RUNS = 10
CHART_MAX_S = 0.5
FLOOR_MAX = 1.5
"""How many times the cost of MLflow's layers a call of ``mlflow.log_metric`` may take."""


def uri_of(kind: str, folder: Path) -> str:
    """The tracking URI of a store in ``folder``."""
    return f"mltrack://{folder}/.mltrack" if kind == "mltrack" else f"sqlite:///{folder}/mlflow.db"


def seconds(call: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


# --- the parts, each in a process of its own ---


def log_metric(uri: str, registry: str = "") -> None:
    """Seconds a call; with ``registry`` its URI is set, too, so that MLflow does not look for Spark at each call."""
    import mlflow

    mlflow.set_tracking_uri(uri)
    if registry:
        mlflow.set_registry_uri(uri)
    with mlflow.start_run():
        mlflow.log_metric(KEY, 0.5, step=0)

        def calls() -> None:
            for step in range(1, CALLS + 1):
                mlflow.log_metric(KEY, 1 / step, step=step)

        print(seconds(calls) / CALLS)


def log_floor(uri: str, registry: str = "") -> None:
    """Seconds a call on a store that does nothing: what MLflow's own layers cost."""
    import mlflow
    from mlflow.entities import Experiment, LifecycleStage, Run, RunData, RunInfo, RunStatus
    from mlflow.store.tracking.abstract_store import AbstractStore
    from mlflow.tracking._tracking_service.utils import _tracking_store_registry

    status = RunStatus.to_string(RunStatus.RUNNING)
    info = RunInfo("f" * 32, "0", "me", status, 0, None, LifecycleStage.ACTIVE, "/nowhere", run_name="nothing")
    run = Run(info, RunData())
    experiment = Experiment("0", "Default", "/nowhere", LifecycleStage.ACTIVE)

    class Nothing(AbstractStore):
        """Takes everything and keeps nothing."""

        def get_experiment(self, experiment_id: str) -> Any:
            """The only one."""
            return experiment

        def create_run(self, *args: Any, **kwargs: Any) -> Any:
            """The only one."""
            return run

        def get_run(self, run_id: str) -> Any:
            """The only one."""
            return run

        def log_metric(self, run_id: str, metric: Any) -> None:
            """Nothing."""

        def update_run_info(self, *args: Any, **kwargs: Any) -> Any:
            """Nothing."""
            return info

    kind: Any = Nothing  # MLflow does not enforce its abstract methods

    def nothing(store_uri: str, artifact_uri: str | None = None) -> Any:
        return kind()

    _tracking_store_registry.register("nothing", nothing)
    mlflow.set_tracking_uri("nothing:")
    if registry:
        mlflow.set_registry_uri(uri)
    with mlflow.start_run():
        mlflow.log_metric(KEY, 0.5, step=0)

        def calls() -> None:
            for step in range(1, CALLS + 1):
                mlflow.log_metric(KEY, 1 / step, step=step)

        print(seconds(calls) / CALLS)


def log_native(uri: str) -> None:
    """Seconds a call, by mltrack's own API."""
    import mltrack

    mltrack.set_store(uri.removeprefix("mltrack://"))
    with mltrack.start_run():
        mltrack.log_metric(KEY, 0.5, step=0)

        def calls() -> None:
            for step in range(1, CALLS + 1):
                mltrack.log_metric(KEY, 1 / step, step=step)

        print(seconds(calls) / CALLS)


def log_batch(uri: str) -> None:
    """Seconds a call with 1,000 metrics."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client = MlflowClient(uri)
    run_id = client.create_run("0").info.run_id
    batches = [
        [Metric(f"metric_{n % 10}", n / 7, 1_700_000_000_000 + n, batch * 100 + n // 10) for n in range(BATCH)]
        for batch in range(BATCHES + 1)
    ]
    client.log_batch(run_id, batches[0])

    def calls() -> None:
        for batch in batches[1:]:
            client.log_batch(run_id, batch)

    print(seconds(calls) / BATCHES)


def search(uri: str) -> None:
    """Seconds a call, after one that warms up."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)

    def call() -> object:
        return client.search_runs(["0"], bench_search.FILTER, max_results=1000, order_by=bench_search.ORDER)

    call()
    print(min(seconds(call) for _ in range(3)))


def history(uri: str) -> None:
    """Seconds to read a metric's whole history, and the points there were."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    (run,) = client.search_runs(["0"])
    found: list[Any] = []

    def read() -> None:
        found.extend(client.get_metric_history(run.info.run_id, KEY))

    print(seconds(read), len(found))


def charts(uri: str, runs: str) -> None:
    """Seconds to read so many runs' histories as MLflow's UI does for a chart, by a store that has just been opened."""
    from mlflow.tracking._tracking_service.utils import _get_store

    store: Any = _get_store(uri)
    ids = [run.info.run_id for run in store.search_runs(["0"], "", 1, max_results=int(runs))]
    found: list[Any] = []

    def read() -> None:
        found.extend(store.get_metric_history_bulk_interval(ids, KEY, 2500 // int(runs), None, None))

    print(seconds(read), seconds(read), len(found))


def log_beside_others(uri: str, number: str) -> None:
    """Log to the only run of the store while others do so too."""
    import mlflow

    mlflow.set_tracking_uri(uri)
    (run,) = mlflow.MlflowClient().search_runs(["0"])
    for step in range(LOGGED_BY_EACH):
        mlflow.log_metric(f"metric_{number}", step, step=step, run_id=run.info.run_id)


_ALL = (log_metric, log_floor, log_native, log_batch, search, history, charts, log_beside_others)
PARTS = {call.__name__: call for call in _ALL}


# --- what they are measured on ---


def fill_runs(kind: str, folder: Path, runs: list[bench_search.Facts]) -> None:
    """The same runs in either store."""
    if kind == "mltrack":
        from mltrack.disk.layout import Layout

        layout = Layout.open_or_create(folder / ".mltrack", now_ns=bench_search.START_NS)
        for facts in runs:
            bench_search.write_run(layout, facts)
    else:
        bench_search.fill_mlflow(folder / "mlflow.db", runs)


def fill_points(kind: str, folder: Path, count: int) -> None:
    """A run with one long metric in either store, a second between two points."""
    import numpy as np

    steps = np.arange(count)
    times = 1_700_000_000_000 + 1000 * steps
    values = 1 / (1 + steps)
    if kind == "mltrack":
        import mltrack

        mltrack.set_store(folder / ".mltrack")
        with mltrack.start_run() as run:
            run.log_series(KEY, values, steps=steps, times=times * 1_000_000)
        return
    from mlflow import MlflowClient

    client = MlflowClient(uri_of(kind, folder))
    run_id = client.create_run("0").info.run_id
    with sqlite3.connect(folder / "mlflow.db") as db:
        db.executemany(
            "INSERT INTO metrics (run_uuid, key, value, timestamp, step, is_nan) VALUES (?, ?, ?, ?, ?, 0)",
            zip([run_id] * count, [KEY] * count, values.tolist(), times.tolist(), steps.tolist(), strict=True),
        )


def compare(what: str, part: str, folder: Path, goal: float, *, unit: float, name: str) -> None:
    """One figure on both stores."""
    ours = median_of(lambda: in_fresh_process(__file__, part, uri_of("mltrack", folder)))[0]
    theirs = median_of(lambda: in_fresh_process(__file__, part, uri_of("sqlite", folder)), 3)[0]
    ratio = theirs / ours
    row(what, f"{ours * unit:.1f} {name}", f"{theirs * unit:.1f} {name}", f"{ratio:.1f}x", verdict=ratio >= goal)


def together(kind: str, folder: Path) -> None:
    """Eight processes log to one run at once."""
    from mlflow import MlflowClient

    uri = uri_of(kind, folder)
    client = MlflowClient(uri)
    run_id = client.create_run("0").info.run_id
    start = time.perf_counter()
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, "log_beside_others", uri, str(number)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for number in range(PROCESSES)
    ]
    errors = [process.communicate()[1] for process in processes]
    took = time.perf_counter() - start
    failed = sum(process.returncode != 0 for process in processes)
    locked = sum(b"database is locked" in said for said in errors)
    kept = sum(len(client.get_metric_history(run_id, f"metric_{number}")) for number in range(PROCESSES))
    wanted = PROCESSES * LOGGED_BY_EACH
    row(
        f"{PROCESSES} processes at once, {kind}",
        f"{took:.1f} s",
        f"{failed} failed",
        f"{locked} locked",
        f"{kept}/{wanted}",
        verdict=(failed == 0 and kept == wanted) if kind == "mltrack" else None,
    )


def main() -> None:
    """Run from the command line."""
    if len(sys.argv) > 1 and sys.argv[1] in PARTS:
        PARTS[sys.argv[1]](*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--only", choices=("log", "search", "history", "charts", "processes"))
    args = parser.parse_args()
    os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONWARNINGS": "ignore"}
    heading("MLflow's API: the mltrack store, MLflow's SQLite store, the ratio")
    wanted = {
        "log": measure_log,
        "search": lambda: measure_search(args.runs),
        "history": lambda: measure_history(args.points),
        "charts": lambda: measure_charts(args.points),
        "processes": measure_processes,
    }
    for name, part in wanted.items():
        if args.only in (None, name):
            part()


def measure_log() -> None:
    """Calls that log, and what MLflow's layers cost of them."""
    with fresh_folder() as folder:
        uri = uri_of("mltrack", folder)
        compare("mlflow.log_metric", "log_metric", folder, 10, unit=1e6, name="us")
        beside_floor(uri, "")
        beside_floor(uri, "registry")
        native = median_of(lambda: in_fresh_process(__file__, "log_native", uri))[0]
        row("  mltrack's own API", f"{native * 1e6:.2f} us")
        compare("MlflowClient.log_batch of 1,000", "log_batch", folder, 10, unit=1e3, name="ms")


def beside_floor(uri: str, registry: str) -> None:
    """A call of ``mlflow.log_metric``, and what it costs on a store that does nothing."""
    ours = median_of(lambda: in_fresh_process(__file__, "log_metric", uri, registry))[0]
    floor = median_of(lambda: in_fresh_process(__file__, "log_floor", uri, registry))[0]
    what = f"  {'a' if registry else 'no'} registry URI; a store that does nothing"
    ratio = ours / floor
    row(what, f"{ours * 1e6:.1f} us", f"{floor * 1e6:.1f} us", f"{ratio:.2f}x", verdict=ratio <= FLOOR_MAX)


def measure_search(count: int) -> None:
    """Searching runs."""
    with fresh_folder() as folder:
        runs = list(bench_search.make_facts(count))
        for kind in ("mltrack", "sqlite"):
            fill_runs(kind, folder, runs)
        compare(f"search_runs over {count:,} runs", "search", folder, 5, unit=1e3, name="ms")


def measure_history(points: int) -> None:
    """A whole history."""
    with fresh_folder() as folder:
        for kind in ("mltrack", "sqlite"):
            fill_points(kind, folder, points)
        compare(f"history of {points:,} points", "history", folder, 5, unit=1, name="s")


def measure_charts(points: int) -> None:
    """Histories of several runs, sampled for a chart."""
    with fresh_folder() as folder:
        for _ in range(CHART_RUNS):
            fill_points("mltrack", folder, points)
        uri = uri_of("mltrack", folder)
        first, again = median_of(lambda: in_fresh_process(__file__, "charts", uri, str(CHART_RUNS)), 3)[:2]
        what = f"a chart of {CHART_RUNS} runs of {points:,} points"
        row(what, f"{first * 1e3:.0f} ms", f"then {again * 1e3:.0f} ms", verdict=first <= CHART_MAX_S)


def measure_processes() -> None:
    """Eight processes at once, on each store."""
    for kind in ("mltrack", "sqlite"):
        with fresh_folder() as folder:
            together(kind, folder)


if __name__ == "__main__":
    main()
