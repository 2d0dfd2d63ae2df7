"""How long a run of ten million points takes to an MLflow server with a sampled history, compared with all of it.

    python benchmarks/bench_history.py [--points N] [--full N] [--history N]

Promise: under 10 s, the complete run's files included, in under 300 MB of memory. The whole history is extrapolated
from ``--full`` points, pushed by mltrack and logged by MLflow's own client to the same server on loopback (SQLite, one
worker, files over its proxy). The push runs in a process of its own, whose peak of memory is printed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

from measure import ROUNDS, fresh_folder, heading, in_fresh_process, peak_memory, row

SECONDS_MAX = 10.0
MEMORY_MB_MAX = 300
METRICS = 4


def record(folder: Path, points: int) -> None:
    """A store with one run of METRICS metrics."""
    import numpy as np

    import mltrack

    mltrack.set_store(folder)
    with mltrack.start_run(run_name="long") as run:
        for number in range(METRICS):
            steps = np.arange(points // METRICS)
            noise = np.random.default_rng(number).normal(size=len(steps))
            run.log_series(f"metric_{number}", np.exp(-steps / len(steps)) + 0.1 * noise, steps)
    mltrack.set_store(None)


def push_store(folder: str, url: str, history: str) -> None:
    """Print seconds, points sent and MB of memory: what a process of its own does."""
    from mltrack.store import Store
    from mltrack_sync import Remote, push

    store = Store.open(folder)
    began = time.perf_counter()
    report = push(store, Remote("bench", url), history=int(history))
    assert report.complete, report
    print(time.perf_counter() - began, report.points, peak_memory() / 1e6)


def by_mlflow(url: str, points: int) -> float:
    """Seconds that MLflow's client takes for so many points in batches of 1,000."""
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    client = MlflowClient(url)
    run_id = client.create_run("0").info.run_id
    began = time.perf_counter()
    for start in range(0, points, 1_000):
        client.log_batch(run_id, [Metric("m", at / 7, 1_000 + at, at) for at in range(start, start + 1_000)])
    return time.perf_counter() - began


def main() -> int:
    """Measure and print; 1 where a promise is not kept."""
    if len(sys.argv) > 1 and sys.argv[1] == "push":
        push_store(*sys.argv[2:])
        return 0
    from mltrack.demo.server import mlflow_server

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=10_000_000)
    parser.add_argument("--full", type=int, default=200_000)
    parser.add_argument("--history", type=int, default=2_000)
    given = parser.parse_args()
    rounds: list[tuple[list[float], float, float]] = []
    for _ in range(min(ROUNDS, 3)):
        with fresh_folder() as folder, mlflow_server(folder / "server") as url:
            record(folder / "first", METRICS * 50)
            in_fresh_process(__file__, "push", str(folder / "first"), url, "0")  # the server's own first time
            record(folder / "long", given.points)
            record(folder / "short", given.full)
            sampled = in_fresh_process(__file__, "push", str(folder / "long"), url, str(given.history))
            whole = in_fresh_process(__file__, "push", str(folder / "short"), url, "0")[0]
            rounds.append((sampled, whole, by_mlflow(url, given.full)))
    seconds, sent, memory = (statistics.median(column) for column in zip(*(each[0] for each in rounds), strict=True))
    more = given.points / given.full
    whole = statistics.median(each[1] for each in rounds) * more
    theirs = statistics.median(each[2] for each in rounds) * more
    heading(f"A run of {given.points:,} points to an MLflow server on loopback")
    kept = seconds < SECONDS_MAX and memory < MEMORY_MB_MAX
    row(f"history={given.history}, with its files", f"{seconds:.1f} s", f"{sent:,.0f} points", verdict=kept)
    row("whole history (extrapolated)", f"{whole:,.0f} s", f"{whole / seconds:,.0f} times")
    row("MLflow's own client (extrapolated)", f"{theirs:,.0f} s", f"{theirs / seconds:,.0f} times")
    row("memory of the push", f"{memory:,.0f} MB")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
