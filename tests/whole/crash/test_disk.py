"""Real full and read-only disks: training goes on, what is lost is counted, what was stored stays."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mltrack
from mltrack.errors import StoreError
from mltrack.recording.active import open_runs
from mltrack.storage.runs.sealing import seal_dead_writers
from tests.support.recording import all_points, points_by_writer


def mounted(path: Path, *options: str) -> Path:
    path.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *options, str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    return path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MiB."""
    if os.geteuid():
        pytest.skip("only root can mount a small disk")
    path = mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=3m", "mltrack-test")
    try:
        yield path
    finally:
        for run in open_runs():
            run.end("KILLED")
        subprocess.run(["umount", "-l", str(path)], check=True)


def fill(path: Path) -> Path:
    """Leave no byte free."""
    filler = path / "filler"
    with open(filler, "ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass
    return filler


def retry_now(run: mltrack.Run) -> None:
    """The second in which a full disk is not asked again is over."""
    run.points._retry_at_ns = 0


@pytest.mark.parametrize("mode", ["mmap", "write"])
def test_on_a_full_disk_training_continues_and_points_are_stored_again_once_there_is_room(
    small_disk: Path, mode: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLTRACK_JOURNAL", mode)
    mltrack.set_store(small_disk / "s")
    filler = small_disk / "reserve"
    filler.write_bytes(bytes(1 << 20))
    run = mltrack.start_run()
    calls = 0
    with caplog.at_level(logging.WARNING, "mltrack"):
        while run.lost < 5_000:
            run.log_metric("a", calls, calls)
            calls += 1
        run.set_tag("during", "1")
        run.log_text("x" * 100_000, "lost.txt")
        warned = [record.getMessage() for record in caplog.records]
        assert len(warned) == 2
        assert "No space left" in warned[0] and "training goes on" in warned[0]
        assert "the artifact 'lost.txt' was not stored" in warned[1]
        stored = run.stored()
        before = all_points(stored)
        assert [step for _, step, _, _ in before] == list(range(len(before)))
        assert len(before) + run.lost == calls
        assert len(before) * 32 > 1 << 20
        filler.unlink()
        retry_now(run)
        for step in range(1000):
            run.log_metric("a", 0.5, step)
        run.end()
    assert len(caplog.records) == 3
    assert f"lost: {run.lost:,} points, 1 artifact ('lost.txt')" in caplog.records[2].getMessage()
    stored = mltrack.get_run(run.run_id)
    after = all_points(stored)
    assert after[: len(before)] == before
    assert [step for _, step, _, _ in after[len(before) :]] == list(range(1000))
    assert stored.tags["during"] == "1"
    assert stored.info.status == "FINISHED"
    assert stored.lost == run.lost
    assert stored.artifacts == []
    assert list(stored.lost_artifacts) == ["lost.txt"]


def test_a_disk_too_full_to_seal_keeps_the_journals(small_disk: Path) -> None:
    mltrack.set_store(small_disk / "s")
    run = mltrack.start_run()
    for step in range(30_000):
        run.log_metric("a", step * 0.37, step)
    filler = fill(small_disk)
    run.end()
    stored = mltrack.get_run(run.run_id)
    before = all_points(stored)
    assert len(before) == 30_000
    filler.unlink()
    assert seal_dead_writers(stored.folder, stored.state) in (0, 30_000)
    assert all_points(mltrack.get_run(run.run_id)) == before
    assert os.listdir(stored.folder.points) == []


def test_a_run_starts_on_a_full_disk_and_is_stored_once_there_is_room(small_disk: Path) -> None:
    mltrack.set_store(small_disk / "s")
    mltrack.get_store()
    filler = fill(small_disk)
    run = mltrack.start_run(run_name="late")
    run.log_metric("a", 1.0)
    run.log_param("p", 1)
    assert run.lost == 1
    filler.unlink()
    retry_now(run)
    run.log_metric("a", 2.0)
    run.end()
    stored = mltrack.get_run(run.run_id)
    assert (stored.info.run_name, stored.info.status, stored.lost) == ("late", "FINISHED", 1)
    assert stored.params == {"p": "1"}
    assert stored.metrics("a").column("value").to_pylist() == [2.0]


def test_if_no_store_can_be_created_the_start_says_so(small_disk: Path) -> None:
    fill(small_disk)
    mltrack.set_store(small_disk / "s")
    with pytest.raises(StoreError, match="no store can be made"):
        mltrack.start_run()
    mltrack.set_store(None)


def test_an_experiment_that_cannot_be_created_is_reported(small_disk: Path) -> None:
    mltrack.set_store(small_disk / "s")
    mltrack.get_store()
    fill(small_disk)
    with pytest.raises(StoreError, match="can't be changed"):
        mltrack.set_experiment("new")


def test_a_read_only_store_can_be_read_and_refuses_runs(small_disk: Path) -> None:
    mltrack.set_store(small_disk / "s")
    with mltrack.start_run() as run:
        run.log_metric("a", 1.0)
        run.log_text("x", "a.txt")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    try:
        stored = mltrack.get_run(run.run_id)
        assert len(points_by_writer(stored)) == 1
        assert stored.info.status == "FINISHED"
        assert stored.artifact_path("a.txt").read_text() == "x"
        code = f"import mltrack; mltrack.set_store({str(small_disk / 's')!r}); mltrack.start_run()"
        refused = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "StoreError" in refused.stderr
        assert "can't be" in refused.stderr
        with pytest.raises(StoreError, match="can't be"):
            mltrack.set_experiment("new")
        with mltrack.start_run() as inside:  # of a training that has recorded there before: it goes on
            inside.log_metric("a", 1.0)
        assert [stored.info.run_id for stored in mltrack.get_store().runs()] == [run.run_id]
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
