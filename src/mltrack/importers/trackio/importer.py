"""trackio's folder as a source, or one project of it: a database, Parquet files, or the inbox of JSON lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.importers.source import SourceError
from mltrack.importers.trackio.projects import projects_of

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.importers.findings import Findings
    from mltrack.importers.source import Source

__all__ = ["TrackioImporter"]


class TrackioImporter:
    """What trackio wrote: ``~/.cache/huggingface/trackio``, or what ``TRACKIO_DIR`` named."""

    name = "trackio"
    title = "trackio's folder, or a database of it"

    def recognizes(self, path: Path) -> bool:
        """Whether it is a project, or a folder with some."""
        return any(not project.damaged for project in projects_of(path, quick=True))

    def open(self, path: Path, findings: Findings) -> Source:
        """Open it.

        Raises:
            SourceError: it has no project.
        """
        from mltrack.importers.trackio.trackio_source import TrackioSource

        projects = projects_of(path)
        if not projects:
            raise SourceError("no database, Parquet file or inbox of trackio's is in it")
        findings.reads(path, {project.folder for project in projects})
        return TrackioSource(path, projects, findings)
