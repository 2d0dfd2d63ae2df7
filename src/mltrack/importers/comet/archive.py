"""One archive: a ZIP file with the experiment's head, a file of messages, and files under random names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mltrack.importers.json_fields import parse_json
from mltrack.importers.source import SourceError
from mltrack.importers.zip_members import ZipMembers, lines_of, names_in_zip, read_small

__all__ = ["Archive", "archive_paths"]

HEAD, MESSAGES = "experiment.json", "messages.json"
LOOKED_AT_MAX = 1_000
HEAD_BYTES_MAX = 1 << 20


def archive_paths(path: Path) -> Iterator[Path]:
    """The archives of a source, in order: itself, or those in a folder."""
    if path.is_file():
        candidates = [path]
    else:
        candidates = [child for child in sorted(path.glob("*.zip"))[:LOOKED_AT_MAX] if child.is_file()]
    yield from (each for each in candidates if names_in_zip(each) >= {HEAD, MESSAGES})


class Archive(ZipMembers):
    """It. Nothing is unpacked to disk, so names in it lead nowhere."""

    def __init__(self, path: Path, where: str) -> None:
        """Read its head.

        Raises:
            SourceError: it has none.
        """
        super().__init__(path)
        self.where = where
        try:
            head = parse_json(self.read(HEAD, HEAD_BYTES_MAX))
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{HEAD} is not JSON: {error}") from error
        finally:
            self.release()
        if not isinstance(head, dict):
            raise SourceError(f"{HEAD} is not an object")
        self.head: dict[str, Any] = head

    def read(self, name: str, most: int) -> bytes:
        """A small member.

        Raises:
            SourceError: it is not there, damaged, or has more than ``most`` bytes.
        """
        return read_small(self, name, most)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """The messages, numbered from 1; one that is too long is empty.

        Raises:
            SourceError: they can't be read further.
        """
        return lines_of(self, MESSAGES)
