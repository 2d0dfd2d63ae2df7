"""The archive of aim's repository is what aim writes: written again and compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from mltrack.importers.compare import compare_source
from mltrack.importers.engine import import_source
from mltrack.store import Store
from tests.support.aim_sources import NEWEST, WRITER, read_by_aim, unpack
from tests.support.peers import write_again

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]


def test_written_again_the_repository_holds_the_same_and_is_imported_whole(tmp_path: Path) -> None:
    again = write_again(tmp_path, WRITER, (NEWEST.replace("-", "=="), "numpy", "pillow"))
    (tmp_path / "kept").mkdir()
    unpack(tmp_path / "kept")
    assert without_system_metrics(again) == without_system_metrics(tmp_path / "kept")
    store = Store.create(tmp_path / "store")
    report = import_source(store, again / ".aim")
    assert (report.runs, report.values, report.problems) == (3, 6, ())
    assert compare_source(store, again / ".aim").same


def without_system_metrics(folder: Path) -> dict[str, dict[str, list[tuple[int, str]]]]:
    return {
        run: {name: rows for name, rows in metrics.items() if "__system__" not in name}
        for run, metrics in read_by_aim(folder).items()
    }
