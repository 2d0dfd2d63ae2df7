"""A file system that goes down under a run: training goes on to its end, at whatever step that comes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import mltrack
from tests.support.disks import Disk, loop_disk
from tests.support.life import LIFE
from tests.support.recording import run_python

KINDS = [("xfs", "rw"), ("ext4", "rw"), ("ext4", "nodelalloc"), ("ext4", "data=journal"), ("ext4", "data=writeback")]


ALWAYS = KINDS[:2]
"""Those that every run of the tests tries; the options of the other ones are seldom given."""


@pytest.fixture(
    params=[pytest.param(kind, marks=[] if kind in ALWAYS else pytest.mark.slow, id=" ".join(kind)) for kind in KINDS]
)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    kind, options = request.param
    with loop_disk(tmp_path, kind, options) as disk:
        (disk.path / "file.bin").write_bytes(b"x" * 100_000)
        for name in ("folder", "watched"):
            (disk.path / name).mkdir()
            (disk.path / name / "inside.txt").write_text("inside")
        yield disk


@pytest.mark.slow
@pytest.mark.parametrize("when", [0, 5, 12, *(pytest.param(when, marks=pytest.mark.slow) for when in (3, 8, 17))])
def test_a_lost_mount_stops_no_training(disk: Disk, when: int) -> None:
    assert "training done" in run_python(LIFE, disk.path, "disk", when)


FAST = """
import fcntl, os, struct, sys, threading, time
import mltrack
mltrack.set_store(sys.argv[1] + "/s")
run = mltrack.start_run()
down = threading.Event()
def shut_down():
    fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack("I", 2))
    down.set()
run.log_metric("loss", 0.0, step=0)
run.flush()
threading.Timer(0.3, shut_down).start()
count, further = 1, 0
while further < 200_000:  # more than fits into the files that are there
    run.log_metric("loss", 0.5, step=count)
    count += 1
    further += down.is_set()
    if count % 500 == 0:
        time.sleep(0.001)
run.end()
print(count, run.lost)
"""


@pytest.mark.slow
def test_a_mount_lost_between_two_points_stops_no_training(disk: Disk) -> None:
    count, lost = map(int, run_python(FAST, disk.path).split())
    assert 0 < lost < count
    disk.remount()
    run = next(iter(mltrack.Store.open(disk.path / "s").runs()))
    assert 1 <= run.metrics("loss").num_rows <= count - lost
    assert run.info.status == "FAILED"
