"""Pushing evaluation datasets with their records, scorers and label schemas, each once.

A dataset carries the tag ``mltrack.dataset_id``, which is looked for before one is created; a scorer's versions are
compared with those of the remote by their content; a label schema is known by its name. So an answer that was lost
makes no second one. Of a dataset's records those are sent that were changed here since the last time: others may have
been changed there. What is deleted here is deleted on the remote, if pushes from here made it there.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mltrack.environment import DATASET_ID_TAG, ORIGIN_DATASET_TAG
from mltrack.mlflow_plugin.tables_reader import changed_records
from mltrack.text.printable import printable
from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.ledger.tables import TableEntry
from mltrack_sync.mlflow.api.capabilities import EVALUATION_DATASETS, LABEL_SCHEMAS, SCORERS
from mltrack_sync.mlflow.api.tables import TablesClient
from mltrack_sync.mlflow.plan.batches import Refusal
from mltrack_sync.mlflow.plan.kinds import EVALUATION_DATASET, LABEL_SCHEMA, SCORER
from mltrack_sync.mlflow.plan.origin import ORIGIN_TAGS
from mltrack_sync.mlflow.plan.pending_tables import FEATURES
from mltrack_sync.mlflow.plan.tables import same_content
from mltrack_sync.mlflow.workers import JobRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mltrack.mlflow_plugin.tables_reader import EvaluationDataset, LabelSchema, ScorerVersions
    from mltrack_sync.mlflow.api.tables import RemoteSchema
    from mltrack_sync.mlflow.plan.pending_tables import DeletedItem, PendingTables
    from mltrack_sync.mlflow.push.run_ids import Identities
    from mltrack_sync.mlflow.push.session import Session

__all__ = ["TablesPush"]

RECORDS_MAX = 500
"""How many records are sent in one request."""

RECORDS_BYTES_MAX = 1 << 20
"""How long the records of one request are at most, unless one alone is longer."""


class TablesPush:
    """Brings them up to date on the remote, after the traces that records name."""

    def __init__(self, session: Session, identities: Identities) -> None:
        self._session = session
        self._identities = identities
        self._client = TablesClient(session.client.transport)
        self._file = 0

    def push(self, pending: PendingTables) -> None:
        """Push all of them."""
        self._file = pending.file
        self._push_each(EVALUATION_DATASET, EVALUATION_DATASETS, pending.datasets, self._push_dataset)
        self._push_each(SCORER, SCORERS, pending.scorers, self._push_scorer)
        self._push_each(LABEL_SCHEMA, LABEL_SCHEMAS, pending.schemas, self._push_schema)
        work = {
            EVALUATION_DATASET: self._delete_dataset,
            SCORER: self._delete_scorer,
            LABEL_SCHEMA: self._delete_schema,
        }
        for item in pending.deleted:
            self._push_each(item.kind, FEATURES[item.kind], [item], work[item.kind])

    def _push_each(
        self, kind: str, feature: str, items: Sequence[Any], work: Callable[[Any, TableEntry], None]
    ) -> None:
        runner = JobRunner(self._session, kind)

        def push_one(item: Any) -> None:
            with self._session.features.needing(feature):
                work(item, self._entry(kind, item.key))
            self._session.got_through(Refusal(kind, item.key, ""))
            self._session.count(evaluation_items=1)

        for item in items:
            if feature not in self._session.features.unsupported:
                runner.run(item.key, partial(push_one, item))

    def _entry(self, kind: str, key: str) -> TableEntry:
        return self._session.ledger.state.tables.get((kind, key)) or TableEntry()

    # --- evaluation datasets ---

    def _push_dataset(self, dataset: EvaluationDataset, entry: TableEntry) -> None:
        here = self._session.store.workspace.experiments()
        homes = [self._identities.experiment_by_id(each) for each in dataset.experiment_ids if each in here]
        linked = self._experiments_of(entry.remote)
        if linked is None:
            remote, made = self._session.policy.settle(lambda again: self._find_or_make(dataset, homes))
            entry = TableEntry(remote, made=made, file=self._file)
            self._session.ledger.table_sent(EVALUATION_DATASET, dataset.key, entry)
            linked = self._client.dataset_experiments(entry.remote)
        missing = sorted(set(homes) - set(linked))
        if missing:
            self._client.add_dataset_to(entry.remote, missing)
        tags = {key: value for key, value in dataset.tags.items() if key not in (*ORIGIN_TAGS, DATASET_ID_TAG)}
        if tags:
            self._client.tag_dataset(entry.remote, tags)
        for key in entry.tags:
            if key not in tags:
                with _already_gone():
                    self._client.untag_dataset(entry.remote, key)
        for batch in _batches(changed_records(self._session.store, dataset.dataset_id, entry.until)):
            self._session.check()
            self._client.put_records(entry.remote, batch)
        sent = replace(
            entry,
            fingerprint=dataset.fingerprint,
            sent=max(entry.sent, dataset.records),
            file=self._file,
            tags=tuple(sorted(tags)),
            until=dataset.latest_ms,
        )
        self._session.ledger.table_sent(EVALUATION_DATASET, dataset.key, sent)

    def _experiments_of(self, remote_id: str) -> Sequence[str] | None:
        """The experiments of a remote dataset; None if it does not exist: it was not sent yet, or deleted there since.

        Of one that does not exist, servers answer that it has no experiments.
        """
        linked: Sequence[str] = self._client.dataset_experiments(remote_id) if remote_id else ()
        exists = linked or (remote_id and any(each.dataset_id == remote_id for each in self._client.datasets()))
        return linked if exists else None

    def _find_or_make(self, dataset: EvaluationDataset, homes: Sequence[str]) -> tuple[str, bool]:
        """Its id on the remote: the one that it was pulled from, the one with its tag, or a new one.

        And whether it was made from here.
        """
        self._session.check()
        origin = self._session.origin.own_id(dataset.tags, ORIGIN_DATASET_TAG)
        mark = dataset.tags.get(DATASET_ID_TAG, dataset.dataset_id)
        for remote in self._client.datasets():
            if remote.dataset_id == origin or remote.tags.get(DATASET_ID_TAG) == mark:
                return remote.dataset_id, remote.tags.get(DATASET_ID_TAG) == dataset.dataset_id
        tags = {key: value for key, value in dataset.tags.items() if key not in ORIGIN_TAGS}
        return self._client.create_dataset(dataset.name, homes, {**tags, DATASET_ID_TAG: mark}), True

    def _delete_dataset(self, item: DeletedItem, entry: TableEntry) -> None:
        """Delete it, unless somebody else has added records there."""
        self._session.check()
        if entry.remote:
            with _already_gone():
                if sum(map(len, self._client.records(entry.remote))) > entry.sent:
                    self._session.problem(
                        f"evaluation dataset {printable(entry.remote)!r} was deleted here and stays on the server,"
                        " where it has got records"
                    )
                else:
                    self._client.delete_dataset(entry.remote)
        self._session.ledger.table_sent(item.kind, item.key, TableEntry())

    # --- scorers ---

    def _push_scorer(self, scorer: ScorerVersions, entry: TableEntry) -> None:
        remote_id = self._identities.experiment_by_id(scorer.experiment_id)
        held: Counter[str] = Counter()
        if entry.sent:  # versions may have been deleted here since, so their number says nothing
            held.update(map(same_content, self._client.scorer_versions(remote_id, scorer.name)))
        for number, serialized in enumerate(scorer.versions):
            if held[same_content(serialized)]:
                held[same_content(serialized)] -= 1
                continue
            was_new = self._session.policy.settle(partial(self._settle_version, scorer, remote_id, number, []))
            entry = replace(entry, sent=entry.sent + 1, made=entry.made or (was_new and number == 0), file=self._file)
            self._session.ledger.table_sent(SCORER, scorer.key, entry)
        sent = max(entry.sent, len(scorer.versions))
        done = TableEntry("", scorer.fingerprint, sent, made=entry.made, file=self._file)
        self._session.ledger.table_sent(SCORER, scorer.key, done)

    def _settle_version(
        self, scorer: ScorerVersions, remote_id: str, number: int, asked: list[str], again: bool
    ) -> bool:
        """Register a version, unless the remote has more of that content than the versions before it account for.

        Returns whether the remote had no scorer of that name, or one that an attempt just before has made. ``asked``
        is for these attempts: what was to be made where there was none.
        """
        self._session.check()
        serialized = scorer.versions[number]
        on_remote = [same_content(each) for each in self._client.scorer_versions(remote_id, scorer.name)]
        held = Counter(on_remote)
        before = sum(same_content(each) == same_content(serialized) for each in scorer.versions[:number])
        if not on_remote:
            asked.append(same_content(serialized))
        if held[same_content(serialized)] <= before:
            self._client.register_scorer(remote_id, scorer.name, serialized)
        return not on_remote or on_remote == asked[:1]

    def _delete_scorer(self, item: DeletedItem, entry: TableEntry) -> None:
        """Delete it, unless somebody else has added versions there."""
        self._session.check()
        remote_id, name = self._place_of(item)
        versions = len(self._client.scorer_versions(remote_id, name)) if remote_id else 0
        if versions > entry.sent:
            self._session.problem(
                f"scorer {printable(name)!r} was deleted here and stays on the server, where it has got versions"
            )
        elif versions:
            with _already_gone():
                self._client.delete_scorer(remote_id, name)
        self._session.ledger.table_sent(item.kind, item.key, TableEntry())

    # --- label schemas ---

    def _push_schema(self, schema: LabelSchema, entry: TableEntry) -> None:
        remote_id = self._identities.experiment_by_id(schema.experiment_id)
        was_new, sent = self._session.policy.settle(partial(self._settle_schema, schema, remote_id, []))
        made = entry.made or was_new
        done = TableEntry("", schema.fingerprint, version=sent.content, made=made, file=self._file)
        self._session.ledger.table_sent(LABEL_SCHEMA, schema.key, done)

    def _settle_schema(
        self, schema: LabelSchema, remote_id: str, asked: list[str], again: bool
    ) -> tuple[bool, RemoteSchema]:
        """Make it what it is here.

        Returns whether it was not there, or only an attempt just before has made it; and what it is there now.
        ``asked`` is for these attempts: what was to be made where there was none.
        """
        self._session.check()
        fields = {
            "enable_comment": schema.enable_comment,
            "input": {schema.input_kind: {key: value for key, value in schema.input.items() if value is not None}},
            **({"instruction": schema.instruction} if schema.instruction is not None else {}),
        }
        found = [each for each in self._client.schemas(remote_id) if each.name == schema.name]
        if found:
            return bool(asked), self._client.change_schema(found[0].schema_id, fields)
        asked.append(schema.name)
        return True, self._client.create_schema(remote_id, {"name": schema.name, "type": schema.kind.upper(), **fields})

    def _delete_schema(self, item: DeletedItem, entry: TableEntry) -> None:
        """Delete it, unless somebody else has changed it there."""
        self._session.check()
        remote_id, name = self._place_of(item)
        for each in self._client.schemas(remote_id) if remote_id else ():
            if each.name == name and entry.version not in ("", each.content):
                self._session.problem(
                    f"label schema {printable(name)!r} was deleted here and stays on the server, where it was changed"
                )
            elif each.name == name:
                with _already_gone():
                    self._client.delete_schema(each.schema_id)
        self._session.ledger.table_sent(item.kind, item.key, TableEntry())

    def _place_of(self, item: DeletedItem) -> tuple[str, str]:
        """The remote experiment of a scorer or label schema, "" where the ledger has lost it; and its name."""
        home, _, name = item.key.partition("/")
        experiment = self._session.ledger.state.experiments.get(home)
        return experiment.remote if experiment is not None else "", name


@contextlib.contextmanager
def _already_gone() -> Iterator[None]:
    """What is to be deleted may be gone already."""
    try:
        yield
    except RemoteRefusedError as error:
        if not error.says_missing:
            raise


def _batches(records: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
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
