"""The archive of wandb's folders is what wandb writes: written again and compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mltrack.importers.compare import compare_source
from mltrack.importers.engine import import_source
from mltrack.store import Store
from tests.support.peers import write_again
from tests.support.wandb_sources import WRITER, unpack

PACKAGES = ("wandb==0.31.0", "numpy", "pillow")

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]


def test_written_again_the_folders_hold_the_same_and_are_imported_whole(tmp_path: Path) -> None:
    again = write_again(tmp_path, WRITER, PACKAGES)
    (tmp_path / "kept").mkdir()
    unpack(tmp_path / "kept")
    written, kept = (json.loads((tmp_path / side / "read.json").read_text()) for side in ("again", "kept"))
    assert logged(written) == logged(kept)
    store = Store.create(tmp_path / "store")
    report = import_source(store, again / "wandb")
    assert (report.problems, report.runs, report.values) == ((), 2, 4)
    assert compare_source(store, again / "wandb").same


def logged(read: dict[str, dict[str, list[list[object]]]]) -> dict[str, dict[str, list[tuple[object, object]]]]:
    """Steps and values without times, by rising step; the names of folders and some files have times."""
    return {
        run: {
            key: sorted((row[0], row[2]) for row in rows)
            for key, rows in metrics.items()
            if not key.startswith("table.")
        }
        for run, metrics in read.items()
    }
