"""DVCLive's folder ``dvclive`` as a source, or a folder with some below."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.importers.dvclive.folders import METRICS, live_folders
from mltrack.importers.source import SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.importers.findings import Findings
    from mltrack.importers.source import Source

__all__ = ["DvcliveImporter"]


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
        findings.reads(path)
        return DvcliveSource(path, folders, findings)
