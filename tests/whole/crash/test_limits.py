"""Real limits on memory, descriptors and threads, set at each step of a run's life: no call raises, the end comes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import mltrack
from tests.support.life import LIFE, POINTS_OF, STEP_OF
from tests.support.recording import run_python


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


ALWAYS = (3, 12)
"""Steps that every run of the tests tries; each takes a process for each limit."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "when",
    [pytest.param(when, marks=[] if when in ALWAYS else pytest.mark.slow) for when in (0, 1, 3, 5, 6, 8, 11, 12, 17)],
)
@pytest.mark.parametrize("limit", ["descriptors", "threads", "8", "64"])
def test_when_any_resource_runs_out_no_call_raises_and_stored_data_stays_whole(
    shared_folder: Path, limit: str, when: int
) -> None:
    if limit == "threads" and (os.geteuid() or shutil.which("setpriv") is None):
        pytest.skip("only root can become a user with no other process")
    assert "training done" in run_python(LIFE, shared_folder, limit, when)
    run = next(iter(mltrack.Store.open(shared_folder / "s").runs()))
    assert run.info.run_name == "confined"
    for key, count in POINTS_OF.items():
        if STEP_OF[key] < when:
            assert run.metrics(key).num_rows == count
    if when > 1:
        assert run.params == {"a": "1", "b": "2"}
    if when > 7:
        assert run.artifact_path("notes/a.txt").read_text() == "some text"
    if limit != "descriptors":  # these take what the disk has, whatever memory and threads there are
        assert run.info.status == "FINISHED"
        assert run.metrics("last").num_rows == 1
