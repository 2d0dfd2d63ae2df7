"""The archives are what Comet writes: written again and compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from mltrack.importers.comet.importer import CometImporter
from mltrack.importers.compare import compare_source
from mltrack.importers.engine import import_source
from mltrack.importers.findings import Findings
from mltrack.store import Store
from tests.support.comet_sources import WRITER, unpack
from tests.support.peers import write_again
from tests.support.source_reading import points_of

PACKAGES = ("comet_ml==3.58.8", "numpy", "pillow", "matplotlib")

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]


def test_written_again_the_archives_hold_the_same_and_are_imported_whole(tmp_path: Path) -> None:
    again = write_again(tmp_path, WRITER, PACKAGES)
    assert without_times(again / "archives") == without_times(unpack(tmp_path))
    store = Store.create(tmp_path / "store")
    report = import_source(store, again / "archives")
    assert (report.problems, report.runs, report.values) == ((), 2, 2)
    assert compare_source(store, again / "archives").same


def without_times(source: Path) -> dict[str, dict[str, list[tuple[int, str]]]]:
    return {
        run.source_id: {
            key: [(step, repr(value)) for step, _, value in rows]
            for key, rows in points_of(run).items()
            if not key.startswith("system/") and key != "process duration"
        }
        for run in CometImporter().open(source, Findings()).runs()
    }
