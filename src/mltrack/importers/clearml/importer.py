"""ClearML's offline sessions as a source: one, as a ZIP file or a folder, or a folder with some."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.importers.clearml.sessions import session_paths
from mltrack.importers.source import SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.importers.findings import Findings
    from mltrack.importers.source import Source

__all__ = ["ClearmlImporter"]


class ClearmlImporter:
    """Sessions that ClearML wrote after ``Task.set_offline(True)``."""

    name = "clearml"
    title = "ClearML's offline sessions"

    def recognizes(self, path: Path) -> bool:
        """Whether it is one, or a folder with one in it."""
        return next(session_paths(path), None) is not None

    def open(self, path: Path, findings: Findings) -> Source:
        """Open it.

        Raises:
            SourceError: there is none.
        """
        from mltrack.importers.clearml.clearml_source import ClearmlSource

        paths = list(session_paths(path))
        if not paths:
            raise SourceError("no folder and no ZIP file in it has a task.json with metrics.jsonl or log.jsonl")
        return ClearmlSource(path, paths, findings)
