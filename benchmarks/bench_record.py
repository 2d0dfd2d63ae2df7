"""How fast points are recorded, beside the bare loop and beside MLflow and tensorboardX, in one run.

    python benchmarks/bench_record.py [--no-peers]

Promises: one scalar a call costs at most 3 times the bare loop "dict lookup + time_ns + pack_into a mapped file" and
runs at over 1,000,000 points/s, 500,000/s from first call to closed and sealed; ten metrics a call at no lower rate;
log_series under 100 ns a point, synced to disk.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import time
from pathlib import Path

from measure import fresh_folder, heading, in_fresh_process, median_of, require, row

POINTS = 1_000_000
PEER_POINTS = {"mlflow_metric": 300, "mlflow_batch": 20_000, "tensorboardX": 50_000}


class Bare:
    """The floor: what any Python tracker that keeps a record per call must at least do."""

    def __init__(self, path: Path, points: int) -> None:
        size = 64 + 32 * points
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT)
        os.posix_fallocate(self.fd, 0, size)
        self.buffer = mmap.mmap(self.fd, size)
        self.numbers = {"loss": 1}
        self.offset = 64
        self.pack_into = struct.Struct("<qqdII").pack_into

    def log(self, key: str, value: float, step: int) -> None:
        offset = self.offset
        self.pack_into(self.buffer, offset, step, time.time_ns(), value, self.numbers[key], offset)
        self.offset = offset + 32


def bare() -> list[float]:
    with fresh_folder() as folder:
        log = Bare(folder / "bare", POINTS).log
        start = time.perf_counter()
        for i in range(POINTS):
            log("loss", i * 0.5, i)
        return [(time.perf_counter() - start) / POINTS * 1e9]


def one() -> list[float]:
    import mltrack

    with fresh_folder() as folder:
        mltrack.set_store(folder / ".mltrack")
        mltrack.start_run()
        log = mltrack.log_metric
        start = time.perf_counter()
        for i in range(POINTS):
            log("loss", i * 0.5, i)
        logged = time.perf_counter()
        mltrack.end_run()
        return [(logged - start) / POINTS * 1e9, (time.perf_counter() - start) / POINTS * 1e9]


def ten() -> list[float]:
    import mltrack

    with fresh_folder() as folder:
        mltrack.set_store(folder / ".mltrack")
        names = [f"metric_{k}" for k in range(10)]
        with mltrack.start_run() as run:
            start = time.perf_counter()
            for i in range(POINTS // 10):
                value = i * 0.5
                run.log(dict.fromkeys(names, value), i)
            return [(time.perf_counter() - start) / POINTS * 1e9]


def series() -> list[float]:
    import numpy as np

    import mltrack

    values = np.random.default_rng(0).normal(size=POINTS)
    with fresh_folder() as folder:
        mltrack.set_store(folder / ".mltrack")
        with mltrack.start_run() as run:
            start = time.perf_counter()
            run.log_series("loss", values)
            return [(time.perf_counter() - start) / POINTS * 1e9]


def mlflow_metric() -> list[float]:
    import mlflow

    points = PEER_POINTS["mlflow_metric"]
    with fresh_folder() as folder:
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        with mlflow.start_run():
            mlflow.log_metric("loss", 0.0, step=0)
            start = time.perf_counter()
            for i in range(points):
                mlflow.log_metric("loss", i * 0.5, step=i + 1)
            return [(time.perf_counter() - start) / points * 1e9]


def mlflow_batch() -> list[float]:
    import mlflow
    from mlflow.entities import Metric

    points = PEER_POINTS["mlflow_batch"]
    with fresh_folder() as folder:
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        client = mlflow.MlflowClient()
        with mlflow.start_run() as run:
            now = time.time_ns() // 1_000_000
            start = time.perf_counter()
            for first in range(0, points, 1_000):
                batch = [Metric("loss", i * 0.5, now, i) for i in range(first, first + 1_000)]
                client.log_batch(run.info.run_id, metrics=batch)
            return [(time.perf_counter() - start) / points * 1e9]


def tensorboard() -> list[float]:
    require("tensorboardX")
    from tensorboardX import SummaryWriter

    points = PEER_POINTS["tensorboardX"]
    with fresh_folder() as folder:
        writer = SummaryWriter(str(folder))
        start = time.perf_counter()
        for i in range(points):
            writer.add_scalar("loss", i * 0.5, i)
        writer.close()
        return [(time.perf_counter() - start) / points * 1e9]


PARTS = {part.__name__: part for part in (bare, one, ten, series, mlflow_metric, mlflow_batch, tensorboard)}


def main() -> None:
    def measured(name: str) -> list[float]:
        return median_of(lambda: in_fresh_process(__file__, name))

    heading(f"Recording, ns a point ({POINTS:,} points, a fresh process each)")
    row("", "ns a point", "points/s", "x mltrack")
    floor = measured("bare")[0]
    call, sealed = measured("one")
    many, whole = measured("ten")[0], measured("series")[0]

    def line(what: str, ns: float, verdict: bool | None = None) -> None:
        row(what, f"{ns:,.0f}", f"{1e9 / ns:,.0f}", f"{ns / call:,.2f}", verdict=verdict)

    line("bare loop (lookup, time_ns, pack_into)", floor)
    line("mltrack.log_metric, one a call", call, call <= 3 * floor and call < 1_000)
    line("  from first call to closed and sealed", sealed, sealed < 2_000)
    line("mltrack Run.log, ten a call", many, many <= call)
    line("mltrack log_series, synced", whole, whole < 100)
    print(f"  log_metric over the bare loop: {call / floor:.2f} (promised: at most 3)")
    if "--no-peers" not in sys.argv:
        line("MLflow log_batch of 1,000, SQLite", measured("mlflow_batch")[0])
        line("MLflow log_metric, SQLite", measured("mlflow_metric")[0])
        line("tensorboardX add_scalar (float32)", measured("tensorboard")[0])


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in PARTS:
        print(*PARTS[sys.argv[1]]())
    else:
        main()
