"""Pulling evaluation datasets with their records, scorers and label schemas, each once.

MLflow's own code keeps them (``workspace/mlflow.db``), so they come only where MLflow is installed. A dataset is found
again by the tag that says which one of the server it is, records by their inputs, versions of scorers by their
content, label schemas by their names. What was changed here stays; what was deleted here after pushes from here had
made it there does not come back.
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
from mltrack.mlflow_plugin.tables_reader import read_records, read_tables
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
    from collections.abc import Callable, Sequence

    from mltrack.mlflow_plugin.tables_reader import EvaluationDataset
    from mltrack_sync.http.shapes import Fields
    from mltrack_sync.mlflow.pull.experiments import Experiments
    from mltrack_sync.mlflow.pull.session import PullSession

__all__ = ["TablesPull"]

EXPERIMENTS_AT_ONCE = 50
RECORD_FIELDS = ("inputs", "outputs", "expectations", "tags", "source")


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
        if local is not None and known.version == remote.version:
            return
        if self._is_dry():
            return
        homes = [self._experiments.local(each) for each in self._client.dataset_experiments(remote.dataset_id)]
        ids = [each.experiment_id for each in homes]
        what = f"evaluation dataset {printable(remote.name)!r}"
        tags = {key: value for key, value in remote.tags.items() if key != DATASET_ID_TAG}
        if local is None:
            own = {ORIGIN_TAG: self._session.origin.url, ORIGIN_DATASET_TAG: remote.dataset_id}
            made = self._write(what, partial(self._tracking().create_dataset, remote.name, {**tags, **own}, ids))
            if made is None:
                return
            dataset_id = str(made.dataset_id)
        else:
            dataset_id = local.dataset_id
            new = {key: value for key, value in tags.items() if key not in local.tags and key not in known.tags}
            if new:
                self._write(what, partial(self._tracking().set_dataset_tags, dataset_id, new))
        for page in self._client.records(remote.dataset_id):
            self._session.check()
            self._put_records(what, dataset_id, page)
        self._settle(dataset_id, remote, was_sent=local is None or known.fingerprint == local.fingerprint)

    def _local(self, remote: RemoteDataset, here: dict[str, EvaluationDataset]) -> EvaluationDataset | None:
        """What it is here: what was pushed from here, or pulled before."""
        own = here.get(remote.tags.get(DATASET_ID_TAG, ""))
        if own is not None:
            return own
        for dataset in here.values():
            if self._session.origin.own_id(dataset.tags, ORIGIN_DATASET_TAG) == remote.dataset_id:
                return dataset
        return None

    def _put_records(self, what: str, dataset_id: str, page: Sequence[Fields]) -> None:
        records = [{name: row[name] for name in RECORD_FIELDS if row.get(name) not in (None, {})} for row in page]
        if records:
            self._write(what, partial(self._tracking().upsert_dataset_records, dataset_id, records))

    def _settle(self, dataset_id: str, remote: RemoteDataset, *, was_sent: bool) -> None:
        """Note that it is here as the server has it; a dataset without changes of its own need not be sent back."""
        now = next(each for each in read_tables(self._session.store).datasets if each.dataset_id == dataset_id)
        fingerprint = now.fingerprint if was_sent else ""
        known = self._entry(EVALUATION_DATASET, dataset_id)
        have = len(read_records(self._session.store, dataset_id))
        sent = max(known.sent, have) if was_sent else known.sent  # what waits to be sent is not there yet
        tags = sorted((now.tags.keys() & remote.tags.keys() | {*known.tags}) - {DATASET_ID_TAG, *ORIGIN_TAGS})
        entry = replace(
            known,
            remote=remote.dataset_id,
            fingerprint=fingerprint,
            version=remote.version,
            sent=sent,
            tags=tuple(tags),
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
        here = {each.key for each in read_tables(self._session.store).schemas}
        here |= {key for kind, key in self._deleted_here() if kind == LABEL_SCHEMA}
        for remote in self._client.schemas(remote_id):
            if f"{self._home(remote_id)}/{remote.name}" in here or self._is_dry():
                continue
            home = self._experiments.local(remote_id).experiment_id
            what = f"label schema {printable(remote.name)!r}"
            if self._write(what, partial(self._create_schema, home, remote.fields)) is None:
                continue
            made = {each.key: each for each in read_tables(self._session.store).schemas}[f"{home}/{remote.name}"]
            self._session.ledger.table_sent(LABEL_SCHEMA, made.key, TableEntry("", made.fingerprint))

    def _create_schema(self, home: str, fields: Fields) -> Any:
        from mlflow.genai.label_schemas import LabelSchema
        from mlflow.protos.label_schemas_pb2 import LabelSchema as Proto
        from mlflow.utils.proto_json_utils import parse_dict

        message = Proto()
        parse_dict(dict(fields), message)
        given = LabelSchema.from_proto(message)
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
