"""How fast one metric of a million points is read into Arrow, sealed and live, beside MLflow's history.

    python benchmarks/bench_read.py [--no-peers]

Promises: under 0.1 s sealed, under 0.3 s live (not sealed yet).
"""

from __future__ import annotations

import sys
import time

from measure import ROUNDS, fresh_folder, heading, in_fresh_process, row

POINTS = 1_000_000


def read() -> list[float]:
    """Seconds: live and sealed with one metric, sealed where it is one of ten; medians within one process, warm."""
    import statistics

    import numpy as np

    import mltrack

    def median(of: str) -> float:
        took = []
        for _ in range(ROUNDS + 1):
            start = time.perf_counter()
            table = store.run(run.run_id).metrics(of)
            took.append(time.perf_counter() - start)
            assert len(table) == POINTS
        return statistics.median(took[1:])

    values = np.random.default_rng(0).normal(size=POINTS)
    with fresh_folder() as folder:
        store = mltrack.Store.create(folder / ".mltrack")
        mltrack.set_store(store.path)
        with mltrack.start_run() as run:
            run.log_series("loss", values)
            live = median("loss")
        alone = median("loss")
        with mltrack.start_run() as run:
            for k in range(10):
                run.log_series(f"loss_{k}", values)
        return [live, alone, median("loss_3")]


def mlflow_read() -> list[float]:
    """Seconds a point of get_metric_history, from MLflow's SQLite."""
    import mlflow
    from mlflow.entities import Metric

    points = 20_000
    with fresh_folder() as folder:
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        client = mlflow.MlflowClient()
        with mlflow.start_run() as run:
            for i in range(0, points, 1_000):
                client.log_batch(run.info.run_id, [Metric("loss", k * 0.5, k, k) for k in range(i, i + 1_000)])
        start = time.perf_counter()
        assert len(client.get_metric_history(run.info.run_id, "loss")) == points
        return [(time.perf_counter() - start) / points]


PARTS = {part.__name__: part for part in (read, mlflow_read)}


def main() -> None:
    heading(f"Reading one metric of {POINTS:,} points into Arrow")
    row("", "seconds", "points/s")
    live, sealed, among = in_fresh_process(__file__, "read")
    row("mltrack, live", f"{live:.3f}", f"{POINTS / live:,.0f}", verdict=live < 0.3)
    row("mltrack, sealed", f"{sealed:.3f}", f"{POINTS / sealed:,.0f}", verdict=sealed < 0.1)
    row("mltrack, sealed, one of ten metrics", f"{among:.3f}", f"{POINTS / among:,.0f}", verdict=among < 0.1)
    if "--no-peers" not in sys.argv:
        each = in_fresh_process(__file__, "mlflow_read")[0]
        row("MLflow get_metric_history, SQLite", f"{each * POINTS:.1f}", f"{1 / each:,.0f}")
        print(f"  mltrack sealed is {each * POINTS / sealed:,.0f} times as fast")


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in PARTS:
        print(*PARTS[sys.argv[1]]())
    else:
        main()
