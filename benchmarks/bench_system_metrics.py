"""What measuring the machine costs: processor time of the measuring thread, beside MLflow's own, in one run.

    python benchmarks/bench_system_metrics.py [--no-peers]

Both measure far more often than they would, so that there is something to count: the processor time of one sample, over
the ten seconds that one stands for, is the share of a core. Promise: under 1% of a core. The first sample is apart: it
holds the imports, and comes once a run.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

from measure import fresh_folder, heading, in_fresh_process, median_of, row

INTERVAL_S = 0.01
SAMPLES = 200
STANDS_FOR_S = 10.0


def thread_time(thread: threading.Thread) -> float:
    """Processor time a thread has used so far, in seconds."""
    assert thread.ident is not None
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))


def cost(thread: threading.Thread, taken: Callable[[], int]) -> list[float]:
    """Seconds of processor time: of the first sample, and of one after it."""
    while taken() < 1:
        time.sleep(0.001)
    first, before = thread_time(thread), taken()
    while taken() < before + SAMPLES:
        time.sleep(0.01)
    return [first, (thread_time(thread) - first) / (taken() - before)]


def ours() -> list[float]:
    import mltrack

    os.environ["MLTRACK_SYSTEM_METRICS_INTERVAL"] = str(INTERVAL_S)
    with fresh_folder() as folder:
        mltrack.set_store(folder / ".mltrack")
        with mltrack.start_run(log_system_metrics=True) as run:
            (thread,) = [t for t in threading.enumerate() if t.name == "mltrack-system-metrics"]
            return cost(thread, lambda: run.points.seq // 8)  # points a sample


def mlflow_monitor() -> list[float]:
    import mlflow
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    with fresh_folder() as folder:
        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        with mlflow.start_run() as run:
            monitor = SystemMetricsMonitor(run.info.run_id, sampling_interval=INTERVAL_S)
            monitor.start()
            try:
                thread = monitor._process
                assert thread is not None
                return cost(thread, lambda: monitor._logging_step)
            finally:
                monitor.finish()


PARTS = {part.__name__: part for part in (ours, mlflow_monitor)}


def main() -> None:
    heading(f"System metrics, processor time of the measuring thread ({SAMPLES} samples)")
    row("", "first, ms", "each, ms", "share of a core")

    def line(what: str, name: str, promised: float | None = None) -> None:
        first, each = median_of(lambda: in_fresh_process(__file__, name))
        share = each / STANDS_FOR_S
        held = None if promised is None else share < promised
        row(what, f"{first * 1e3:,.1f}", f"{each * 1e3:,.2f}", f"{share:.4%}", verdict=held)

    line("mltrack", "ours", 0.01)
    if "--no-peers" not in sys.argv:
        line("MLflow's SystemMetricsMonitor, SQLite", "mlflow_monitor")


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in PARTS:
        print(*PARTS[sys.argv[1]]())
    else:
        main()
