"""wandb's folders as a source: ``wandb`` with its ``offline-run-*``, one of these, or a ``.wandb`` file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.importers.source import SourceError
from mltrack.importers.wandb.folders import log_paths

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.importers.findings import Findings
    from mltrack.importers.source import Source

__all__ = ["WandbImporter"]


class WandbImporter:
    """Folders that wandb wrote, offline or online."""

    name = "wandb"
    title = "wandb's folders of offline runs"

    def recognizes(self, path: Path) -> bool:
        """Whether it is such a file, or a folder with some below."""
        return next(log_paths(path), None) is not None

    def open(self, path: Path, findings: Findings) -> Source:
        """Open it.

        Raises:
            SourceError: it has no such files.
        """
        from mltrack.importers.wandb.wandb_source import WandbSource

        if not self.recognizes(path):
            raise SourceError("no file in it has a name like run-*.wandb")
        findings.reads(path, with_folder=True)
        return WandbSource(path, findings)
