"""aim's repositories, which are recognized and not read: RocksDB, which only aim's own library reads, and writes to."""

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
    """It."""

    name = "aim"
    title = "aim's repository"

    def recognizes(self, path: Path) -> bool:
        """Whether it is a folder ``.aim``, or one with it."""
        folder = path if path.name == FOLDER else path / FOLDER
        return (folder / "meta").is_dir() and (folder / "seqs").is_dir()

    def open(self, path: Path, findings: Findings) -> Source:
        """Refuse it, with how its points come.

        Raises:
            SourceError: always.
        """
        raise SourceError(
            "only aim itself reads its database, and changes it when it does",
            hint='let aim write its points as JSON lines by the script under "aim" in docs/import.md, '
            "then: mltrack import aim.jsonl --from csv",
        )
