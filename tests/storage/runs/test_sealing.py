"""Sealing: at any step it stops or fails, every point is read, once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import mltrack
from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.disk.layout import Layout, RunFolder, new_run_id
from mltrack.journal.points import SEAL_POINTS_MIN
from mltrack.journal.recorder import Recorder
from mltrack.journal.seal import seal_writer
from mltrack.recording.run import Run
from mltrack.storage.runs.sealing import seal_dead_writers
from mltrack.storage.runs.stored_run import StoredRun
from tests.support.filesystems import CountingFileSystem, LossyFileSystem, Stopped, failing, failing_from, stopping_at
from tests.support.recording import abandon, all_points

COUNT = 5_000


def dead_run(layout: Layout, count: int = COUNT) -> StoredRun:
    """A run whose process is gone: its lock is free, its journals lie as they were."""
    recorder = Recorder(layout, layout.run(new_run_id()), "create")
    recorder.start([{"type": "start", "run_name": "r", "start_time": 1}])
    for step in range(count):
        recorder.points.log("ab"[step % 2], float(step), step, 1000 + step)
    abandon(recorder)
    return StoredRun(recorder.folder)


def test_a_dead_writer_is_sealed_and_nothing_changes_for_readers(layout: Layout) -> None:
    run = dead_run(layout)
    before = all_points(run)
    assert len(before) == COUNT
    assert seal_dead_writers(run.folder, run.state) == COUNT
    assert list(run.folder.points.iterdir()) == []
    after = StoredRun(run.folder)
    assert all_points(after) == before
    assert after.summaries == run.summaries
    assert seal_dead_writers(run.folder, after.state) == 0


def test_a_short_writer_keeps_its_journal(layout: Layout) -> None:
    run = dead_run(layout, 1000)
    assert seal_dead_writers(run.folder, run.state) == 0
    assert len(all_points(run)) == 1000 < SEAL_POINTS_MIN


def test_a_live_writer_is_never_sealed_by_another(tmp_path: Path) -> None:
    mltrack.set_store(tmp_path / "s")
    with mltrack.start_run() as run:
        for step in range(COUNT):
            run.log_metric("a", 1.0, step)
        stored = run.stored()
        assert seal_dead_writers(stored.folder, stored.state) == 0
        for writer in stored.state.writers.values():
            writer.alive = False  # as a reader with an old view has it: the lock decides
        assert seal_dead_writers(stored.folder, stored.state) == 0
        run.log_metric("a", 1.0, COUNT)
        assert len(all_points(run.stored())) == COUNT + 1


@pytest.mark.parametrize("faulty", [stopping_at, failing, failing_from])
def test_a_seal_interrupted_or_failing_at_any_step_loses_and_duplicates_nothing(
    layout: Layout, faulty: Callable[[int], FileSystem]
) -> None:
    counter = CountingFileSystem()
    counted = dead_run(layout)
    seal_dead_writers(counted.folder, counted.state, fs=counter)
    assert counter.steps >= 5
    for step in range(1, counter.steps + 1):
        run = dead_run(layout)
        before = all_points(run)
        with suppress(OSError, Stopped):
            seal_dead_writers(run.folder, run.state, fs=faulty(step))
        assert all_points(StoredRun(run.folder)) == before
        seal_dead_writers(run.folder, run.state)
        assert all_points(StoredRun(run.folder)) == before
        assert len(list(run.folder.points.iterdir())) == 0


def test_a_damaged_journal_is_left_unchanged(layout: Layout) -> None:
    run = dead_run(layout)
    [first, *_] = sorted(run.folder.points.iterdir())
    data = first.read_bytes()
    first.write_bytes(data[:20] + b"x" + data[21:])
    assert seal_dead_writers(run.folder, run.state) == 0
    assert first.exists()
    assert list(run.folder.segments.iterdir()) == []


def test_the_journals_are_deleted_only_once_the_segment_survives_power_loss(layout: Layout) -> None:
    run = dead_run(layout)
    before = all_points(run)
    journals = {path.name: path.read_bytes() for path in run.folder.points.iterdir()}
    seen: list[bool] = []

    class Watching(LossyFileSystem):
        def unlink(self, path: Path) -> None:
            if path.parent == run.folder.points and not seen:
                seen.append(True)
                lossy.lose_power()  # at the moment the first journal is about to go
            LOCAL.unlink(path)

    lossy = Watching(run.folder.segments)
    seal_dead_writers(run.folder, run.state, fs=lossy)
    assert seen
    assert not set(journals) & {path.name for path in run.folder.points.iterdir()}
    assert all_points(StoredRun(run.folder)) == before


def test_a_segment_that_cannot_be_written_leaves_the_journals(layout: Layout) -> None:
    run = dead_run(layout)
    run.folder.segments.rmdir()
    run.folder.segments.write_text("in the way")
    with pytest.raises(OSError, match="segments"):
        seal_writer(run.folder, next(iter(run.state.writers)), ["a", "b"])
    assert len(all_points(StoredRun(run.folder))) == COUNT


def test_a_closed_run_is_a_handful_of_files(layout: Layout) -> None:
    recorder = Recorder(layout, layout.run(new_run_id()), "create")
    recorder.start([{"type": "start", "run_name": "r", "start_time": 1}])
    run = Run(layout, recorder)
    for step in range(150_000):
        run.log_metric("a", 1.0, step)
    run.end()
    assert sum(path.is_file() for path in recorder.folder.path.rglob("*")) == 2
    assert isinstance(recorder.folder, RunFolder)
    assert len(all_points(StoredRun(recorder.folder))) == 150_000
