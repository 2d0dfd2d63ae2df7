"""aim's repositories as a source: a folder ``.aim``, or the one that it is in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.importers.source import SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.importers.findings import Findings
    from mltrack.importers.source import Source

__all__ = ["AimImporter"]

FOLDER = ".aim"


class AimImporter:
    """Repositories that aim 3 wrote."""

    name = "aim"
    title = "aim's repository"

    def recognizes(self, path: Path) -> bool:
        """Whether it is a folder ``.aim``, or one with it."""
        folder = _folder_of(path)
        return (folder / "meta").is_dir() and (folder / "seqs").is_dir()

    def open(self, path: Path, findings: Findings) -> Source:
        """Open it.

        Raises:
            SourceError: it is not one.
            MissingPackageError: the library that reads its databases is not installed.
        """
        from mltrack.extras import need

        if not self.recognizes(path):
            raise SourceError("it has no folder .aim with meta and seqs in it")
        need("rocksdict", "reading aim's repositories")

        from mltrack.importers.aim.aim_source import AimSource

        findings.reads(path)
        return AimSource(_folder_of(path), findings)


def _folder_of(path: Path) -> Path:
    return path if path.name == FOLDER else path / FOLDER
