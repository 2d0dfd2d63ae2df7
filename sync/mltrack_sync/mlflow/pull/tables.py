"""Pulling evaluation datasets with their records, scorers and label schemas, each once.

MLflow's own code keeps them (``workspace/mlflow.db``), so they come only where MLflow is installed. Versions of scorers
are found again by their content, label schemas by their names. What was changed here since it was last the same on both
sides stays, and what was changed there as well is named; what was deleted here after pushes from here had made it there
does not come back; what was deleted there stays here, and is named once.
"""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mltrack.errors import RemoteError, StoreError
from mltrack.text.counting import plural
from mltrack.text.printable import printable
from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.mlflow.api.capabilities import (
    EVALUATION_DATASETS,
    LABEL_SCHEMAS,
    SCORERS,
    UnsupportedFeatureError,
)
from mltrack_sync.mlflow.api.tables import TablesClient
from mltrack_sync.mlflow.plan.kinds import LABEL_SCHEMA, SCORER
from mltrack_sync.mlflow.plan.tables import common_versions, is_same_kind_of_schema, is_same_schema, version_print
from mltrack_sync.mlflow.pull.evaluation_datasets import DatasetsPull
from mltrack_sync.mlflow.pull.gone import note_gone
from mltrack_sync.mlflow.pull.local_tables import LocalTables

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from mltrack.mlflow_plugin.tables_reader import LabelSchema, ScorerVersions
    from mltrack_sync.http.shapes import Fields
    from mltrack_sync.ledger.tables import TableEntry
    from mltrack_sync.mlflow.api.tables import RemoteSchema
    from mltrack_sync.mlflow.pull.experiments import Experiments
    from mltrack_sync.mlflow.pull.session import PullSession

__all__ = ["TablesPull"]

EXPERIMENTS_AT_ONCE = 50


