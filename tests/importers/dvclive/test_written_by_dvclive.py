"""The archive of DVCLive's folder is what DVCLive writes: written again and compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from mltrack.importers.compare import compare_source
from mltrack.importers.engine import import_source
from mltrack.store import Store
from tests.support.dvclive_sources import WRITER, unpack
from tests.support.peers import write_again

PACKAGES = ("dvclive==3.49.1", "numpy", "pillow")

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]


def test_written_again_the_folder_holds_the_same_and_is_imported_whole(tmp_path: Path) -> None:
    again = write_again(tmp_path, WRITER, PACKAGES)
    (tmp_path / "kept").mkdir()
    kept = unpack(tmp_path / "kept")
    for path in sorted(kept.rglob("*.tsv")):
        written = again / "dvclive" / path.relative_to(kept)
        assert without_times(written) == without_times(path)
    store = Store.create(tmp_path / "store")
    assert import_source(store, again / "dvclive").points == 214
    assert compare_source(store, again / "dvclive").same


def without_times(path: Path) -> list[list[str]]:
    return [line.split("\t")[-2:] for line in path.read_text().splitlines()]
