"""The archive of trackio's folder is what trackio writes: written again and compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from mltrack.importers.compare import compare_source
from mltrack.importers.engine import import_source
from mltrack.store import Store
from tests.support.peers import write_again
from tests.support.trackio_sources import NEWEST, WRITER, read_by_trackio, unpack

PACKAGES = (NEWEST.replace("-", "=="), "pyarrow", "pandas", "pillow")

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]


def test_written_again_the_folder_holds_the_same_and_is_imported_whole(tmp_path: Path) -> None:
    again = write_again(tmp_path, WRITER, PACKAGES, "sqlite", "jsonl", "read")
    (tmp_path / "kept").mkdir()
    unpack(tmp_path / "kept")
    assert without_times(again) == without_times(tmp_path / "kept")
    store = Store.create(tmp_path / "store")
    report = import_source(store, again / "trackio")
    assert (report.problems, report.runs, report.points, report.values) == ((), 4, 581, 5)
    assert compare_source(store, again / "trackio").same


def without_times(folder: Path) -> dict[str, dict[str, list[tuple[int, str]]]]:
    return {
        run: {key: sorted((step, value) for step, _, value in rows) for key, rows in metrics.items()}
        for run, metrics in read_by_trackio(folder).items()
    }
