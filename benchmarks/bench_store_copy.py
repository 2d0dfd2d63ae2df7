"""How fast a store is copied into another one in a folder, beside ``cp -r`` of the same folder.

    python benchmarks/bench_store_copy.py [--points N] [--files MB] [--runs N] [--only large|small|updates]

Promise: at least half the rate of ``cp -r``, for a store of large runs and for one of many small ones; a second pass
over 10,000 unchanged runs takes less than 2 s, one over 10,000 runs that got a tag each less than 20 s; less than
300 MB of memory. ``cp -r`` leaves what it copied in memory, a copy between stores has it on the disk when it returns:
so ``cp -r`` followed by ``sync`` is what it is compared with.
Each copy is a process of its own, whose memory is measured. Processor time is shown as well: on a busy machine the
seconds of both mostly say how long they waited. Nothing is removed before the last copy was made: ext4 makes new files
several times slower for some minutes after many were removed, and whoever comes first after that pays for it.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from measure import ROUNDS, folder_bytes, fresh_folder, heading, in_fresh_process, peak_memory, row

import mltrack
from mltrack.disk.filesystem import FileSystem
from mltrack.disk.layout import new_run_id
from mltrack.storage.runs.edit import set_tag
from mltrack_sync.selection import Selection
from mltrack_sync.stores.copying import copy_units
from mltrack_sync.stores.local_source import LocalSource
from mltrack_sync.stores.local_target import LocalTarget

SHARE_MIN = 0.5
PASS_S_MAX = 2.0
UPDATES_S_MAX = 20.0
MEMORY_MB_MAX = 300


def large_runs(folder: Path, points: int, megabytes: int) -> None:
    """Four runs with points, and artifacts of 64 MB."""
    mltrack.set_store(folder)
    for number in range(4):
        with mltrack.start_run(run_name=f"large-{number}") as run:
            for step in range(points // 4):
                run.log_metric("loss", step * 0.37, step)
            for at in range(megabytes // 256):
                path = folder.parent / "artifact.bin"
                path.write_bytes(os.urandom(64 << 20))
                run.log_artifact(path, f"weights/{at}")
    mltrack.set_store(None)


def small_runs(folder: Path, count: int) -> None:
    """Copies of one small run under other ids, with the lines that name it corrected."""
    mltrack.set_store(folder)
    with mltrack.start_run(run_name="small") as run:
        run.log_params({f"param_{k}": k for k in range(5)})
        for step in range(100):
            run.log_metric("loss", step * 0.37, step)
        run.log_text("a few words", "notes.txt")
        run_id = run.run_id
    mltrack.set_store(None)
    from mltrack.disk.codec import decode_line, encode_line

    model = folder / "runs" / run_id
    for _ in range(count - 1):
        other = new_run_id()
        shutil.copytree(model, folder / "runs" / other)
        for path in (folder / "runs" / other / "events").iterdir():
            lines = [decode_line(line) for line in path.read_bytes().splitlines()]
            lines[0]["run_id"] = other
            path.write_bytes(b"".join(map(encode_line, lines)))


def copy_once(source: str, target: str) -> int:
    """One copy in this process; prints its seconds, the units copied and unchanged, and the most memory held."""
    here = mltrack.Store.open(source)
    there = mltrack.Store.open(target) if os.path.isdir(target) else mltrack.Store.create(target)
    origin = LocalSource(here, hashing=False)
    began = time.perf_counter()
    report = copy_units(origin, LocalTarget(there, hashing=False), origin.units(Selection()))
    seconds = time.perf_counter() - began
    assert not report.problems, report.problems
    print(seconds, len(report.units), report.unchanged, peak_memory())
    return 0


def timed(command: str) -> tuple[float, float]:
    """How long a command takes, and the processor time that it takes."""
    began, used = time.perf_counter(), processor_time()
    subprocess.run(command, shell=True, check=True)
    return time.perf_counter() - began, processor_time() - used


def processor_time() -> float:
    """The processor time of all processes that this one has waited for, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def compare(name: str, source: Path) -> bool:
    """Copy a store in three ways, several times; whether ours keeps the promise."""
    size = folder_bytes(source)
    folder = source.parent
    rounds = []
    unchanged = 0.0
    for number in range(min(ROUNDS, 3)):
        target = str(folder / f"ours{number}")
        os.sync()
        used = processor_time()
        ours, _, _, held = in_fresh_process(__file__, "copy", str(source), target)
        used = processor_time() - used
        again, units, unchanged, _ = in_fresh_process(__file__, "copy", str(source), target)
        assert units == 0
        os.sync()
        plain, _ = timed(f"cp -r {source} {folder / f'plain{number}'}")
        os.sync()
        synced, theirs = timed(f"cp -r {source} {folder / f'synced{number}'} && sync -f {folder}")
        rounds.append([ours, plain, synced, synced / ours, again, held / 1e6, used, theirs])
    ours, plain, synced, share, again, held, used, theirs = (
        statistics.median(column) for column in zip(*rounds, strict=True)
    )
    fast, quick, small = share >= SHARE_MIN, again < PASS_S_MAX, held < MEMORY_MB_MAX
    figures = f"{ours:.2f} s", f"{used:.2f} s cpu", f"{size / ours / 1e6:,.0f} MB/s", f"{held:,.0f} MB held"
    row(f"{name}: mltrack", *figures, verdict=bool(fast and small))
    row(f"{name}: cp -r", f"{plain:.2f} s", "", f"{size / plain / 1e6:,.0f} MB/s")
    rate = f"{size / synced / 1e6:,.0f} MB/s"
    row(f"{name}: cp -r, sync", f"{synced:.2f} s", f"{theirs:.2f} s cpu", rate, f"ratio {share:.2f}")
    row(f"{name}: second pass", f"{again:.2f} s", f"{unchanged:,.0f} unchanged", verdict=bool(quick))
    return bool(fast and quick and small)


