"""Real limits on memory, descriptors and threads, set at each step of a run's life: no call raises, the end comes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import mltrack
from recording import run_python

LIFE = """
import os, resource, sys, threading
from pathlib import Path
root, limit, when = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
if limit == "threads" and os.getuid() == 0:  # root may start as many as it likes: be another user, who may read all
    as_another = ["setpriv", "--ruid", "65534", "--euid", "0", "--bounding-set", "-sys_resource,-sys_admin"]
    os.execvp(as_another[0], [*as_another, *sys.orig_argv])
import mltrack
from mltrack import Histogram
mltrack.set_store(root / "s")

def confine():
    if limit == "descriptors":
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    elif limit == "threads":
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    else:
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + int(limit) * 1_000_000,) * 2)

def points():
    for step in range(12_000):
        mltrack.log_metric("loss", step * 0.5, step=step)

run = mltrack.start_run(run_name="confined")
STEPS = [
    lambda: mltrack.log_metric("first", 1.0),
    lambda: mltrack.log_params({"a": 1, "b": 2}),
    lambda: mltrack.set_tag("t", "v"),
    points,
    lambda: mltrack.log_metrics({"x": 1.0, "y": 2.0}, step=3),
    lambda: mltrack.log_series("series", list(range(5_000))),
    lambda: mltrack.log({"text": mltrack.Text("hello"), "plain": 1.0}),
    lambda: mltrack.log_text("some text", "notes/a.txt"),
    lambda: mltrack.log_dict({"k": [1, 2]}, "d.json"),
    lambda: mltrack.log_artifact(root / "file.bin"),
    lambda: mltrack.log_artifacts(root / "folder", "folder"),
    lambda: run.watch(root / "watched"),
    lambda: run.flush(),
    lambda: mltrack.log_metric("last", 9.0),
    lambda: mltrack.end_run(),
]
for number, step in enumerate(STEPS):
    if number == when:
        confine()
    step()
print("training done")
"""
DONE_BEFORE = {"first": 1, "loss": 12_000, "x": 1, "y": 1, "series": 5_000, "plain": 1, "last": 1}
STEP_OF = {"first": 0, "loss": 3, "x": 4, "y": 4, "series": 5, "plain": 6, "last": 13}


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that any user may use."""
    folder = Path(tempfile.mkdtemp(prefix="mltrack-limits-"))
    folder.chmod(0o777)
    (folder / "file.bin").write_bytes(b"x" * 100_000)
    for name in ("folder", "watched"):
        (folder / name).mkdir()
        (folder / name / "inside.txt").write_text("inside")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("when", [0, 1, 3, 5, 6, 8, 11, 14])
@pytest.mark.parametrize("limit", ["descriptors", "threads", "8", "64"])
def test_whatever_runs_out_no_call_raises_and_what_was_stored_before_is_whole(
    shared_folder: Path, limit: str, when: int
) -> None:
    if limit == "threads" and (os.geteuid() or shutil.which("setpriv") is None):
        pytest.skip("only root can become a user with no other process")
    assert "training done" in run_python(LIFE, shared_folder, limit, when)
    run = next(iter(mltrack.Store.open(shared_folder / "s").runs()))
    assert run.info.run_name == "confined"
    for key, count in DONE_BEFORE.items():
        if STEP_OF[key] < when:
            assert run.metrics(key).num_rows == count
    if when > 1:
        assert run.params == {"a": "1", "b": "2"}
    if when > 7:
        assert run.artifact_path("notes/a.txt").read_text() == "some text"
    if limit != "descriptors":  # these take what the disk has, whatever memory and threads there are
        assert run.info.status == "FINISHED"
        assert run.metrics("last").num_rows == 1
