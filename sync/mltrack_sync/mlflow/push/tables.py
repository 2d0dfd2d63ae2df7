"""Pushing evaluation datasets with their records, scorers and label schemas, each once.

A dataset carries the tag ``mltrack.dataset_id``, which is looked for before one is created; a scorer's versions are
compared with those of the remote by their content; a label schema is known by its name. So an answer that was lost
makes no second one. Of a dataset's records and tags those are sent that are not what both sides had (records.py):
others may have been changed there. What is deleted here is deleted on the remote, if pushes from here made it there.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mltrack.environment import DATASET_ID_TAG, ORIGIN_DATASET_TAG
from mltrack.errors import MltrackError
from mltrack.text.printable import printable
from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.ledger.tables import ASKED, GONE, TableEntry
from mltrack_sync.mlflow.api.capabilities import EVALUATION_DATASETS, LABEL_SCHEMAS, SCORERS
from mltrack_sync.mlflow.api.tables import TablesClient
from mltrack_sync.mlflow.plan.batches import Refusal
from mltrack_sync.mlflow.plan.kinds import EVALUATION_DATASET, LABEL_SCHEMA, SCORER, TABLES
from mltrack_sync.mlflow.plan.origin import ORIGIN_TAGS
from mltrack_sync.mlflow.plan.pending_tables import FEATURES
from mltrack_sync.mlflow.plan.tables import (
    common_versions,
    deleted_versions,
    is_same_kind_of_schema,
    record_key,
    record_print,
    same_content,
    tag_prints,
    version_print,
)
from mltrack_sync.mlflow.push.records import RecordsPush
from mltrack_sync.mlflow.workers import JobRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mltrack.mlflow_plugin.tables_reader import EvaluationDataset, LabelSchema, ScorerVersions
    from mltrack_sync.mlflow.api.tables import RemoteSchema
    from mltrack_sync.mlflow.plan.pending_tables import DeletedItem, PendingTables
    from mltrack_sync.mlflow.push.run_ids import Identities
    from mltrack_sync.mlflow.push.session import Session

__all__ = ["TablesPush"]


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
        is_new = linked is None
        if linked is None:
            remote, made = self._session.policy.settle(lambda again: self._find_or_make(dataset, homes))
            entry = TableEntry(remote, made=made, file=self._file)
            self._session.ledger.records_known(dataset.key, {}, reset=True)
            self._session.ledger.table_sent(EVALUATION_DATASET, dataset.key, entry)
            linked = self._client.dataset_experiments(entry.remote)
        missing = sorted(set(homes) - set(linked))
        if missing:
            self._client.add_dataset_to(entry.remote, missing)
        prints = self._push_tags(dataset, entry)
        repair = self._is_repaired(EVALUATION_DATASET, dataset.key)
        records = RecordsPush(self._session, self._client, dataset, entry.remote)
        records.push(entry, self._file, compare=is_new or repair, repair=repair)
        sent = replace(
            entry,
            fingerprint=dataset.fingerprint,
            sent=max(entry.sent, dataset.records),
            file=self._file,
            tags=tuple(sorted(prints)),
            tag_prints=prints,
            until=dataset.latest_ms,
        )
        self._session.ledger.table_sent(EVALUATION_DATASET, dataset.key, sent)

    def _push_tags(self, dataset: EvaluationDataset, entry: TableEntry) -> dict[str, str]:
        """Set the tags that are other ones than those that were here and there, and remove those that are gone here."""
        tags = {key: value for key, value in dataset.tags.items() if key not in (*ORIGIN_TAGS, DATASET_ID_TAG)}
        prints = tag_prints(tags)
        is_repaired = self._is_repaired(EVALUATION_DATASET, dataset.key)
        changed = {key: tags[key] for key in tags if is_repaired or entry.tag_prints.get(key) != prints[key]}
        if changed:
            self._client.tag_dataset(entry.remote, changed)
        for key in entry.tags:
            if key not in tags:
                with _already_gone():
                    self._client.untag_dataset(entry.remote, key)
        return prints

    def _is_repaired(self, kind: str, key: str) -> bool:
        """Whether a comparison found it different, and it is to be made what it is here."""
        return f"{TABLES}{kind}/{key}" in self._session.repaired

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
                if self._has_others(item, entry):
                    self._session.problem(
                        f"evaluation dataset {printable(entry.remote)!r} was deleted here and stays on the server,"
                        " where it has got records"
                    )
                else:
                    self._client.delete_dataset(entry.remote)
        self._session.ledger.table_sent(item.kind, item.key, TableEntry())
        self._session.ledger.records_known(item.key, {}, reset=True)

    def _has_others(self, item: DeletedItem, entry: TableEntry) -> bool:
        """Whether a dataset there has records that were never here, or were changed there."""
        known = self._session.ledger.state.records.get(item.key)
        if not known:
            return sum(map(len, self._client.records(entry.remote))) > entry.sent
        rows = (row for page in self._client.records(entry.remote) for row in page)
        return any(known.get(record_key(row), GONE)[1:] != record_print(row) for row in rows)

    # --- scorers ---

    def _push_scorer(self, scorer: ScorerVersions, entry: TableEntry) -> None:
        remote_id = self._identities.experiment_by_id(scorer.experiment_id)
        on_remote: dict[int, str] = {}
        if entry.sent or entry.versions:  # versions may have been deleted on either side, so their number says nothing
            on_remote = self._client.numbered_versions(remote_id, scorer.name)
        if entry.file == self._file:
            for number in deleted_versions(entry.versions, scorer.versions, on_remote):
                with _already_gone():
                    self._client.delete_version(remote_id, scorer.name, number)
                del on_remote[number]
        held = Counter(map(same_content, on_remote.values()))
        for number, serialized in enumerate(scorer.versions):
            if held[same_content(serialized)]:
                held[same_content(serialized)] -= 1
                continue
            self._session.policy.settle(partial(self._settle_version, scorer, remote_id, number))
            known = self._entry(SCORER, scorer.key)
            entry = replace(known, sent=known.sent + 1, file=self._file)
            self._session.ledger.table_sent(SCORER, scorer.key, entry)
        on_remote = self._client.numbered_versions(remote_id, scorer.name)
        here, held_now = map(version_print, scorer.versions), map(version_print, on_remote.values())
        done = TableEntry(
            "",
            scorer.fingerprint,
            max(entry.sent, len(scorer.versions)),
            made=entry.made,
            file=self._file,
            versions=common_versions(entry.versions, here, held_now),
        )
        self._session.ledger.table_sent(SCORER, scorer.key, done)

    def _settle_version(self, scorer: ScorerVersions, remote_id: str, number: int, again: bool) -> None:
        """Register a version, unless the remote has more of that content than the versions before it account for.

        The ledger knows before that it may be there, and that the scorer is made from here if the remote has none.
        """
        self._session.check()
        serialized = scorer.versions[number]
        on_remote = [same_content(each) for each in self._client.scorer_versions(remote_id, scorer.name)]
        held = Counter(on_remote)
        before = sum(same_content(each) == same_content(serialized) for each in scorer.versions[:number])
        if held[same_content(serialized)] <= before:
            known = self._entry(SCORER, scorer.key)
            versions = (*known.versions, ASKED + version_print(serialized))
            asked = replace(known, made=known.made or not on_remote, file=self._file, versions=versions)
            self._session.ledger.table_sent(SCORER, scorer.key, asked)
            self._client.register_scorer(remote_id, scorer.name, serialized)

    def _delete_scorer(self, item: DeletedItem, entry: TableEntry) -> None:
        """Delete it, unless somebody else has added versions there."""
        self._session.check()
        remote_id, name = self._place_of(item)
        on_remote = self._client.scorer_versions(remote_id, name) if remote_id else []
        others = Counter(map(version_print, on_remote)) - Counter(each[1:] for each in entry.versions)
        if others if entry.versions else len(on_remote) > entry.sent:
            self._session.problem(
                f"scorer {printable(name)!r} was deleted here and stays on the server, where it has got versions"
            )
        elif on_remote:
            with _already_gone():
                self._client.delete_scorer(remote_id, name)
        self._session.ledger.table_sent(item.kind, item.key, TableEntry())

    # --- label schemas ---

    def _push_schema(self, schema: LabelSchema, entry: TableEntry) -> None:
        remote_id = self._identities.experiment_by_id(schema.experiment_id)
        sent = self._session.policy.settle(partial(self._settle_schema, schema, remote_id))
        made = self._entry(LABEL_SCHEMA, schema.key).made
        done = TableEntry("", schema.fingerprint, version=sent.content, made=made, file=self._file)
        self._session.ledger.table_sent(LABEL_SCHEMA, schema.key, done)

    def _settle_schema(self, schema: LabelSchema, remote_id: str, again: bool) -> RemoteSchema:
        """Make it what it is here; returns what it is there now.

        The ledger knows before that it is made from here if it is not there. Its type can't be changed, nor the kind of
        its answers: one that has others is made again, unless it was changed there.

        Raises:
            RemoteError: see mltrack_sync.errors.
            MltrackError: it is to be made again, and was changed there.
        """
        self._session.check()
        fields = {
            "enable_comment": schema.enable_comment,
            "input": {schema.input_kind: {key: value for key, value in schema.input.items() if value is not None}},
            **({"instruction": schema.instruction} if schema.instruction is not None else {}),
        }
        known, kind = self._entry(LABEL_SCHEMA, schema.key), schema.kind.upper()
        for found in self._client.schemas(remote_id):
            if found.name == schema.name:
                if is_same_kind_of_schema(schema, found.fields):
                    return self._client.change_schema(found.schema_id, fields)
                if known.version != found.content and not self._is_repaired(LABEL_SCHEMA, schema.key):
                    raise MltrackError(
                        f"{printable(schema.name)!r} has another type here than on the server, where it was changed as"
                        " well: both stay as they are; mltrack verify, then mltrack sync --repair, makes it there what"
                        " it is here"
                    )
                with _already_gone():
                    self._client.delete_schema(found.schema_id)
        asked = replace(known, version=ASKED, made=True, file=self._file)
        self._session.ledger.table_sent(LABEL_SCHEMA, schema.key, asked)
        return self._client.create_schema(remote_id, {"name": schema.name, "type": kind, **fields})

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
