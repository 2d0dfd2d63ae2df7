"""Comet's archives as a source: one, or a folder with some."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.importers.comet.archive import archive_paths
from mltrack.importers.source import SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.importers.findings import Findings
    from mltrack.importers.source import Source

__all__ = ["CometImporter"]


class CometImporter:
    """Archives that Comet's ``OfflineExperiment`` wrote."""

    name = "comet"
    title = "Comet's archives of offline experiments"

    def recognizes(self, path: Path) -> bool:
        """Whether it is one, or a folder with one in it."""
        return next(archive_paths(path), None) is not None

    def open(self, path: Path, findings: Findings) -> Source:
        """Open it.

        Raises:
            SourceError: there is none.
        """
        from mltrack.importers.comet.comet_source import CometSource

        paths = list(archive_paths(path))
        if not paths:
            raise SourceError("no ZIP file in it has the experiment.json and messages.json of Comet's")
        return CometSource(path, paths, findings)
