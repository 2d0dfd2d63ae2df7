"""Pulling evaluation datasets with their records, scorers and label schemas, each once.

MLflow's own code keeps them (``workspace/mlflow.db``), so they come only where MLflow is installed. A dataset is found
again by the tag that says which one of the server it is, records by their inputs, versions of scorers by their
content, label schemas by their names. What was changed here since it was last the same on both sides stays, and what
was changed there as well is named; what was deleted here after pushes from here had made it there does not come back.
"""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mltrack.environment import DATASET_ID_TAG, ORIGIN_DATASET_TAG, ORIGIN_TAG
from mltrack.errors import RemoteError, StoreError
from mltrack.mlflow_plugin.tables_reader import changed_records, read_tables
from mltrack.text.printable import printable
from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.ledger.tables import TableEntry
from mltrack_sync.mlflow.api.capabilities import (
    EVALUATION_DATASETS,
    LABEL_SCHEMAS,
    SCORERS,
    UnsupportedFeatureError,
)
from mltrack_sync.mlflow.api.tables import RemoteDataset, TablesClient
from mltrack_sync.mlflow.plan.kinds import EVALUATION_DATASET, LABEL_SCHEMA, SCORER
from mltrack_sync.mlflow.plan.origin import ORIGIN_TAGS
from mltrack_sync.mlflow.plan.pending_tables import deleted_here, tables_time
from mltrack_sync.mlflow.plan.tables import same_content

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from mltrack.mlflow_plugin.tables_reader import EvaluationDataset, LabelSchema
    from mltrack_sync.http.shapes import Fields
    from mltrack_sync.mlflow.api.tables import RemoteSchema
    from mltrack_sync.mlflow.pull.experiments import Experiments
    from mltrack_sync.mlflow.pull.session import PullSession

__all__ = ["TablesPull"]

EXPERIMENTS_AT_ONCE = 50
RECORD_FIELDS = ("inputs", "outputs", "expectations", "tags", "source")
EDITED_FIELDS = ("outputs", "expectations", "tags")
WORDS_MAX = 80


