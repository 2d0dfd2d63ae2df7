"""The sessions are what ClearML writes: written again and compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from mltrack.importers.clearml.importer import ClearmlImporter
from mltrack.importers.compare import compare_source
from mltrack.importers.engine import import_source
from mltrack.importers.findings import Findings
from mltrack.store import Store
from tests.support.clearml_sources import WRITER, unpack
from tests.support.peers import write_again
from tests.support.source_reading import points_of

PACKAGES = ("clearml==2.1.12", "numpy", "pandas", "pillow")

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]


def test_written_again_the_sessions_hold_the_same_and_are_imported_whole(tmp_path: Path) -> None:
    again = write_again(tmp_path, WRITER, PACKAGES)
    assert without_times(again / "sessions") == without_times(unpack(tmp_path))
    store = Store.create(tmp_path / "store")
    report = import_source(store, again / "sessions")
    assert (report.problems, report.runs, report.values) == ((), 2, 1)
    assert compare_source(store, again / "sessions").same


def without_times(source: Path) -> dict[str, dict[str, list[tuple[int, float]]]]:
    return {
        run.name: {key: [(step, value) for step, _, value in rows] for key, rows in points_of(run).items()}
        for run in ClearmlImporter().open(source, Findings()).runs()
    }
