"""The note of the batch that is being committed: on the disk before the first commit, removed when the ledger has it.

It names the files that are already in the lake, so whoever finds it commits these very files, and not others with the
same number: an earlier attempt that arrives late does no harm. It also has the ledger's lines.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import LOCAL, FileSystem, read_small
from mltrack.disk.sync_line_types import LEDGER
from mltrack_sync.errors import LedgerError
from mltrack_sync.lake.layout import TABLES
from mltrack_sync.lake.staging import StagedFile
from mltrack_sync.lake.tables import TableBatch

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BatchNote", "NoteFile"]

NOTE_BYTES_MAX = 1 << 30
_PATH = re.compile(r"(?:month=[0-9-]{7}/shard=[0-9a-f]/)?part-[0-9a-f]{32}\.parquet")


@dataclass(frozen=True, slots=True)
class BatchNote:
    """A batch: to which lake, what it adds to which tables, and what the ledger says once it is there."""

    url: str
    store_id: str
    nonce: str
    tables: tuple[TableBatch, ...]
    lines: tuple[dict[str, Any], ...]


class NoteFile:
    """The file of the note, in the folder of the remote's ledger."""

    def __init__(self, folder: Path, *, fs: FileSystem = LOCAL) -> None:
        """Nothing is read yet."""
        self._path = folder / "batch.json"
        self._fs = fs

    def write(self, note: BatchNote) -> None:
        """Write the note; on return it survives power loss.

        Raises:
            LedgerError: it can't be written.
        """
        data = json.dumps(asdict(note), separators=(",", ":")).encode()
        try:
            self._fs.publish_bytes(self._path, data)
        except OSError as error:
            raise LedgerError(
                f"{self._path} can't be written: {error.strerror}", hint="make room, then sync again"
            ) from error

    def exists(self) -> bool:
        """Whether there is one."""
        return self._path.exists()

    def read(self) -> BatchNote | None:
        """The note; None where there is none.

        Raises:
            LedgerError: it can't be read, or is not one.
        """
        try:
            return _parse(json.loads(read_small(self._path, NOTE_BYTES_MAX)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise LedgerError(
                f"{self._path} can't be read: {error}",
                hint="remove it together with ledger.jsonl next to it: the next sync reads the lake instead",
            ) from error

    def remove(self) -> None:
        """Remove the note, after the ledger has its lines.

        Raises:
            LedgerError: it can't be removed.
        """
        try:
            self._fs.unlink(self._path)
        except OSError as error:
            raise LedgerError(
                f"{self._path} can't be removed: {error.strerror}", hint="check its permissions"
            ) from error


def _parse(fields: dict[str, Any]) -> BatchNote:
    tables = tuple(_batch(each) for each in fields["tables"])
    for line in fields["lines"]:
        fault = LEDGER.fault(line)
        if fault is not None:
            raise ValueError(f"a line that {fault}")
    return BatchNote(
        _str(fields["url"]), _str(fields["store_id"]), _str(fields["nonce"]), tables, tuple(fields["lines"])
    )


def _batch(fields: dict[str, Any]) -> TableBatch:
    files = tuple(StagedFile(**each) for each in fields["files"])
    table, number = fields["table"], fields["number"]
    if table not in TABLES or type(number) is not int or number < 1:
        raise ValueError("an unknown table")
    for file in files:
        if file.table != table or _PATH.fullmatch(_str(file.path)) is None or type(file.size) is not int:
            raise ValueError("a file that is not one of a table")
    return TableBatch(table, number, files)


def _str(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"{value!r:.40} is not text")
    return value
