"""Batches of rows: noted, committed to their tables in order, acknowledged in the ledger; and resumed after a kill."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mltrack_sync.lake.failures import CopiedStoreError, made_again
from mltrack_sync.lake.known import last_numbers
from mltrack_sync.lake.layout import TABLES
from mltrack_sync.lake.notes import BatchNote
from mltrack_sync.lake.tables import COPIED_HINT, TableBatch
from mltrack_sync.ledger.lake import lake_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deltalake import DeltaTable

    from mltrack_sync.lake.notes import NoteFile
    from mltrack_sync.lake.staging import StagedFile
    from mltrack_sync.lake.tables import LakeTables
    from mltrack_sync.ledger.ledger import Ledger

__all__ = ["Batches"]


@dataclass(slots=True)
class Batches:
    """Commits batches of one store to one lake, one after the other.

    Attributes:
        tables: The lake's tables.
        ledger: What the lake has.
        note: The note of the batch that is being committed.
        store_id: The store.
    """

    tables: LakeTables
    ledger: Ledger
    note: NoteFile
    store_id: str

    def next_number(self, table: str) -> int:
        """The number of the next batch in a table."""
        return self.ledger.state.lake.numbers.get(table, 0) + 1

    def resume(self) -> bool:
        """Finish the batch that a killed push left.

        Returns:
            Whether its files are gone, as a vacuum removed them meanwhile. Then the ledger forgot the batch's runs:
            what the lake has of them is to be looked up.

        Raises:
            RemoteError: it can't be committed now, or the ledger can't be written.
        """
        note = self.note.read()
        if note is None:
            return False
        numbers = self.ledger.state.lake.numbers
        is_moved = note.url != self.tables.place.url and bool(numbers)  # the same lake at another address
        if note.store_id != self.store_id or (note.url != self.tables.place.url and not is_moved):
            self.note.remove()  # the name meant another lake then: what that one lacks, its next push finds out
            return False
        if all(numbers.get(batch.table, 0) >= batch.number for batch in note.tables):
            self.note.remove()
            return False
        if self._is_lost(note):
            self._forget(note)
            return True
        self._finish(note, {})
        return False

    def _is_lost(self, note: BatchNote) -> bool:
        """Whether files of the note that were not committed are gone."""
        for batch in note.tables:
            table = self.tables.load(batch.table)
            if self.tables.last_number(table, self.store_id, batch.table) >= batch.number:
                continue
            if any(self.tables.files.size(f"{batch.table}/{file.path}") != file.size for file in batch.files):
                return True
        return False

    def _forget(self, note: BatchNote) -> None:
        runs = dict.fromkeys(line["run"] for line in note.lines if "run" in line)
        numbers = last_numbers(self.tables, self.store_id)
        lines: list[dict[str, Any]] = [{"type": "forgotten", "run": run_id} for run_id in runs]
        self.ledger.copied([*lines, *([lake_line(numbers)] if numbers else [])])
        self.note.remove()

    def commit(self, staged: Sequence[StagedFile], lines: Sequence[dict[str, Any]]) -> None:
        """Commit files to their tables, and write these lines to the ledger once all is in the lake.

        Raises:
            CopiedStoreError: a copy of this store pushes to the lake, too.
            RemoteError: it can't be committed now; the next push does. Or the ledger can't be written.
        """
        by_table: dict[str, list[StagedFile]] = {name: [] for name in TABLES}
        for file in staged:
            by_table[file.table].append(file)
        batches = [TableBatch(name, self.next_number(name), tuple(files)) for name, files in by_table.items() if files]
        loaded = {batch.table: self._loaded(batch) for batch in batches}
        note = BatchNote(self.tables.place.url, self.store_id, os.urandom(8).hex(), tuple(batches), tuple(lines))
        if batches:
            self.note.write(note)
        self._finish(note, loaded)

    def _loaded(self, batch: TableBatch) -> DeltaTable:
        """A table, whose last batch of this store must be the one that the ledger knows."""
        table = self.tables.created(batch.table)
        last, known = self.tables.last_number(table, self.store_id, batch.table), batch.number - 1
        if last > known:
            raise CopiedStoreError(
                f"{self.tables.place.uri} has batch {last} of {batch.table!r} from store {self.store_id},"
                f" and this store's ledger knows {known}",
                hint=COPIED_HINT,
            )
        if last < known:
            raise self._made_again(batch.table, last, known)
        return table

    def _made_again(self, table: str, last: int, known: int) -> CopiedStoreError:
        what = f"batch {last} of {table!r} from store {self.store_id}, and this store sent {known}"
        return made_again(self.tables.place.uri, what)

    def check_place(self) -> None:
        """Check that the lake that is there, of which the marker was read, is the one that the ledger knows.

        Raises:
            CopiedStoreError: it is another one.
            RemoteError: it can't be read, or the ledger can't be written.
        """
        known, found = self.ledger.state.lake, self.tables.lake_id
        if not found or found == known.lake_id:
            return
        if known.lake_id and known.numbers:  # two machines may have made it at once: then the last marker stays
            numbers = last_numbers(self.tables, self.store_id)
            for table, number in known.numbers.items():
                if numbers.get(table, 0) < number:
                    raise self._made_again(table, numbers.get(table, 0), number)
        self.ledger.copied([lake_line({}, found)])

    def _finish(self, note: BatchNote, loaded: dict[str, DeltaTable]) -> None:
        for batch in note.tables:
            self.tables.commit(self.store_id, batch, note.nonce, loaded.get(batch.table))
        numbers = {batch.table: batch.number for batch in note.tables}
        self.ledger.copied([*note.lines, *([lake_line(numbers)] if numbers else [])])
        self.note.remove()
