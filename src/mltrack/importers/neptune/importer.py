"""What ``neptune-exporter`` wrote as a source: Parquet files of runs, and the files that they name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.importers.neptune.exports import find_export
from mltrack.importers.source import SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.importers.findings import Findings
    from mltrack.importers.source import Source

__all__ = ["NeptuneImporter"]


class NeptuneImporter:
    """The folder ``exports``, ``exports/data``, or one project in it."""

    name = "neptune"
    title = "an export of neptune-exporter's"

    def recognizes(self, path: Path) -> bool:
        """Whether it is one, by the names of its files."""
        return find_export(path) is not None

    def open(self, path: Path, findings: Findings) -> Source:
        """Open it.

        Raises:
            SourceError: it is not one.
        """
        from mltrack.importers.neptune.neptune_source import NeptuneSource

        export = find_export(path)
        if export is None:
            raise SourceError("no file in it has a name like RUN_part_0.parquet")
        findings.reads(path, [export.files])
        return NeptuneSource(export, findings)
