"""SwanLab's folders as a source: ``swanlog`` with its ``run-*``, one of these, or a ``.swanlab`` file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.importers.source import SourceError
from mltrack.importers.swanlab.folders import log_paths

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.importers.findings import Findings
    from mltrack.importers.source import Source

__all__ = ["SwanlabImporter"]


class SwanlabImporter:
    """Folders that SwanLab wrote, offline, local or online."""

    name = "swanlab"
    title = "SwanLab's folder swanlog"

    def recognizes(self, path: Path) -> bool:
        """Whether it is such a file, or a folder with some below."""
        return next(log_paths(path), None) is not None

    def open(self, path: Path, findings: Findings) -> Source:
        """Open it.

        Raises:
            SourceError: it has no such files.
        """
        from mltrack.importers.swanlab.swanlab_source import SwanlabSource

        if not self.recognizes(path):
            raise SourceError("no file in it is a log of SwanLab's, such as run-*/run-*.swanlab")
        findings.reads(path, with_folder=True)
        return SwanlabSource(path, findings)
