"""Pulling the records of an evaluation dataset: what was changed there since both sides had the same comes.

The ledger has a fingerprint of each record that is here and there. What was changed on both sides stays as it is here,
which is said; what was deleted here does not come back unless it was changed there; what was deleted there stays here.
"""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from mltrack.mlflow_plugin.tables_reader import RECORD_FIELDS, stored_records
from mltrack.text.counting import plural
from mltrack.text.printable import printable
from mltrack_sync.ledger.tables import ACKNOWLEDGED, ASKED, CAME, GONE
from mltrack_sync.mlflow.plan.tables import is_whole_when_put, record_key, record_print

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from mltrack.mlflow_plugin.tables_reader import StoredRecord
    from mltrack_sync.http.shapes import Fields
    from mltrack_sync.ledger.tables import TableEntry
    from mltrack_sync.mlflow.pull.local_tables import LocalTables
    from mltrack_sync.mlflow.pull.session import PullSession

__all__ = ["RecordsPull"]

WORDS_MAX = 80
BOTH = (ACKNOWLEDGED, CAME)


class RecordsPull:
    """Brings the records of one dataset. ``known`` is what the ledger said of the dataset before."""

    def __init__(
        self, session: PullSession, tables: LocalTables, what: str, dataset_id: str, known: TableEntry, *, sent: bool
    ) -> None:
        """``what`` names the dataset in notes; ``sent`` says that nothing of it waits to be sent."""
        self._session = session
        self._tables = tables
        self._what = what
        self._dataset_id = dataset_id
        self._until = known.until
        self._was_sent = sent
        self._here = self._stored() if dataset_id else {}
        self.has_conflicts = False
        """Whether a record stayed that was changed on both sides: the next pull looks at them again."""

    def pull(self, pages: Iterable[Sequence[Fields]]) -> bool:
        """Bring what is new of these, which are all that the server has; returns whether anything is.

        Raises:
            RemoteError: see mltrack_sync.errors.
        """
        seen: set[str] = set()
        is_news = False
        for page in pages:
            self._session.check()
            seen.update(map(record_key, page))
            is_news = self._pull_page(page) or is_news
        if not self._session.options.dry_run:
            self._note_gone(seen)
        return is_news

    def has_unsent(self) -> bool:
        """Whether a record here differs from what both sides had, or one that was sent is not here any more."""
        here, known = self._stored(), self._known()
        if any(held[0] in (ACKNOWLEDGED, ASKED) and key not in here for key, held in known.items()):
            return True
        return any(
            known.get(key, ASKED)[0] == ASKED or record_print(each.record) != known[key][1:]
            for key, each in here.items()
        )

    def _stored(self) -> dict[str, StoredRecord]:
        found = stored_records(self._session.store, self._dataset_id)
        return {record_key(each.record): each for each in found}

    def _known(self) -> dict[str, str]:
        return dict(self._session.ledger.state.records.get(self._dataset_id) or {})

    def _pull_page(self, page: Sequence[Fields]) -> bool:
        known = self._known()
        records, has = [], {}
        for row in page:
            key, on_remote, held = record_key(row), record_print(row), known.get(record_key(row), "")
            mark = ACKNOWLEDGED if held[:1] in (ACKNOWLEDGED, ASKED) else CAME
            if self._is_wanted(row, on_remote, held):
                records.append({name: row[name] for name in RECORD_FIELDS if row.get(name) not in (None, {})})
                has[key] = (mark if key in self._here else CAME) + on_remote
            elif self._is_here(key, on_remote) and held != mark + on_remote:
                has[key] = mark + on_remote
        if self._session.options.dry_run:
            return bool(records)
        if records and not self._put(records):
            return False
        self._session.ledger.records_known(self._dataset_id, has)
        return bool(records)

    def _is_here(self, key: str, content: str) -> bool:
        return key in self._here and record_print(self._here[key].record) == content

    def _is_wanted(self, row: Fields, on_remote: str, held: str) -> bool:
        """Whether a record of the server is to be here as it is there."""
        key = record_key(row)
        mine = self._here.get(key)
        if mine is None:
            return held[:1] in ("", GONE) or held[1:] != on_remote
        here = record_print(mine.record)
        if here == on_remote:
            return False
        if not held and self._was_sent and not self._is_late(mine):  # of a ledger that did not have fingerprints
            return True
        if held and held[0] != ASKED and here == held[1:]:
            return True
        if held[:1] not in BOTH or on_remote != held[1:]:
            self.has_conflicts = True
            self._session.note_some(
                "records of evaluation datasets were changed here: they stay as they are here",
                f"{self._what}: a record was changed here, it stays as it is: {_shown(row)}",
            )
        return False

    def _is_late(self, stored: StoredRecord) -> bool:
        return stored.changed_ms > self._until or self._until > time.time() * 1000

    def _put(self, records: Sequence[Fields]) -> bool:
        """Set records; those that would keep more than they have there are deleted here first."""
        mine = {key: self._here[key] for key in map(record_key, records) if key in self._here}
        merged = {key: record for record in records if (key := record_key(record)) in mine}
        again = [key for key, record in merged.items() if not is_whole_when_put(mine[key].record, record)]
        if again:
            self._session.ledger.records_known(
                self._dataset_id, {}, again
            )  # they come again if this is all that is done
            ids = [mine[key].record_id for key in again]
            delete = partial(self._tables.tracking.delete_dataset_records, self._dataset_id, ids)
            if self._tables.write(self._what, delete) is None:
                return False
        put = partial(self._tables.tracking.upsert_dataset_records, self._dataset_id, list(records))
        return self._tables.write(self._what, put) is not None

    def _note_gone(self, seen: Collection[str]) -> None:
        """Say what was deleted there since both sides had it: it stays here."""
        known = self._known()
        unseen = {key: held for key, held in known.items() if key not in seen}
        gone = {key: GONE + held[1:] for key, held in unseen.items() if key in self._here and held[0] in BOTH}
        unchanged = [key for key, held in gone.items() if self._is_here(key, held[1:])]
        if self._was_sent:  # of a ledger that did not have fingerprints
            rest = {key: each for key, each in self._here.items() if key not in seen and key not in known}
            gone |= {key: GONE + record_print(each.record) for key, each in rest.items() if not self._is_late(each)}
        self._session.ledger.records_known(self._dataset_id, gone, [key for key in unseen if key not in self._here])
        if unchanged:
            were, they = ("was", "it stays") if len(unchanged) == 1 else ("were", "they stay")
            words = f"{plural(len(unchanged), 'record')} {were} deleted on the server: {they} here"
            self._session.note(f"{self._what}: {words}")


def _shown(record: Mapping[str, Any]) -> str:
    return printable(json.dumps(record.get("inputs"), sort_keys=True))[:WORDS_MAX]
