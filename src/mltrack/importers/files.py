"""The files of a run or a logged model that the store lacks, copied whole and hashed on the way."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING

from mltrack.disk.artifact_files import new_name
from mltrack.disk.incoming_file import IncomingFile
from mltrack.errors import InvalidPathError, StoreError
from mltrack.importers.source import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mltrack.disk.artifact_files import Stored
    from mltrack.importers.session import Session
    from mltrack.importers.source import SourceFile

__all__ = ["FileImport", "digest_of", "pieces_of"]

PIECE_BYTES = 1 << 20

Known = Callable[[str], tuple[int, str] | None]
"""Gives size and SHA-256 of a file of that name that the store has; an empty SHA-256: it is not to be changed."""


def pieces_of(file: SourceFile) -> Iterator[bytes]:
    """The content of a file of the source.

    Raises:
        SourceError: it can't be read.
    """
    try:
        stream: IO[bytes] = file.open()
        with stream:
            while piece := stream.read(PIECE_BYTES):
                yield piece
    except OSError as error:
        raise SourceError(f"file {file.path[:200]!r} can't be read: {error.strerror or error}") from error


def digest_of(file: SourceFile) -> str:
    """The SHA-256 of a file of the source, in hex.

    Raises:
        SourceError: it can't be read.
    """
    digest = hashlib.sha256()
    for piece in pieces_of(file):
        digest.update(piece)
    return digest.hexdigest()


class FileImport:
    """Brings the files of one thing."""

    def __init__(self, session: Session, where: str) -> None:
        """``where`` names the thing in messages."""
        self._session = session
        self._where = where

    def bring(
        self, files: Iterable[SourceFile], root: Path, known: Known, note: Callable[[Stored], None]
    ) -> Iterator[str]:
        """Bring those that are new or have other bytes; yields the name of each before it is written.

        Args:
            files: The source's.
            root: The folder that they go to.
            known: What the store has.
            note: Notes a file that has its name.

        Raises:
            StoreError: one can't be stored.
        """
        for file in files:
            with self._session.naming(self._where):
                if not self._is_new(file, known):
                    continue
                yield file.path
                if self._session.options.dry_run:
                    size = file.size
                else:
                    size = self._copy(file, root, note)
                self._session.counts["artifacts"] += 1
                self._session.counts["artifact_bytes"] += size

    def _is_new(self, file: SourceFile, known: Known) -> bool:
        name = new_name(file.path)
        have = known(name)
        if not self._session.options.artifacts:
            self._session.counts["skipped_artifacts"] += have is None
            return False
        if have is None:
            return True
        size, sha256 = have
        return bool(sha256) and (size != file.size or sha256 != digest_of(file))

    def _copy(self, file: SourceFile, root: Path, note: Callable[[Stored], None]) -> int:
        try:
            with contextlib.closing(IncomingFile(root, file.path)) as incoming:
                take = incoming.begin()
                for piece in pieces_of(file):
                    take(piece)
                incoming.publish(note)
                return incoming.size
        except InvalidPathError:
            raise
        except OSError as error:
            raise StoreError(
                f"file {file.path[:200]!r} can't be stored in {root}: {error.strerror or error}",
                hint="make room or fix its permissions; what is missing comes with the next import",
            ) from error
