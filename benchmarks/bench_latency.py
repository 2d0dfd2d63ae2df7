"""How long single calls take while the flusher works, and how much memory ten million points cost.

    python benchmarks/bench_latency.py

Promises: p99.9 of a call under 50 µs; under 100 MB more resident memory than bare Python with the same imports.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from measure import fresh_folder, heading, in_fresh_process, median_of, row

CALLS = 2_000_000
MEMORY_POINTS = 10_000_000


def latency() -> list[float]:
    """p50, p99, p99.9 and the greatest, in µs. The clock's own cost is part of what is measured."""
    import numpy as np

    import mltrack

    clock = time.perf_counter_ns
    took = np.zeros(CALLS, np.int64)  # touched now, so that its own page faults are not measured
    with fresh_folder() as folder:
        mltrack.set_store(folder / ".mltrack")
        with mltrack.start_run():
            log = mltrack.log_metric
            log("loss", 0.0, 0)
            for i in range(CALLS):
                start = clock()
                log("loss", 0.5, i)
                took[i] = clock() - start
    return [float(x) / 1_000 for x in (*np.percentile(took, [50, 99, 99.9]), took.max())]


def resident_mb(peak: bool = True) -> float:
    wanted = "VmHWM" if peak else "VmRSS"
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(wanted):
            return int(line.split()[1]) / 1_024
    raise SystemExit("no /proc/self/status")


def memory() -> list[float]:
    """Peak resident memory in MB: with the imports alone, after logging, after closing and sealing."""
    import pyarrow.parquet  # noqa: F401  # what a close imports

    import mltrack.journal.seal
    import mltrack.recording.fluent
    import mltrack.store

    imports = resident_mb()
    with fresh_folder() as folder:
        mltrack.set_store(folder / ".mltrack")
        mltrack.start_run()
        log = mltrack.log_metric
        for i in range(MEMORY_POINTS):
            log("loss", i * 0.5, i)
        logged = resident_mb()
        mltrack.end_run()
        return [imports, logged, resident_mb()]


PARTS = {part.__name__: part for part in (latency, memory)}


def main() -> None:
    heading(f"Latency of mltrack.log_metric over {CALLS:,} calls, flusher at work")
    row("", "p50", "p99", "p99.9", "max")
    p50, p99, p999, most = median_of(lambda: in_fresh_process(__file__, "latency"))
    row("µs a call", f"{p50:.2f}", f"{p99:.2f}", f"{p999:.1f}", f"{most:,.0f}", verdict=p999 < 50)
    heading(f"Peak resident memory, {MEMORY_POINTS:,} points")
    imports, logged, sealed = median_of(lambda: in_fresh_process(__file__, "memory"), 3)
    row("MB with the imports alone", f"{imports:.0f}")
    row("MB more after logging", f"{logged - imports:.0f}", verdict=logged - imports < 100)
    row("MB more after closing and sealing", f"{sealed - imports:.0f}", verdict=sealed - imports < 100)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(*PARTS[sys.argv[1]]())
    else:
        main()