class NoSyncs(FileSystem):
    """Nothing waits for the disk: for what is not measured."""

    def sync(self, fd: int) -> None:
        """Do not wait."""

    def sync_folder(self, path: Path) -> None:
        """Do not wait."""


def update(source: Path) -> bool:
    """Copy a tag of each run into a store that has all else of them; whether that is fast enough."""
    target = str(source.parent / "updated")
    in_fresh_process(__file__, "copy", str(source), target)
    seconds = []
    for number in range(min(ROUNDS, 3)):
        here = mltrack.Store.open(source)
        for run_id in here.run_ids():
            set_tag(here.layout, run_id, "round", str(number), fs=NoSyncs())
        os.sync()
        used = processor_time()
        ours, units, _, _ = in_fresh_process(__file__, "copy", str(source), target)
        seconds.append([ours, processor_time() - used, units])
    ours, used, units = (statistics.median(column) for column in zip(*seconds, strict=True))
    quick = ours < UPDATES_S_MAX
    row(f"a tag of {units:,.0f} known runs", f"{ours:.2f} s", f"{used:.2f} s cpu", verdict=bool(quick))
    return bool(quick)


def main() -> int:
    """Measure and print; 1 where a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=2_000_000)
    parser.add_argument("--files", type=int, default=1_024, help="MB of artifacts")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--only", choices=("large", "small", "updates"))
    args = parser.parse_args()
    heading("a store copied into another one")
    kept = []
    with fresh_folder() as folder:  # small ones first: nothing was removed before them
        if args.only != "large":
            (folder / "small").mkdir()
            small_runs(folder / "small" / "a", args.runs)
        if args.only in (None, "small"):
            kept.append(compare(f"{args.runs:,} small runs", folder / "small" / "a"))
        if args.only in (None, "updates"):
            kept.append(update(folder / "small" / "a"))
    with fresh_folder() as folder:
        if args.only in (None, "large"):
            large_runs(folder / "a", args.points, args.files)
            kept.append(compare("large runs", folder / "a"))
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(copy_once(*sys.argv[2:]) if sys.argv[1:2] == ["copy"] else main())
