"""The archive of SwanLab's folder is what SwanLab writes: written again and compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from mltrack.importers.compare import compare_source
from mltrack.importers.engine import import_source
from mltrack.store import Store
from tests.support.peers import write_again
from tests.support.swanlab_sources import NEWEST, OLDER, WRITER, read_by_swanlab, unpack

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]


@pytest.mark.parametrize("version", [NEWEST, OLDER])
def test_written_again_the_folder_holds_the_same_and_is_imported_whole(version: str, tmp_path: Path) -> None:
    packages = (version.replace("-", "=="), "numpy", "pillow", "soundfile")
    again = write_again(tmp_path, WRITER, packages)
    (tmp_path / "kept").mkdir()
    unpack(tmp_path / "kept", version)
    assert without_times(again) == without_times(tmp_path / "kept")
    store = Store.create(tmp_path / "store")
    report = import_source(store, again / "swanlog")
    assert (report.runs, report.values) == (3, 3)
    assert compare_source(store, again / "swanlog").same


def without_times(folder: Path) -> dict[str, dict[str, list[tuple[int, str]]]]:
    """Without the run that was killed, whose end is where it was cut, and without system metrics."""
    return {
        run: {
            key: [(step, value) for step, _, value in rows]
            for key, rows in metrics.items()
            if not key.startswith("__swanlab__")
        }
        for run, metrics in read_by_swanlab(folder).items()
        if run != "killed"
    }