class TablesPull:
    """Brings what the server has of these in the selected experiments."""

    def __init__(self, session: PullSession, experiments: Experiments, experiment_ids: Sequence[str]) -> None:
        """``experiment_ids`` are the selected experiments on the server."""
        self._session = session
        self._experiments = experiments
        self._experiment_ids = experiment_ids
        self._client = TablesClient(session.client.transport)
        self._store: Any = None

    def pull(self) -> None:
        """Bring what is new.

        Raises:
            RemoteError: see mltrack_sync.errors.
        """
        if importlib.util.find_spec("mlflow") is None:
            self._session.note("evaluation datasets, scorers and label schemas are not pulled: mlflow is not installed")
            return
        for feature, work in (
            (EVALUATION_DATASETS, self._pull_datasets),
            (SCORERS, self._pull_all_scorers),
            (LABEL_SCHEMAS, partial(self._pull_each, self._experiment_ids, self._pull_schemas)),
        ):
            try:
                with self._session.features.needing(feature):
                    work()
            except UnsupportedFeatureError:
                continue
            except StoreError as error:
                if isinstance(error, RemoteError):  # the ledger's
                    raise
                self._session.problem(f"{feature}: {error}")

    def _tracking(self) -> Any:
        """MLflow's interface to the store; made when the first thing comes, as it takes a second."""
        if self._store is None:
            from mltrack.mlflow_plugin.tracking import TrackingStore
            from mltrack.mlflow_plugin.uris import store_uri

            self._store = TrackingStore(store_uri(self._session.store.path.absolute()))
        return self._store

    def _write(self, what: str, write: Callable[[], Any]) -> Any:
        """What MLflow's code returns; what it refuses is a problem of this one thing, and None is returned."""
        from mlflow.exceptions import MlflowException

        try:
            return write()
        except MlflowException as error:
            self._session.problem(f"{what}: {error}")
            return None

    def _is_dry(self) -> bool:
        """Whether things are only counted; one more is."""
        self._session.count(evaluation_items=1)
        return bool(self._session.options.dry_run)

    def _deleted_here(self) -> set[tuple[str, str]]:
        """What the next push deletes there: by kind the ids of datasets there, and the keys of the others."""
        found, known = read_tables(self._session.store), self._session.ledger.state.tables
        deleted = deleted_here(found, known, tables_time(self._session.store))
        return {(each.kind, each.entry.remote or each.key) for each in deleted}

    def _entry(self, kind: str, key: str) -> TableEntry:
        return self._session.ledger.state.tables.get((kind, key)) or TableEntry()

    def _pull_each(self, remote_ids: Sequence[str], pull_one: Callable[[str], None]) -> None:
        for remote_id in remote_ids:
            self._session.check()
            try:
                pull_one(remote_id)
            except RemoteRefusedError as error:
                if error.unknown_call:
                    raise
                if not error.says_missing:  # of a deleted experiment, servers say nothing
                    self._session.problem(f"experiment {remote_id}: {error.words}")

    # --- evaluation datasets ---

    def _pull_datasets(self) -> None:
        if not self._experiment_ids:
            return
        deleted = self._deleted_here()
        for remote in list(self._client.datasets(self._experiment_ids)):
            self._session.check()
            if (EVALUATION_DATASET, remote.dataset_id) not in deleted:
                self._pull_dataset(remote)

    def _pull_dataset(self, remote: RemoteDataset) -> None:
        here = {each.dataset_id: each for each in read_tables(self._session.store).datasets}
        local = self._local(remote, here)
        known = self._entry(EVALUATION_DATASET, local.dataset_id) if local is not None else TableEntry()
        was_sent = local is None or known.fingerprint == local.fingerprint
        tags = {key: value for key, value in remote.tags.items() if key not in (DATASET_ID_TAG, *ORIGIN_TAGS)}
        has_records = local is None or known.version != remote.version  # new ones, or changed ones
        if not has_records and not (was_sent and local is not None and _differ(local.tags, tags, known.tags)):
            return
        if self._is_dry():
            return
        homes = [self._experiments.local(each) for each in self._client.dataset_experiments(remote.dataset_id)]
        ids = [each.experiment_id for each in homes]
        what = f"evaluation dataset {printable(remote.name)!r}"
        edited: dict[str, Fields] = {}
        if local is None:
            own = {ORIGIN_TAG: self._session.origin.url, ORIGIN_DATASET_TAG: remote.dataset_id}
            made = self._write(what, partial(self._tracking().create_dataset, remote.name, {**tags, **own}, ids))
            if made is None:
                return
            dataset_id = str(made.dataset_id)
        else:
            dataset_id = local.dataset_id
            self._put_tags(what, local, tags, known, was_sent=was_sent)
            if not was_sent:
                records = changed_records(self._session.store, dataset_id, known.until)
                edited = {_inputs(record): record for record in records}
        for page in self._client.records(remote.dataset_id) if has_records else ():
            self._session.check()
            self._put_records(what, dataset_id, page, edited)
        self._settle(dataset_id, remote, was_sent=was_sent)

    def _local(self, remote: RemoteDataset, here: dict[str, EvaluationDataset]) -> EvaluationDataset | None:
        """What it is here: what was pushed from here, or pulled before."""
        own = here.get(remote.tags.get(DATASET_ID_TAG, ""))
        if own is not None:
            return own
        for dataset in here.values():
            if self._session.origin.own_id(dataset.tags, ORIGIN_DATASET_TAG) == remote.dataset_id:
                return dataset
        return None

    def _put_tags(
        self, what: str, local: EvaluationDataset, tags: Fields, known: TableEntry, *, was_sent: bool
    ) -> None:
        """Set the server's tags; those that are here stay if something was changed here since they were the same."""
        if was_sent:
            new = {key: value for key, value in tags.items() if local.tags.get(key) != value}
            gone = [key for key in known.tags if key in local.tags and key not in tags]
        else:
            new = {key: value for key, value in tags.items() if key not in local.tags and key not in known.tags}
            gone = []
        if new:
            self._write(what, partial(self._tracking().set_dataset_tags, local.dataset_id, new))
        for key in gone:
            self._write(what, partial(self._tracking().delete_dataset_tag, local.dataset_id, key))

    def _put_records(self, what: str, dataset_id: str, page: Sequence[Fields], edited: Mapping[str, Fields]) -> None:
        """Set records; those that were edited here, by their inputs, stay as they are."""
        records = []
        for row in page:
            record = {name: row[name] for name in RECORD_FIELDS if row.get(name) not in (None, {})}
            mine = edited.get(_inputs(record))
            if mine is None:
                records.append(record)
            elif any(mine.get(name) != record.get(name) for name in EDITED_FIELDS):
                self._session.note_some(
                    "records of evaluation datasets were changed here: they stay as they are here",
                    f"{what}: a record was changed here, it stays as it is: {printable(_inputs(record))[:WORDS_MAX]}",
                )
        if records:
            self._write(what, partial(self._tracking().upsert_dataset_records, dataset_id, records))

    def _settle(self, dataset_id: str, remote: RemoteDataset, *, was_sent: bool) -> None:
        """Note that it is here as the server has it; a dataset without changes of its own need not be sent back."""
        now = next(each for each in read_tables(self._session.store).datasets if each.dataset_id == dataset_id)
        fingerprint = now.fingerprint if was_sent else ""
        known = self._entry(EVALUATION_DATASET, dataset_id)
        sent = max(known.sent, now.records) if was_sent else known.sent  # what waits to be sent is not there yet
        tags = sorted((now.tags.keys() & remote.tags.keys() | {*known.tags}) - {DATASET_ID_TAG, *ORIGIN_TAGS})
        entry = replace(
            known,
            remote=remote.dataset_id,
            fingerprint=fingerprint,
            version=remote.version,
            sent=sent,
            tags=tuple(tags),
            until=now.latest_ms if was_sent else known.until,
        )
        self._session.ledger.table_sent(EVALUATION_DATASET, dataset_id, entry)

    # --- scorers ---

    def _pull_all_scorers(self) -> None:
        for start in range(0, len(self._experiment_ids), EXPERIMENTS_AT_ONCE):
            some = self._experiment_ids[start : start + EXPERIMENTS_AT_ONCE]
            if self._client.has_scorers(some):
                self._pull_each(some, self._pull_scorers)

    def _pull_scorers(self, remote_id: str) -> None:
        deleted, local = self._deleted_here(), self._home(remote_id)
        for name in self._client.scorer_names(remote_id):
            self._session.check()
            if (SCORER, f"{local}/{name}") not in deleted:
                self._pull_scorer(remote_id, name)

    def _pull_scorer(self, remote_id: str, name: str) -> None:
        on_server = self._client.scorer_versions(remote_id, name)
        local = self._home(remote_id)
        scorers = {each.key: each for each in read_tables(self._session.store).scorers}
        key = f"{local}/{name}"
        before = scorers[key].versions if key in scorers else ()
        have = Counter(map(same_content, before))
        missing = []
        for serialized in on_server:
            content = same_content(serialized)
            if have[content]:
                have[content] -= 1
            else:
                missing.append(serialized)
        if not missing or self._is_dry():
            return
        home = self._experiments.local(remote_id).experiment_id
        what = f"scorer {printable(name)!r}"
        for serialized in missing:
            text = json.dumps(json.loads(serialized))
            if self._write(what, partial(self._tracking().register_scorer, home, name, text)) is None:
                return
        after = {each.key: each for each in read_tables(self._session.store).scorers}[f"{home}/{name}"]
        known = self._entry(SCORER, after.key)
        if known.sent == len(before):  # nothing waits to be sent that is older than what came
            entry = replace(known, fingerprint=after.fingerprint, sent=len(after.versions))
            self._session.ledger.table_sent(SCORER, after.key, entry)

    # --- label schemas ---

    def _pull_schemas(self, remote_id: str) -> None:
        here = {each.key: each for each in read_tables(self._session.store).schemas}
        deleted = {key for kind, key in self._deleted_here() if kind == LABEL_SCHEMA}
        for remote in self._client.schemas(remote_id):
            key = f"{self._home(remote_id)}/{remote.name}"
            if key not in deleted and self._is_news(remote, here.get(key)) and not self._is_dry():
                self._pull_schema(remote_id, remote, here.get(key))

    def _is_news(self, remote: RemoteSchema, local: LabelSchema | None) -> bool:
        """Whether it is to be set here: it is not here, or was changed there and not here."""
        if local is None:
            return True
        known = self._entry(LABEL_SCHEMA, local.key)
        if not known.fingerprint or known.version == remote.content:
            return False
        if known.fingerprint == local.fingerprint:
            return True
        self._session.note(f"label schema {printable(remote.name)!r} was changed here: it stays as it is here")
        return False

    def _pull_schema(self, remote_id: str, remote: RemoteSchema, local: LabelSchema | None) -> None:
        home = self._experiments.local(remote_id).experiment_id
        what = f"label schema {printable(remote.name)!r}"
        write = self._create_schema if local is None else self._change_schema
        if self._write(what, partial(write, home, remote.fields)) is None:
            return
        now = {each.key: each for each in read_tables(self._session.store).schemas}[f"{home}/{remote.name}"]
        entry = replace(self._entry(LABEL_SCHEMA, now.key), fingerprint=now.fingerprint, version=remote.content)
        self._session.ledger.table_sent(LABEL_SCHEMA, now.key, entry)

    def _change_schema(self, home: str, fields: Fields) -> Any:
        given = _schema_of(fields)
        return self._tracking().update_label_schema(
            self._tracking().get_label_schema_by_name(home, given.name).schema_id,
            input=given.input,
            instruction=given.instruction or "",  # None would leave it as it is
            enable_comment=given.enable_comment,
        )

    def _create_schema(self, home: str, fields: Fields) -> Any:
        given = _schema_of(fields)
        return self._tracking().create_label_schema(
            home,
            name=given.name,
            type=given.type,
            input=given.input,
            instruction=given.instruction,
            enable_comment=given.enable_comment,
        )

    def _home(self, remote_id: str) -> str:
        """The experiment here; "" where a dry run would make it."""
        if self._session.options.dry_run:
            known = self._session.ledger.state.experiments.items()
            return next((local for local, entry in list(known) if entry.remote == remote_id), "")
        return self._experiments.local(remote_id).experiment_id


def _differ(local: Mapping[str, str], remote: Mapping[str, str], had: Collection[str]) -> bool:
    """Whether the server has other tags than these, of which both sides had ``had``."""
    return any(local.get(key) != value for key, value in remote.items()) or any(
        key in local and key not in remote for key in had
    )


def _inputs(record: Fields) -> str:
    """What says which record of its dataset one is."""
    return json.dumps(record.get("inputs"), sort_keys=True)


def _schema_of(fields: Fields) -> Any:
    """MLflow's entity of a label schema."""
    from mlflow.genai.label_schemas import LabelSchema
    from mlflow.protos.label_schemas_pb2 import LabelSchema as Proto
    from mlflow.utils.proto_json_utils import parse_dict

    message = Proto()
    parse_dict(dict(fields), message)
    return LabelSchema.from_proto(message)
