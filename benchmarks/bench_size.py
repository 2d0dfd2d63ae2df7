"""Bytes on disk a point once sealed, and how long ``import mltrack`` takes.

    python benchmarks/bench_size.py [--no-peers]

Promises: at most 9 bytes a point for noisy float64 values with time and step, 5 where the values came from float32;
importing mltrack takes less than 3 times bare Python's own start.
"""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial

from measure import folder_bytes, fresh_folder, heading, in_fresh_process, median_of, require, row

POINTS = 1_000_000


def noisy(single: str, metrics: str) -> list[float]:
    """A run logged call by call with noisy values: bytes a point of its whole folder."""
    import numpy as np

    import mltrack

    values = np.random.default_rng(7).normal(size=POINTS)
    if single == "float32":
        values = values.astype(np.float32).astype(np.float64)
    plain = values.tolist()
    with fresh_folder() as folder:
        mltrack.set_store(folder / ".mltrack")
        with mltrack.start_run() as run:
            if metrics == "1":
                for i, value in enumerate(plain):
                    run.log_metric("loss", value, i)
            else:
                names = [f"metric_{k}" for k in range(10)]
                for i in range(0, POINTS, 10):
                    run.log(dict(zip(names, plain[i : i + 10], strict=True)), i)
        return [folder_bytes(folder) / POINTS]


def slow_steps() -> list[float]:
    """The same with the time between steps as a training has it, around 100 ms give or take 5: the times are noise."""
    import numpy as np

    import mltrack

    random = np.random.default_rng(7)
    times = 1_790_000_000_000_000_000 + np.cumsum(random.normal(100e6, 5e6, POINTS)).astype(np.int64)
    with fresh_folder() as folder:
        mltrack.set_store(folder / ".mltrack")
        with mltrack.start_run() as run:
            run.log_series("loss", random.normal(size=POINTS), times=times)
        return [folder_bytes(folder) / POINTS]


def mlflow_bytes() -> list[float]:
    import mlflow
    import numpy as np
    from mlflow.entities import Metric

    points = 20_000
    values = np.random.default_rng(7).normal(size=points).tolist()
    with fresh_folder() as folder:
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        client = mlflow.MlflowClient()
        with mlflow.start_run() as run:
            empty = folder_bytes(folder)
            for i in range(0, points, 1_000):
                now = time.time_ns() // 1_000_000
                client.log_batch(run.info.run_id, [Metric("loss", values[k], now, k) for k in range(i, i + 1_000)])
        return [(folder_bytes(folder) - empty) / points]


def tensorboard_bytes() -> list[float]:
    require("tensorboardX")
    from tensorboardX import SummaryWriter

    points = 20_000
    with fresh_folder() as folder:
        writer = SummaryWriter(str(folder))
        for i in range(points):
            writer.add_scalar("loss", i * 0.5, i)
        writer.close()
        return [folder_bytes(folder) / points]


def start_ms(code: str) -> list[float]:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return [(time.perf_counter() - start) * 1_000]


PARTS = {part.__name__: part for part in (noisy, slow_steps, mlflow_bytes, tensorboard_bytes)}


def main() -> None:
    peers = "--no-peers" not in sys.argv
    heading(f"Bytes a point on disk, sealed ({POINTS:,} noisy points, with times and steps)")
    for what, arguments, limit in (
        ("mltrack, float64, one metric", ("noisy", "float64", "1"), 9.0),
        ("mltrack, float64, ten metrics", ("noisy", "float64", "10"), 9.0),
        ("mltrack, from float32, one metric", ("noisy", "float32", "1"), 5.0),
        ("mltrack, from float32, ten metrics", ("noisy", "float32", "10"), 5.0),
        ("mltrack, float64, times 100 ± 5 ms apart", ("slow_steps",), None),
    ):
        size = median_of(partial(in_fresh_process, __file__, *arguments), 3)[0]
        row(what, f"{size:.2f}", verdict=None if limit is None else size <= limit)
    if peers:
        row("MLflow, SQLite", f"{in_fresh_process(__file__, 'mlflow_bytes')[0]:.0f}")
        row("tensorboardX (float32)", f"{in_fresh_process(__file__, 'tensorboard_bytes')[0]:.0f}")
    heading("Start of a process, ms")
    bare = median_of(lambda: start_ms("pass"), 15)[0]
    row("python -c pass", f"{bare:.1f}")
    light = median_of(lambda: start_ms("import mltrack"), 15)[0]
    row("import mltrack", f"{light:.1f}", f"x {light / bare:.2f}", verdict=light < 3 * bare)
    ready = median_of(lambda: start_ms("import mltrack; mltrack.start_run; mltrack.log_metric"), 15)[0]
    row("import mltrack, ready to record", f"{ready:.1f}", f"x {ready / bare:.2f}")
    if peers:
        row("import mlflow", f"{median_of(lambda: start_ms('import mlflow'), 3)[0]:,.0f}")


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in PARTS:
        print(*PARTS[sys.argv[1]](*sys.argv[2:]))
    else:
        main()
