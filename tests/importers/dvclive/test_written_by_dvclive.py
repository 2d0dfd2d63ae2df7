"""The archive of DVCLive's folder is what DVCLive writes: written again and compared."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

import pytest

from mltrack.importers.compare import compare_source
from mltrack.importers.engine import import_source
from mltrack.store import Store
from tests.support.dvclive_sources import WRITER, unpack

PACKAGES = ("dvclive==3.49.1", "numpy", "pillow")

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]


def test_written_again_the_folder_holds_the_same_and_is_imported_whole(tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
    again = tmp_path / "again"
    again.mkdir()
    subprocess.run([python, WRITER], cwd=again, check=True)
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
