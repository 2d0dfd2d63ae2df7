"""Where the files of a run or a model are: at the place that MLflow noted, or next to it where folders were moved.

MLflow notes absolute URIs, of the machine and the time when a run was made. So the folder that comes with the source is
looked at first, and the noted one only where that is a folder of this machine that belongs to the source: lies in it,
or in one of the folders next to it that MLflow makes. Anybody can write any address into a database.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from mltrack.importers.listing import list_files

if TYPE_CHECKING:
    from mltrack.importers.findings import Findings
    from mltrack.importers.source import SourceFile

__all__ = ["SERVED_FOLDERS", "Artifacts", "local_place"]

SERVED = "mlflow-artifacts"
"""The scheme of files that a tracking server keeps in a folder of its own."""

SERVED_FOLDERS = ("mlartifacts", "mlruns", "artifacts")
"""What that folder, or that of a server's artifacts, is called by default, next to the database or ``mlruns``."""


def local_place(uri: str) -> Path | None:
    """The path of a URI of a local folder; None for any other."""
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    return Path(uri) if not parts.scheme and uri else None


class Artifacts:
    """Finds files. ``root`` is the folder that the source is, or lies in."""

    def __init__(self, root: Path, findings: Findings) -> None:
        self._root = root
        self._findings = findings

    def files(self, where: str, uri: str, nearby: Sequence[Path] = ()) -> Iterator[SourceFile]:
        """The files of one thing.

        Args:
            where: The thing, for messages.
            uri: Where MLflow says that they are.
            nearby: Folders that may be that place, moved; the first that exists is taken.
        """
        folder = self.folder(uri, nearby)
        if folder is not None:
            yield from self._below(folder, where)
        elif urlsplit(uri).scheme not in ("", "file", SERVED):
            self._findings.left_out(f"the files of {where}: they are at {_shown(uri)}, not on this machine")

    def folder(self, uri: str, nearby: Sequence[Path] = ()) -> Path | None:
        """The folder where they are; None where it is not on this machine, or does not exist."""
        noted = local_place(uri)
        places: list[Path] = [*nearby, *self._served(uri)]
        if noted is not None:
            places.append(self._root / noted)  # an absolute one stays as it is
        for place in places:
            if place.is_dir() and not self._findings.is_outside(place) and any(place.iterdir()):
                return place
        return None if noted is None else self._moved(noted)

    def _served(self, uri: str) -> Iterator[Path]:
        parts = urlsplit(uri)
        if parts.scheme == SERVED:
            folders = [folder / name for folder in (self._root, self._root.parent) for name in SERVED_FOLDERS]
            for folder in (*folders, *self._findings.named):
                yield folder.absolute() / unquote(parts.path).lstrip("/")

    def _moved(self, noted: Path) -> Path | None:
        """The folder below the root, or one that was named, that has the end of a noted path, the longest such end."""
        names = [name for name in noted.parts if name not in ("/", "..", ".")]
        for first in range(len(names) - 1):
            for root in (self._root, *self._findings.named):
                place = root.joinpath(*names[first:])
                if place.is_dir() and not self._findings.is_outside(place):
                    return place
        return None

    def _below(self, folder: Path, where: str) -> Iterator[SourceFile]:
        return list_files(
            folder,
            lambda words: self._findings.problem(where, words),
            lambda name: self._findings.left_out(f"{where}: {name}, a link that leads elsewhere"),
        )


def _shown(uri: str) -> str:
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
