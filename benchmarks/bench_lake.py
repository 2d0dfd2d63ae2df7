"""How fast a store is pushed into a lake in a folder, and asked there, with other ways for the same rows.

    python benchmarks/bench_lake.py [--points N] [--runs N] [--no-peers]

Promises: one process pushes 500,000 points a second; at most 10 bytes a point for noisy values (as in bench_size.py);
a leaderboard over 10,000 runs and one series of a million points in less than a second each, cold; a pass that finds
nothing new over 10,000 runs in less than 2 s; less than 500 MB of memory at 10 million points. Compared with a plain
``write_deltalake`` for each run, and with MLflow's server, whose rate is that of bench_sync.py. Each figure is of a
process of its own.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from measure import ROUNDS, folder_bytes, fresh_folder, heading, in_fresh_process, peak_memory, row

import mltrack
from mltrack.store import Store
from mltrack_sync import Remotes, push

RATE_MIN = 500_000
BYTES_MAX = 10.0
ASK_S_MAX = 1.0
PASS_S_MAX = 2.0
MEMORY_MB_MAX = 500
MLFLOW_POINTS_PER_S = 6_811
"""What MLflow's server took in bench_sync.py."""


def noise(folder: Path, points: int) -> None:
    """Ten metrics in one run, logged call by call in the time of a fast training, with noisy values."""
    import numpy as np

    values = np.random.default_rng(7).normal(size=points)
    names = [f"metric_{k}" for k in range(10)]
    mltrack.set_store(folder)
    with mltrack.start_run(run_name="noise") as run:
        for i in range(0, points, 10):
            run.log(dict(zip(names, values[i : i + 10].tolist(), strict=True)), i)
        if points >= 1_000_000:
            run.log_series("long", values[:1_000_000])
    mltrack.set_store(None)


def many_runs(folder: Path, count: int) -> None:
    """Small runs with ten params and ten metrics each."""
    mltrack.set_store(folder)
    for number in range(count):
        with mltrack.start_run(run_name=f"run-{number}") as run:
            run.log_params({f"param_{k}": k * number for k in range(10)})
            run.log({f"metric_{k}": k * 0.1 + number for k in range(10)}, 1)
    mltrack.set_store(None)


def part_push(store: str, lake: str) -> None:
    """Seconds, points, and MB of memory of a push."""
    opened = Store.open(store)
    remote = Remotes(opened).add("lake", f"delta:{lake}")
    opened.heads()
    started = time.perf_counter()
    report = push(opened, remote)
    print(time.perf_counter() - started, report.points, peak_memory() / 1e6)


def part_pass(store: str, lake: str) -> None:
    """Seconds of a push that finds nothing new."""
    opened = Store.open(store)
    remote = Remotes(opened).get("lake")
    started = time.perf_counter()
    report = push(opened, remote)
    print(time.perf_counter() - started, report.runs)


def part_series(store: str, lake: str) -> None:
    """Seconds from the import of the reader to the points of one metric of a run, and of processor time."""
    started, worked = time.perf_counter(), time.process_time()
    with mltrack.Lake(f"delta:{lake}") as reader:
        rows = reader.run("noise").metrics("long").num_rows
    print(time.perf_counter() - started, time.process_time() - worked, rows)


def part_leaderboard(store: str, lake: str) -> None:
    """Seconds from the import of the reader to the best ten runs, and of processor time."""
    started, worked = time.perf_counter(), time.process_time()
    with mltrack.Lake(f"delta:{lake}") as reader:
        found = reader.sql(
            "SELECT run_name, value FROM latest_metrics JOIN runs USING (run_id) WHERE key = 'metric_3'"
            " ORDER BY value DESC LIMIT 10"
        )
    print(time.perf_counter() - started, time.process_time() - worked, found.num_rows)


def part_naive(store: str, lake: str) -> None:
    """Seconds, points and MB of ``write_deltalake`` with the rows of each run."""
    import pyarrow as pa
    from deltalake import write_deltalake

    opened = Store.open(store)
    started = time.perf_counter()
    points = 0
    for run in opened.runs():
        table = run.metrics()
        columns: dict[str, Any] = {name: table.column(name) for name in ("step", "value")}
        columns["metric"] = table.column("metric").cast(pa.string())
        columns["time"] = table.column("time").cast(pa.timestamp("us", tz="UTC"), safe=False)
        columns["run_id"] = pa.array([run.run_id] * table.num_rows)
        write_deltalake(lake, pa.table(columns), mode="append")
        points += table.num_rows
    print(time.perf_counter() - started, points, peak_memory() / 1e6)


def measured(part: str, store: Path, lake: Path) -> list[float]:
    return in_fresh_process(__file__, "part", part, str(store), str(lake))


def pushes(points: int, peers: bool) -> None:
    best: list[float] = [1e9]
    for _ in range(ROUNDS):
        with fresh_folder() as folder:
            noise(folder / "store", points)
            found = measured("push", folder / "store", folder / "lake")
            best = min(best, found)
            size = folder_bytes(folder / "lake" / "points") / found[1]
            series = min(measured("series", folder / "store", folder / "lake") for _ in range(3))
            if peers:
                naive = measured("naive", folder / "store", folder / "naive")
                plain = folder_bytes(folder / "naive") / naive[1]
    rate = best[1] / best[0]
    row("push of one run", f"{best[1]:,.0f} points", f"{rate:,.0f}/s", verdict=rate >= RATE_MIN)
    row("bytes a point in the lake", f"{size:.2f}", verdict=size <= BYTES_MAX)
    row("memory", f"{best[2]:.0f} MB", verdict=best[2] < MEMORY_MB_MAX)
    row("a series of a million points, cold", _seconds(series), verdict=series[0] < ASK_S_MAX)
    if peers:
        row("write_deltalake a run", f"{naive[1] / naive[0]:,.0f}/s", f"{plain:.2f} bytes", f"{naive[2]:.0f} MB")
        row("MLflow's server (bench_sync.py)", f"{MLFLOW_POINTS_PER_S:,}/s")


def searches(runs: int, peers: bool) -> None:
    with fresh_folder() as folder:
        many_runs(folder / "store", runs)
        found = measured("push", folder / "store", folder / "lake")
        row(f"push of {runs:,} small runs", f"{found[0]:.1f} s", f"{found[2]:.0f} MB", verdict=found[2] < MEMORY_MB_MAX)
        board = min(measured("leaderboard", folder / "store", folder / "lake") for _ in range(3))
        row(f"leaderboard over {runs:,} runs, cold", _seconds(board), verdict=board[0] < ASK_S_MAX)
        idle = min(measured("pass", folder / "store", folder / "lake")[0] for _ in range(3))
        row("a pass that finds nothing new", f"{idle:.2f} s", verdict=idle < PASS_S_MAX)
        if peers:
            few = folder / "few"
            shutil.copytree(folder / "store", few, ignore=lambda at, names: names[300:] if at.endswith("runs") else [])
            naive = measured("naive", few, folder / "naive")
            row("write_deltalake a run, 300 runs", f"{naive[0]:.1f} s", f"{naive[0] / 300 * runs:,.0f} s for {runs:,}")


def _seconds(found: list[float]) -> str:
    return f"{found[0]:.2f} s ({found[1]:.2f} s CPU)"


def main() -> None:
    if sys.argv[1:2] == ["part"]:
        globals()[f"part_{sys.argv[2]}"](*sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--no-peers", action="store_true")
    chosen = parser.parse_args()
    heading("A lake in a folder")
    pushes(chosen.points, not chosen.no_peers)
    searches(chosen.runs, not chosen.no_peers)


if __name__ == "__main__":
    main()
