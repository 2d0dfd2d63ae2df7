"""TensorBoard's event files as a source: a folder of them is a run, and so is each folder below that has some."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.importers.source import SourceError
from mltrack.importers.tfevents.folders import run_folders

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.importers.findings import Findings
    from mltrack.importers.source import Source

__all__ = ["EventsImporter"]


class EventsImporter:
    """Files of TensorBoard, torch.utils.tensorboard, TensorFlow and tensorboardX."""

    name = "tfevents"
    title = "TensorBoard's event files"

    def recognizes(self, path: Path) -> bool:
        """Whether it is such a file, or a folder with some below."""
        return next(run_folders(path), None) is not None

    def open(self, path: Path, findings: Findings) -> Source:
        """Open it.

        Raises:
            SourceError: it has no event files.
        """
        from mltrack.importers.tfevents.event_source import EventSource

        if not self.recognizes(path):
            raise SourceError("no file in it has a name like events.out.tfevents.*")
        findings.reads(path, with_folder=True)
        return EventSource(path, findings)
