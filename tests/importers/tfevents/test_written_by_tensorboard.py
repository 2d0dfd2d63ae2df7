"""The archive of event files is what the real programs write: written again and compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mltrack.importers.compare import compare_source
from mltrack.importers.engine import import_source
from mltrack.store import Store
from tests.support.event_sources import WRITER, unpack
from tests.support.peers import write_again

PACKAGES = ("tensorboard==2.21.0", "tensorboardX==2.6.5", "torch==2.13.0")

pytestmark = [pytest.mark.peers, pytest.mark.timeout(1_800)]


def test_written_again_the_files_hold_the_same_and_are_imported_whole(tmp_path: Path) -> None:
    written = write_again(tmp_path, WRITER, PACKAGES, "runs")
    (tmp_path / "kept").mkdir()
    unpack(tmp_path / "kept")
    again, kept = (json.loads((tmp_path / side / "read.json").read_text()) for side in ("again", "kept"))
    assert {
        run: {tag: [event[1:] for event in events] for tag, events in tags.items()} for run, tags in again.items()
    } == {run: {tag: [event[1:] for event in events] for tag, events in tags.items()} for run, tags in kept.items()}
    store = Store.create(tmp_path / "store")
    report = import_source(store, written / "runs")
    assert (report.problems, report.points, report.values) == ((), 1409, 30)
    assert compare_source(store, written / "runs").same
