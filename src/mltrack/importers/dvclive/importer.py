"""DVCLive's folder ``dvclive`` as a source, or a folder with some below."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mltrack.importers.source import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mltrack.importers.findings import Findings
    from mltrack.importers.source import Source

__all__ = ["METRICS", "DvcliveImporter"]

METRICS = "plots/metrics"
DEPTH_MAX = 5


class DvcliveImporter:
    """Folders that DVCLive wrote."""

    name = "dvclive"
    title = "DVCLive's folder"

    def recognizes(self, path: Path) -> bool:
        """Whether it is one, or has one below."""
        return next(live_folders(path), None) is not None

    def open(self, path: Path, findings: Findings) -> Source:
        """Open it.

        Raises:
            SourceError: there is none.
        """
        from mltrack.importers.dvclive.dvclive_source import DvcliveSource

        folders = list(live_folders(path))
        if not folders:
            raise SourceError(f"no folder in it has {METRICS} with files of DVCLive's")
        return DvcliveSource(path, folders, findings)


def live_folders(path: Path) -> Iterator[Path]:
    """DVCLive's folders, in order."""
    if not path.is_dir():
        return
    for here, folders, _ in os.walk(path):
        place = type(path)(here)
        if any((place / METRICS).rglob("*.tsv")):
            folders.clear()
            yield place
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        if len(place.relative_to(path).parts) >= DEPTH_MAX:
            folders.clear()
