"""What a run could not store is said once each, and in all at the end."""

from __future__ import annotations

import errno
import os

import pytest

from mltrack.journal.losses import NAMED_MAX, Losses

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_each_lost_artifact_is_named_and_all_are_counted_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    losses = Losses()
    for name in ("model.bin", "plot.png", "model.bin"):
        losses.add_artifact("r1", name, FULL)
    losses.report("r1", 3, 1)
    assert [record.getMessage() for record in caplog.records] == [
        "run r1: the artifact 'model.bin' was not stored: No space left on device",
        "run r1: the artifact 'plot.png' was not stored: No space left on device",
        "run r1 lost: 3 points, 2 artifacts ('model.bin', 'plot.png'), 1 other event",
    ]


def test_of_thousands_of_lost_artifacts_only_some_are_named(caplog: pytest.LogCaptureFixture) -> None:
    losses = Losses()
    for number in range(1000):
        losses.add_artifact("r1", f"{number}.bin", FULL)
    losses.report("r1", 0, 0)
    *named, last = [record.getMessage() for record in caplog.records]
    assert len(named) == NAMED_MAX
    assert last.startswith("run r1 lost: 1,000 artifacts ('0.bin', ")
    assert last.endswith(" and 990 more)")


def test_a_failing_disk_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    losses = Losses()
    losses.say_once("r1", "/data/.mltrack", FULL)
    losses.say_once("r1", "/data/.mltrack", FULL)
    losses.report("r1", 0, 0)
    (record,) = caplog.records
    assert "No space left on device (/data/.mltrack); training goes on" in record.getMessage()
