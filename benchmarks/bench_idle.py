"""What a sync costs when there is nothing to do: ten thousand runs, all of them pushed before.

    python benchmarks/bench_idle.py [--runs N]

Promise: one pass under a second, the whole ``mltrack sync`` process included. A live syncer stays at work, so its looks
are measured in a process that has made one already: ``push`` is a whole pass, ``look`` what it does where the store
stands as it was left. The far end only counts, and no request may reach it.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench_search import make_facts, write_run
from measure import ROUNDS, fresh_folder, heading, in_fresh_process, row
from sink import FarEnd, far_end

PASSES = 5
SECONDS_MAX = 1.0


def record(folder: Path, runs: int) -> None:
    """A store with that many finished runs."""
    from mltrack.disk.layout import Layout

    layout = Layout.open_or_create(folder, now_ns=time.time_ns())
    for facts in make_facts(runs):
        write_run(layout, facts)


def passes(folder: str, url: str) -> None:
    """Print the seconds of a pass, of a look, and their processor time, in a process that has done one of each."""
    import mltrack
    from mltrack_sync import Remotes, push
    from mltrack_sync.daemon.daemon import Daemon, PollConfig
    from mltrack_sync.daemon.loop import Trigger

    store = mltrack.Store.open(folder)
    remote = Remotes(store).get("sink")
    trigger = Trigger()
    daemon = Daemon(store, remote, trigger, PollConfig())
    print(*timed(lambda: push(store, remote)), *timed(lambda: daemon.poll(trigger.new_cycle())))


def timed(one: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and seconds of processor time; medians after the first time."""
    one()
    figures = []
    for _ in range(PASSES):
        start, used = time.perf_counter(), time.process_time()
        one()
        figures.append((time.perf_counter() - start, time.process_time() - used))
    took, used = (statistics.median(column) for column in zip(*figures, strict=True))
    return took, used


def command(folder: Path) -> float:
    """Seconds of the command, from its start to its end."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "mltrack", "--store", str(folder), "sync", "sink"], capture_output=True, text=True
    )
    took = time.perf_counter() - start
    assert done.returncode == 0, done.stderr
    assert "nothing to send" in done.stdout, done.stdout
    return took


def settled(folder: Path, there: FarEnd, runs: int) -> int:
    """Push all there is; returns how many requests that took."""
    import mltrack
    from mltrack_sync import Remotes, push

    store = mltrack.Store.open(folder)
    start = time.perf_counter()
    report = push(store, Remotes(store).add("sink", there.url))
    print(f"  {report.runs:,} runs pushed in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    taken = there.taken()
    assert (report.complete, taken.runs, taken.points) == (True, runs, report.points), (report, taken)
    return taken.requests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    runs = parser.parse_args().runs
    with fresh_folder() as folder, far_end() as there:
        store = folder / ".mltrack"
        record(store, runs)
        requests = settled(store, there, runs)
        commands = [command(store) for _ in range(ROUNDS)]
        rounds = [in_fresh_process(__file__, "passes", str(store), there.url) for _ in range(ROUNDS)]
        assert there.taken().requests == requests, "a request was made"
    whole, (took, used, looked, looking) = (
        statistics.median(commands),
        map(statistics.median, zip(*rounds, strict=True)),
    )
    heading(f"A sync with nothing to do, over {runs:,} runs")
    row("", "seconds", "processor s")
    row("mltrack sync, the whole process", f"{whole:.2f}", "", verdict=whole < SECONDS_MAX)
    row("push, in a process that goes on", f"{took:.3f}", f"{used:.3f}", verdict=took < SECONDS_MAX)
    row("look, of a live syncer", f"{looked:.3f}", f"{looking:.3f}", verdict=looked < SECONDS_MAX)


if __name__ == "__main__":
    if sys.argv[1:2] == ["passes"]:
        passes(*sys.argv[2:4])
    else:
        main()
