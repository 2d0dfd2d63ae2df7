"""How the metadata of a large lake grows, and what that costs: the Delta log of the points, without the points.

    python benchmarks/bench_lake_scale.py [--scales 1000,300,100] [--dir FOLDER]

The whole is 100,000 runs of a million points each from 1,000 machines: 1e11 points. Each run was pushed in ten batches
while it was recorded, so that there are a million files; compaction leaves 24,000. The log is made at 1/1000, 1/300 and
1/100 of that, in a hundred commits, with the statistics that mltrack writes, and asked in processes of their own, with
a checkpoint that is up to date, and at the moment before the next one. For each figure: its growth as an exponent of
the number of files (1: twice the files take twice as long; 0: they do not matter), and what a straight line through it
comes to for all files, compacted or not.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from measure import folder_bytes, fresh_folder, heading, in_fresh_process, peak_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mltrack_sync.lake.staging import StagedFile
    from mltrack_sync.lake.tables import LakeTables

RUNS, MACHINES, FILES_A_RUN, POINTS_A_FILE = 100_000, 1_000, 10, 100_000
FILES = RUNS * FILES_A_RUN
FILES_COMPACTED = RUNS * FILES_A_RUN * POINTS_A_FILE // (1 << 22)
METRICS = ("acc", "grad/norm", "loss", "lr", "system/gpu_memory_mb", "val/acc", "val/loss")
FILES_A_COMMIT_MAX = 1000
MONTHS = [f"2026-{month:02}" for month in range(1, 13)]
COMMITS, RACERS = 15, 4
TAIL = 99
"""Commits after a checkpoint, at most: Delta makes one every hundred."""


@dataclass(frozen=True, slots=True)
class _Run:
    run_id: str
    month: str


def opened(lake: str) -> LakeTables:
    """The tables of the lake in a folder."""
    from mltrack_sync.lake.files import files_of
    from mltrack_sync.lake.places import LakePlace
    from mltrack_sync.lake.tables import LakeTables

    place = LakePlace.parse(f"delta:{lake}")
    return LakeTables(place, files_of(place))


def runs_of(scale: int) -> list[_Run]:
    """The runs, always the same ones."""
    chance = random.Random(scale)
    return [_Run(f"{chance.getrandbits(128):032x}", chance.choice(MONTHS)) for _ in range(RUNS // scale)]


def file_of(run: _Run, number: int, writer: str) -> StagedFile:
    """What the log says of one file of a run; the file itself does not exist."""
    from mltrack_sync.lake.staging import StagedFile

    first, time_ns = number * POINTS_A_FILE, 1_780_000_000_000_000_000 + number * 10**12
    stamp = "2026-05-28T20:26:40.000Z"
    least = {"store_id": writer * 2, "run_id": run.run_id, "metric": METRICS[0], "writer": writer, "seq": first}
    most = {**least, "metric": METRICS[-1], "seq": first + POINTS_A_FILE - 1}
    least |= {"step": first // 7, "time_ns": time_ns, "ts": stamp, "value": -3.25}
    most |= {"step": (first + POINTS_A_FILE) // 7, "time_ns": time_ns + 10**12, "ts": stamp, "value": 4.75}
    nulls = dict.fromkeys(least, 0)
    stats = {"numRecords": POINTS_A_FILE, "minValues": least, "maxValues": most, "nullCount": nulls}
    partition = {"month": run.month, "shard": run.run_id[0]}
    folder = f"month={run.month}/shard={run.run_id[0]}"
    path = f"{folder}/part-{os.urandom(16).hex()}.parquet"
    return StagedFile("points", path, 1_000_000, POINTS_A_FILE, partition, json.dumps(stats))


def commit(tables: LakeTables, store_id: str, number: int, files: list[StagedFile]) -> float:
    """Seconds of a commit as a push makes it: the table is loaded, committed to, and loaded again."""
    from mltrack_sync.lake.tables import TableBatch

    started = time.perf_counter()
    tables.commit(store_id, TableBatch("points", number, tuple(files)), os.urandom(8).hex(), tables.created("points"))
    return time.perf_counter() - started


def part_make(lake: str, scale: str) -> None:
    """Make the log; seconds of a checkpoint, its bytes, and those of commits after it: the median, and the last."""
    tables = opened(lake)
    runs = runs_of(int(scale))
    machines = [f"{number:032x}" for number in range(max(1, MACHINES // int(scale)))]
    numbers = dict.fromkeys(machines, 0)
    for number, files in enumerate(_in_commits(runs)):
        machine = machines[number % len(machines)]
        numbers[machine] += 1
        commit(tables, machine, numbers[machine], files)
    checkpoint_s = min(_checkpoint(tables, number) for number in range(3))
    log = Path(lake) / "points" / "_delta_log"
    size = max(path.stat().st_size for path in log.glob("*.checkpoint*.parquet"))
    spent = [commit(tables, "f" * 32, number + 1, [file_of(runs[0], number, "w" * 16)]) for number in range(COMMITS)]
    print(checkpoint_s, size, sorted(spent)[COMMITS // 2])


def _checkpoint(tables: LakeTables, number: int) -> float:
    """Seconds of a checkpoint after another commit: Delta makes none where there is one."""
    commit(tables, "e" * 32, number + 1, [file_of(runs_of(1000)[0], number, "e" * 16)])
    table = tables.created("points")
    started = time.perf_counter()
    table.create_checkpoint()
    return time.perf_counter() - started


def _in_commits(runs: list[_Run]) -> Iterator[list[StagedFile]]:
    found: list[StagedFile] = []
    size = min(FILES_A_COMMIT_MAX, len(runs) * FILES_A_RUN // 100)
    for index, run in enumerate(runs):
        found += [file_of(run, number, f"{index:016x}") for number in range(FILES_A_RUN)]
        if len(found) >= size or index == len(runs) - 1:
            yield found
            found = []


def part_race(lake: str) -> None:
    """Seconds a commit when several machines commit one after the other, all at once."""
    started = time.perf_counter()
    command = [sys.executable, __file__, "part", "racer", lake]
    machines = [f"{number:x}" * 32 for number in range(1, RACERS + 1)]
    racers = [subprocess.Popen([*command, machine], stdout=subprocess.PIPE) for machine in machines]
    begun = [float(racer.communicate()[0]) for racer in racers]
    print((time.perf_counter() - started - min(begun)) / (RACERS * COMMITS))


def part_racer(lake: str, machine: str) -> None:
    """Commit several times; how long the start took."""
    started = time.perf_counter()
    tables = opened(lake)
    tables.load("points")
    print(time.perf_counter() - started, flush=True)
    run = runs_of(1000)[0]
    for number in range(COMMITS):
        commit(tables, machine, number + 1, [file_of(run, number, machine[:16])])


def part_tail(lake: str) -> None:
    """Commit until there are TAIL commits after the last checkpoint."""
    from deltalake.transaction import AddAction

    tables = opened(lake)
    table = tables.created("points")
    run = runs_of(1000)[0]
    for number in range(TAIL - table.version() % 100):
        file = file_of(run, number, "v" * 16)
        action = AddAction(file.path, file.size, dict(file.partition), 0, True, file.stats)
        table.create_write_transaction([action], "append", table.schema(), ["month", "shard"])
    print(table.version())


def part_ask(lake: str, scale: str) -> None:
    """Seconds to load the table, to list its files, and to find those of one metric of one run; how many; and MB."""
    from mltrack_sync.lake.data_files import DataFiles
    from mltrack_sync.lake.layout import TABLES

    run = runs_of(int(scale))[-1]
    before = peak_memory()
    moments = [time.perf_counter()]
    tables = opened(lake)
    table = tables.load("points")
    assert table is not None
    moments.append(time.perf_counter())
    files = DataFiles.of(tables.files, TABLES["points"], table, remote=False)
    moments.append(time.perf_counter())
    where = {"month": [run.month], "shard": [run.run_id[0]], "run_id": [run.run_id], "metric": ["loss"]}
    found = len(files.matching(where))
    moments.append(time.perf_counter())
    spent = [after - earlier for earlier, after in itertools.pairwise(moments)]
    print(*spent, found, (peak_memory() - before) / 1e6)


FIGURES = (
    ("commit of one file, s", "commit"),
    (f"the same, {RACERS} processes in turn, s", "race"),
    ("checkpoint, s", "checkpoint"),
    ("checkpoint, MB", "checkpoint_mb"),
    ("log replay from a checkpoint, s", "load"),
    (f"log replay with {TAIL} commits more, s", "load_tail"),
    ("listing of files with their bounds, s", "list"),
    ("pruning for one series, s", "prune"),
    ("files that the series opens", "opened"),
    ("memory of a reader, MB", "memory"),
)


def _asked(lake: str, scale: int) -> list[float]:
    """The least of each figure, of several readers."""
    asked = [in_fresh_process(__file__, "part", "ask", lake, str(scale)) for _ in range(5)]
    return list(map(min, zip(*asked, strict=True)))


def measured(folder: Path, scale: int) -> dict[str, float]:
    """The figures at one scale."""
    lake = str(folder / f"lake-{scale}")
    checkpoint_s, size, commit_s = in_fresh_process(__file__, "part", "make", lake, str(scale))
    load, listing, prune, files, memory = _asked(lake, scale)
    race = in_fresh_process(__file__, "part", "race", lake)[0]
    in_fresh_process(__file__, "part", "tail", lake)
    load_tail = _asked(lake, scale)[0]
    print(f"  1/{scale}: {folder_bytes(Path(lake)) / 1e6:,.0f} MB of log", file=sys.stderr)
    return {
        "files": FILES / scale,
        "commit": commit_s,
        "race": race,
        "checkpoint": checkpoint_s,
        "checkpoint_mb": size / 1e6,
        "load": load,
        "load_tail": load_tail,
        "list": listing,
        "prune": prune,
        "opened": files,
        "memory": memory,
    }


def exponent_of(files: list[float], values: list[float]) -> float:
    """The slope of the figures on a double logarithmic scale."""
    x, y = [math.log(each) for each in files], [math.log(max(each, 1e-9)) for each in values]
    return _line(x, y, [1.0] * len(x))[0]


def extrapolated(files: list[float], values: list[float], count: float) -> float:
    """What the straight line comes to that has the least relative errors."""
    slope, start = _line(files, values, [1 / each**2 for each in values])
    return start + slope * count


def _line(x: list[float], y: list[float], weights: list[float]) -> tuple[float, float]:
    """Slope and start of the line with the least squares of errors."""
    total = sum(weights)
    mean_x = sum(w * each for w, each in zip(weights, x, strict=True)) / total
    mean_y = sum(w * each for w, each in zip(weights, y, strict=True)) / total
    across = sum(w * (a - mean_x) * (b - mean_y) for w, a, b in zip(weights, x, y, strict=True))
    slope = across / sum(w * (a - mean_x) ** 2 for w, a in zip(weights, x, strict=True))
    return slope, mean_y - slope * mean_x


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table_of(found: list[dict[str, float]]) -> None:
    """Print all figures, their growth, and what they come to."""
    files = [each["files"] for each in found]
    titles = ["figure", *(f"{each:,.0f} files" for each in files), "exponent"]
    titles += [f"at {FILES_COMPACTED:,}", f"at {FILES:,}"]
    rows = [titles]
    for title, key in FIGURES:
        values = [each[key] for each in found]
        said = [_number(extrapolated(files, values, count)) for count in (FILES_COMPACTED, FILES)]
        rows.append([title, *map(_number, values), f"{exponent_of(files, values):.2f}", *said])
    widths = [max(len(line[at]) for line in rows) for at in range(len(titles))]
    for line in rows:
        cells = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        print("  " + "  ".join([line[0].ljust(widths[0]), *cells]))


def main() -> None:
    if sys.argv[1:2] == ["part"]:
        globals()[f"part_{sys.argv[2]}"](*sys.argv[3:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scales", default="1000,300,100", help="fractions of the whole: 1000 is a thousandth")
    chosen = parser.parse_args()
    heading(f"The log of a lake: {FILES:,} files of points at full size, {FILES_COMPACTED:,} when compacted")
    with fresh_folder() as folder:
        table_of([measured(folder, int(scale)) for scale in chosen.scales.split(",")])


if __name__ == "__main__":
    main()
