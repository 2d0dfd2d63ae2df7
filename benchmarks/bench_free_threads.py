"""What the lock of the point journal costs, in one thread and in eight, with and without the interpreter's own lock.

    python benchmarks/bench_free_threads.py
    python3.14t benchmarks/bench_free_threads.py

A free-threaded interpreter gets the locked journal; others get the one without a lock, and the locked one is measured
for comparison. It needs no package but mltrack itself. Promise: eight threads lose no point and write none twice.
"""

from __future__ import annotations

import struct
import sys
import threading
import time

from measure import fresh_folder, heading, in_fresh_process, median_of, row

from mltrack.disk.codec import HEADER_SIZE, RECORD_SIZE
from mltrack.disk.filesystem import LOCAL
from mltrack.disk.layout import RunFolder
from mltrack.journal.events import new_writer_name
from mltrack.journal.locked_points import LockedPointJournal
from mltrack.journal.points import PointJournal

POINTS = 400_000
FREE = not getattr(sys, "_is_gil_enabled", lambda: True)()
KINDS = {"plain": PointJournal, "locked": LockedPointJournal}


def log(kind: str, threads: int) -> list[float]:
    """Nanoseconds a point, and how many points are wrong."""
    with fresh_folder() as path:
        folder = RunFolder(path / ("0" * 32))
        folder.make(LOCAL)
        journal = KINDS[kind](
            folder.points,
            new_writer_name(1),
            fs=LOCAL,
            on_new_metric=lambda number, key: None,
            on_loss=lambda error: None,
        )
        for number in range(threads):
            journal.log(f"metric{number}", 0.0, 0)
        begin = threading.Barrier(threads + 1)
        each = POINTS // threads

        def work(key: str) -> None:
            begin.wait()
            for step in range(1, each + 1):
                journal.log(key, step * 0.5, step)

        workers = [threading.Thread(target=work, args=(f"metric{number}",)) for number in range(threads)]
        for worker in workers:
            worker.start()
        begin.wait()
        start = time.perf_counter()
        for worker in workers:
            worker.join()
        took = (time.perf_counter() - start) / (each * threads) * 1e9
        journal.close()
        return [took, float(wrong(folder, threads, each) + journal.lost)]


def wrong(folder: RunFolder, threads: int, each: int) -> int:
    """How many records are missing, or there twice: read by their bytes, so that NumPy is not needed."""
    record = struct.Struct("<qqdII")
    assert record.size == RECORD_SIZE
    seen: set[tuple[int, int]] = set()
    count = 0
    for path in folder.points.iterdir():
        data = path.read_bytes()
        for offset in range(HEADER_SIZE, len(data) - RECORD_SIZE + 1, RECORD_SIZE):
            step, _, value, number, mark = record.unpack_from(data, offset)
            if mark == offset and value == step * 0.5:
                seen.add((number, step))
                count += 1
    expected = threads * (each + 1)
    return abs(expected - len(seen)) + abs(count - len(seen))


def main() -> None:
    heading("The journal's lock")
    row("", "one thread", "eight threads", "wrong points")
    for kind in ["locked"] if FREE else KINDS:
        one, few = median_of(lambda kind=kind: in_fresh_process(__file__, kind, "1"))  # type: ignore[misc]
        eight, many = median_of(lambda kind=kind: in_fresh_process(__file__, kind, "8"))  # type: ignore[misc]
        bad = int(few + many)
        row(f"{kind} journal, ns a point", f"{one:,.0f}", f"{eight:,.0f}", f"{bad}", verdict=bad == 0)
    print("  the interpreter's own lock is " + ("off" if FREE else "on"))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(*log(sys.argv[1], int(sys.argv[2])))
    else:
        main()