class TablesPull:
    """Brings what the server has of these in the selected experiments."""

    def __init__(self, session: PullSession, experiments: Experiments, experiment_ids: Sequence[str]) -> None:
        """``experiment_ids`` are the selected experiments on the server."""
        self._session = session
        self._experiments = experiments
        self._experiment_ids = experiment_ids
        self._client = TablesClient(session.client.transport)
        self._tables = LocalTables(session)

    def pull(self) -> None:
        """Bring what is new.

        Raises:
            RemoteError: see mltrack_sync.errors.
        """
        if importlib.util.find_spec("mlflow") is None:
            self._session.note("evaluation datasets, scorers and label schemas are not pulled: mlflow is not installed")
            return
        datasets = DatasetsPull(self._session, self._experiments, self._client, self._tables)
        for feature, work in (
            (EVALUATION_DATASETS, partial(datasets.pull, self._experiment_ids)),
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

    def _note_gone(self, kind: str, remote_id: str, names: Collection[str]) -> None:
        """Say once which scorers or label schemas that both sides had the server does not have any more."""
        home = next(iter(self._tables.known_homes([remote_id])), "")
        if self._session.options.dry_run or not home:
            return
        found = self._tables.read()
        here = {each.key: each.name for each in (found.scorers if kind == SCORER else found.schemas)}
        listed = {f"{home}/{name}" for name in names}
        known = self._session.ledger.state.tables
        gone = {
            key
            for key in here.keys() - listed
            if key.partition("/")[0] == home and (kind, key) in known and known[kind, key].fingerprint
        }
        note_gone(self._session, kind, gone, listed, here)

    # --- scorers ---

    def _pull_all_scorers(self) -> None:
        for start in range(0, len(self._experiment_ids), EXPERIMENTS_AT_ONCE):
            some = self._experiment_ids[start : start + EXPERIMENTS_AT_ONCE]
            if self._client.has_scorers(some):
                self._pull_each(some, self._pull_scorers)
            else:
                for remote_id in some:
                    self._note_gone(SCORER, remote_id, ())

    def _pull_scorers(self, remote_id: str) -> None:
        deleted, local = self._tables.deleted(), self._home(remote_id)
        names = self._client.scorer_names(remote_id)
        for name in names:
            self._session.check()
            if (SCORER, f"{local}/{name}") not in deleted:
                self._pull_scorer(remote_id, name)
        self._note_gone(SCORER, remote_id, names)

    def _pull_scorer(self, remote_id: str, name: str) -> None:
        on_server = self._client.scorer_versions(remote_id, name)
        key = f"{self._home(remote_id)}/{name}"
        before = {each.key: each for each in self._tables.read().scorers}.get(key)
        known = self._tables.entry(SCORER, key)
        here = Counter(map(version_print, before.versions if before is not None else ()))
        on_remote, both = Counter(map(version_print, on_server)), Counter(each[1:] for each in known.versions)
        have = here + (both - here)  # what was deleted here does not come back
        missing = []
        for serialized in on_server:
            content = version_print(serialized)
            if have[content]:
                have[content] -= 1
            else:
                missing.append(serialized)
        if (missing and self._tables.is_dry()) or self._session.options.dry_run:
            return
        what = f"scorer {printable(name)!r}"
        if lost := ((both - on_remote) & (here - on_remote)).total():
            were, they = ("was", "it stays") if lost == 1 else ("were", "they stay")
            self._session.note(f"{what}: {plural(lost, 'version')} {were} deleted on the server: {they} here")
        home = self._experiments.local(remote_id).experiment_id if missing else ""
        for serialized in missing:
            text = json.dumps(json.loads(serialized))
            if self._tables.write(what, partial(self._tables.tracking.register_scorer, home, name, text)) is None:
                return
        self._settle_scorer(f"{home}/{name}" if missing else key, known, before, missing, on_server)

    def _settle_scorer(
        self,
        key: str,
        known: TableEntry,
        before: ScorerVersions | None,
        missing: Sequence[str],
        on_server: Sequence[str],
    ) -> None:
        """Note which versions both sides have now, and that nothing waits to be sent where nothing did."""
        after = {each.key: each for each in self._tables.read().scorers}.get(key)
        if after is None:
            return
        here, on_remote = list(map(version_print, after.versions)), list(map(version_print, on_server))
        entry = replace(known, versions=common_versions(known.versions, here, on_remote))
        held = before.versions if before is not None else ()
        was_sent = before is not None and known.fingerprint == before.fingerprint
        if was_sent or not (known.fingerprint or Counter(here) - Counter(on_remote)):
            came = Counter(here) == Counter([*map(version_print, held), *map(version_print, missing)])
            fingerprint, sent = after.fingerprint if came else "", max(known.sent, len(after.versions))
            entry = replace(entry, fingerprint=fingerprint, sent=sent)
        if entry != known:
            self._session.ledger.table_sent(SCORER, key, entry)

    # --- label schemas ---

    def _pull_schemas(self, remote_id: str) -> None:
        here = {each.key: each for each in self._tables.read().schemas}
        deleted = {key for kind, key in self._tables.deleted() if kind == LABEL_SCHEMA}
        found = self._client.schemas(remote_id)
        for remote in found:
            key = f"{self._home(remote_id)}/{remote.name}"
            if key not in deleted and self._is_news(remote, here.get(key)) and not self._tables.is_dry():
                self._pull_schema(remote_id, remote, here.get(key))
        self._note_gone(LABEL_SCHEMA, remote_id, [each.name for each in found])

    def _is_news(self, remote: RemoteSchema, local: LabelSchema | None) -> bool:
        """Whether it is to be set here: it is not here, or was changed there and not here."""
        if local is None:
            return True
        known = self._tables.entry(LABEL_SCHEMA, local.key)
        if is_same_schema(local, remote.fields):
            if (known.fingerprint, known.version) != (local.fingerprint, remote.content):
                self._settle_schema(local, remote)
            return False
        if not known.fingerprint or known.version == remote.content:
            return False
        if known.fingerprint == local.fingerprint:
            return True
        self._session.note(f"label schema {printable(remote.name)!r} was changed here: it stays as it is here")
        return False

    def _pull_schema(self, remote_id: str, remote: RemoteSchema, local: LabelSchema | None) -> None:
        home = self._experiments.local(remote_id).experiment_id
        what = f"label schema {printable(remote.name)!r}"
        write = self._change_schema
        if local is None:
            write = self._create_schema
        elif not is_same_kind_of_schema(local, remote.fields):  # which can't be changed: it was made again there
            known = self._tables.entry(LABEL_SCHEMA, local.key)
            self._session.ledger.table_sent(LABEL_SCHEMA, local.key, replace(known, made=False))
            write = self._replace_schema
        if self._tables.write(what, partial(write, home, remote.fields)) is None:
            return
        now = {each.key: each for each in self._tables.read().schemas}[f"{home}/{remote.name}"]
        self._settle_schema(now, remote)

    def _settle_schema(self, now: LabelSchema, remote: RemoteSchema) -> None:
        """Note that it is here as it is there."""
        if not self._session.options.dry_run:
            known = self._tables.entry(LABEL_SCHEMA, now.key)
            entry = replace(known, fingerprint=now.fingerprint, version=remote.content)
            self._session.ledger.table_sent(LABEL_SCHEMA, now.key, entry)

    def _replace_schema(self, home: str, fields: Fields) -> Any:
        tracking = self._tables.tracking
        tracking.delete_label_schema(tracking.get_label_schema_by_name(home, _schema_of(fields).name).schema_id)
        return self._create_schema(home, fields)

    def _change_schema(self, home: str, fields: Fields) -> Any:
        given = _schema_of(fields)
        return self._tables.tracking.update_label_schema(
            self._tables.tracking.get_label_schema_by_name(home, given.name).schema_id,
            input=given.input,
            instruction=given.instruction or "",  # None would leave it as it is
            enable_comment=given.enable_comment,
        )

    def _create_schema(self, home: str, fields: Fields) -> Any:
        given = _schema_of(fields)
        return self._tables.tracking.create_label_schema(
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


def _schema_of(fields: Fields) -> Any:
    """MLflow's entity of a label schema."""
    from mlflow.genai.label_schemas import LabelSchema
    from mlflow.protos.label_schemas_pb2 import LabelSchema as Proto
    from mlflow.utils.proto_json_utils import parse_dict

    message = Proto()
    parse_dict(dict(fields), message)
    return LabelSchema.from_proto(message)
