"""Running code that records in another process, and reading a run's points in a form that compares bit by bit."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from mltrack.disk.flusher import FLUSHER
from mltrack.disk.layout import Layout
from mltrack.journal.recorder import Recorder
from mltrack.storage.runs.stored_run import StoredRun

Point = tuple[str, int, int, bytes]


def start_python(code: str, *args: object, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start ``python -c code args``, with pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        env={**os.environ, **(env or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_python(code: str, *args: object, env: Mapping[str, str] | None = None, status: int | None = 0) -> str:
    """Run it to its end, which must be with ``status`` (None: any); returns what it wrote."""
    process = start_python(code, *args, env=env)
    out, err = process.communicate(timeout=100)
    assert status is None or process.returncode == status, err
    return out


def bits(value: float) -> bytes:
    """A float64 as its bytes: NaN equals itself, -0.0 does not equal 0.0."""
    return struct.pack("<d", value)


def stored(root: Path, run_id: str) -> StoredRun:
    """A run of the store at ``root``."""
    return StoredRun(Layout.open(root).run(run_id))


def points_by_writer(run: StoredRun) -> dict[str, list[Point]]:
    """(key, step, time, bits of the value) of each point, in the order of logging; seqs must have no gap."""
    found: dict[str, list[Point]] = {}
    for writer, piece in run.read_points():
        points = found.setdefault(writer, [])
        assert piece.seqs.tolist() == list(range(len(points), len(points) + len(piece)))
        keys = [piece.keys[code] for code in piece.codes]
        rows = zip(keys, piece.steps.tolist(), piece.times.tolist(), piece.values.tolist(), strict=True)
        points += [(key, step, time, bits(value)) for key, step, time, value in rows]
    assert not run.damage
    return found


def abandon(recorder: Recorder) -> None:
    """Do to a recorder what the end of its process does: its lock is free, its files lie as they are."""
    FLUSHER.remove(recorder)
    with recorder._sync_lock:  # a sync under way would hold the file, and its lock, open
        recorder.points.abandon()
        if recorder._events is not None:
            recorder._events.close()
        recorder._events, recorder._closed = None, True


def all_points(run: StoredRun) -> list[Point]:
    """The points of a run with one writer."""
    found = points_by_writer(run)
    assert len(found) <= 1
    return next(iter(found.values()), [])
