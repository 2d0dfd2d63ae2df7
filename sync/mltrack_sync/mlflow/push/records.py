"""Pushing the records of an evaluation dataset: those that differ from what both sides had, and those deleted here.

The ledger has a fingerprint of each record that is here and there. One that was sent from here, and is not here any
more, is deleted there, unless it was changed there since. Records are put together by their inputs there, and keep
what they have more: one that was deleted here and made again is deleted there first.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from mltrack.mlflow_plugin.tables_reader import stored_records
from mltrack.text.counting import plural
from mltrack.text.printable import printable
from mltrack_sync.errors import NotMlflowError, RemoteRefusedError
from mltrack_sync.ledger.tables import ACKNOWLEDGED, ASKED, CAME, GONE
from mltrack_sync.mlflow.plan.tables import is_whole_when_put, record_key, record_print

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from mltrack.mlflow_plugin.tables_reader import EvaluationDataset, StoredRecord
    from mltrack_sync.http.shapes import Fields
    from mltrack_sync.ledger.tables import TableEntry
    from mltrack_sync.mlflow.api.tables import TablesClient
    from mltrack_sync.mlflow.push.session import Session

__all__ = ["RecordsPush", "batches", "is_changed"]

RECORDS_MAX = 500
"""How many records are sent in one request."""

RECORDS_BYTES_MAX = 1 << 20
"""How long the records of one request are at most, unless one alone is longer."""


class RecordsPush:
    """Brings the records of one dataset up to date on the remote."""

    def __init__(self, session: Session, client: TablesClient, dataset: EvaluationDataset, remote_id: str) -> None:
        self._session = session
        self._client = client
        self._dataset = dataset
        self._remote_id = remote_id
        self._until = 0

    def push(self, entry: TableEntry, file: int, *, compare: bool = False, repair: bool = False) -> None:
        """Send what is to be sent, and delete what is to be deleted.

        Args:
            entry: What the ledger knows of the dataset.
            file: The number of the file that it is in: what another file lacks was not deleted.
            compare: Look at what is there, as the ledger may not know it.
            repair: Make what is there what it is here, also where it has more.

        Raises:
            RemoteError: see mltrack_sync.errors.
        """
        self._until = entry.until
        here = {record_key(each.record): each for each in stored_records(self._session.store, self._dataset.dataset_id)}
        known = self._known()
        deleted = {key for key, held in known.items() if held[0] in (ACKNOWLEDGED, ASKED) and key not in here}
        deleted = deleted if entry.file == file else set()
        made_again = {key for key, held in known.items() if self._is_made_again(held, here.get(key), entry)}
        if compare or deleted or made_again:
            self._compare(here, deleted, made_again, compare=compare, repair=repair)
        known = self._known()
        changed = [key for key, each in here.items() if is_changed(each, known.get(key, ""), entry.until)]
        for some in batches([here[key].record for key in changed]):
            self._put(some)

    def _known(self) -> dict[str, str]:
        return dict(self._session.ledger.state.records.get(self._dataset.key) or {})

    def _note(self, has: Mapping[str, str], lacks: Collection[str] = ()) -> None:
        self._session.ledger.records_known(self._dataset.key, has, lacks)

    def _is_made_again(self, held: str, stored: StoredRecord | None, entry: TableEntry) -> bool:
        """Whether a record was deleted here and made again with other content since the last push."""
        if stored is None or not entry.until or held[0] in (ASKED, GONE):
            return False
        return stored.made_ms > entry.until and record_print(stored.record) != held[1:]

    def _put(self, records: Sequence[Fields]) -> None:
        self._session.check()
        known, prints = self._known(), {record_key(record): record_print(record) for record in records}
        new = {key: ASKED + text for key, text in prints.items() if known.get(key, GONE)[0] in (ASKED, GONE)}
        if any(known.get(key) != text for key, text in new.items()):
            self._note(new)
        self._client.put_records(self._remote_id, records)
        self._note({key: (ACKNOWLEDGED if key in new else known[key][0]) + text for key, text in prints.items()})

    # --- with a look at what is there ---

    def _compare(
        self,
        here: Mapping[str, StoredRecord],
        deleted: Collection[str],
        made_again: Collection[str],
        *,
        compare: bool,
        repair: bool,
    ) -> None:
        """Delete there what is deleted here, and what can't be changed to what it is here, where it is ours alone."""
        on_remote = {record_key(row): row for page in self._client.records(self._remote_id) for row in page}
        known = self._known()
        gone = [key for key in deleted if key not in on_remote]
        unchanged = [key for key in deleted if key in on_remote and record_print(on_remote[key]) == known[key][1:]]
        stays = [key for key in deleted if key in on_remote and key not in unchanged]
        for key in stays:
            self._session.problem(
                f"{self._name}: a record was deleted here and stays on the server, where it was changed:"
                f" {_shown(on_remote[key])}"
            )
        self._note({}, [*gone, *stays])
        again = [key for key in made_again if key in on_remote and record_print(on_remote[key]) == known[key][1:]]
        if repair:
            again += [
                key for key, row in on_remote.items() if key in here and not is_whole_when_put(row, here[key].record)
            ]
        if compare:
            self._doubt(here, on_remote, is_first=not self._until)
        if not self._delete(on_remote, unchanged, {}):
            them = "it" if len(unchanged) == 1 else "them"
            words = f"{plural(len(unchanged), 'record')} deleted here: the server has {them} still"
            self._session.problem(f"{self._name}: {words}, as it can't delete records")
            self._note({key: CAME + known[key][1:] for key in unchanged})  # so this is said once
        self._delete(on_remote, list(dict.fromkeys(again)), dict.fromkeys(again, ASKED))

    @property
    def _name(self) -> str:
        return f"evaluation dataset {printable(self._dataset.name)!r}"

    def _doubt(self, here: Mapping[str, StoredRecord], on_remote: Mapping[str, Fields], *, is_first: bool) -> None:
        """Have the ledger know what is there now, so that all that differs is sent; at first all is, by its time."""
        known = self._known()
        has = {}
        for key in here:
            if key in on_remote:
                mark = known[key][0] if known.get(key, GONE)[0] in (ACKNOWLEDGED, CAME) else CAME
                has[key] = mark + record_print(on_remote[key])
            elif key in known or not is_first:
                has[key] = ASKED
        self._note({key: held for key, held in has.items() if known.get(key) != held})

    def _delete(self, on_remote: Mapping[str, Fields], keys: Sequence[str], after: Mapping[str, str]) -> bool:
        """Delete records there, of which ``after`` is known from then on; whether the server has such a call."""
        for start in range(0, len(keys), RECORDS_MAX):
            self._session.check()
            some = keys[start : start + RECORDS_MAX]
            try:
                self._client.delete_records(self._remote_id, [str(on_remote[key]["dataset_record_id"]) for key in some])
            except (RemoteRefusedError, NotMlflowError) as error:
                if not error.unknown_call:
                    raise
                return False
            self._note({key: after[key] for key in some if key in after}, [key for key in some if key not in after])
        return True


def is_changed(stored: StoredRecord, held: str, until: int) -> bool:
    """Whether it is to be sent; where nothing is known of it, by its time: all count if the clock was set back."""
    if not held:
        return not until or stored.changed_ms > until or until > time.time() * 1000
    return held[0] == ASKED or record_print(stored.record) != held[1:]


def _shown(record: Mapping[str, Any]) -> str:
    return printable(json.dumps(record.get("inputs"), sort_keys=True))[:80]


def batches(records: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Records in parts that one request takes."""
    batch: list[Mapping[str, Any]] = []
    size = 0
    for record in records:
        length = len(json.dumps(record))
        if batch and (len(batch) == RECORDS_MAX or size + length > RECORDS_BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += length
    if batch:
        yield batch
