"""Pulling evaluation datasets: found again by the tag that says which one of the server each is."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from mltrack.environment import DATASET_ID_TAG, ORIGIN_DATASET_TAG, ORIGIN_TAG
from mltrack.text.printable import printable
from mltrack_sync.ledger.tables import TableEntry
from mltrack_sync.mlflow.plan.kinds import EVALUATION_DATASET
from mltrack_sync.mlflow.plan.origin import ORIGIN_TAGS
from mltrack_sync.mlflow.plan.tables import content_print, tag_prints
from mltrack_sync.mlflow.pull.gone import note_gone
from mltrack_sync.mlflow.pull.records import RecordsPull

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from mltrack.mlflow_plugin.tables_reader import EvaluationDataset
    from mltrack_sync.mlflow.api.tables import RemoteDataset, TablesClient
    from mltrack_sync.mlflow.pull.experiments import Experiments
    from mltrack_sync.mlflow.pull.local_tables import LocalTables
    from mltrack_sync.mlflow.pull.session import PullSession

__all__ = ["DatasetsPull"]


class DatasetsPull:
    """Brings the datasets of the selected experiments."""

    def __init__(
        self, session: PullSession, experiments: Experiments, client: TablesClient, tables: LocalTables
    ) -> None:
        self._session = session
        self._experiments = experiments
        self._client = client
        self._tables = tables

    def pull(self, experiment_ids: Sequence[str]) -> None:
        """Bring what is new in these experiments of the server.

        Raises:
            RemoteError: see mltrack_sync.errors.
        """
        if not experiment_ids:
            return
        deleted = self._tables.deleted()
        listed = list(self._client.datasets(experiment_ids))
        for remote in listed:
            self._session.check()
            if (EVALUATION_DATASET, remote.dataset_id) not in deleted:
                self._pull_dataset(remote)
        if not self._session.options.dry_run:
            self._note_gone(experiment_ids, {each.dataset_id for each in listed})

    def _pull_dataset(self, remote: RemoteDataset) -> None:
        here = {each.dataset_id: each for each in self._tables.read().datasets}
        local = self._local(remote, here)
        known = TableEntry() if local is None else self._tables.entry(EVALUATION_DATASET, local.dataset_id)
        was_sent = local is None or known.fingerprint == local.fingerprint
        what = f"evaluation dataset {printable(remote.name)!r}"
        tags = {key: value for key, value in remote.tags.items() if key not in (DATASET_ID_TAG, *ORIGIN_TAGS)}
        new, gone = ({}, []) if local is None else self._changed_tags(what, local, tags, known, was_sent=was_sent)
        has_records = local is None or known.version != remote.version  # new ones, changed ones, or fewer
        if not (has_records or new or gone):
            return
        is_news = bool(local is None or new or gone)
        if self._session.options.dry_run:
            records = self._records(what, "" if local is None else local.dataset_id, known, was_sent=was_sent)
            if is_news or records.pull(self._client.records(remote.dataset_id)):
                self._tables.is_dry()
            return
        dataset_id = self._make(what, remote, tags) if local is None else local.dataset_id
        if not dataset_id:
            return
        self._put_tags(what, dataset_id, new, gone)
        records = self._records(what, dataset_id, known, was_sent=was_sent)
        if (has_records and records.pull(self._client.records(remote.dataset_id))) or is_news:
            self._session.count(evaluation_items=1)
        self._settle(dataset_id, remote, records, tags, was_sent=was_sent)

    def _records(self, what: str, dataset_id: str, known: TableEntry, *, was_sent: bool) -> RecordsPull:
        return RecordsPull(self._session, self._tables, what, dataset_id, known, sent=was_sent)

    def _make(self, what: str, remote: RemoteDataset, tags: Mapping[str, str]) -> str:
        """Make it here; returns its id, "" if that was refused."""
        homes = [self._experiments.local(each) for each in self._client.dataset_experiments(remote.dataset_id)]
        own = {ORIGIN_TAG: self._session.origin.url, ORIGIN_DATASET_TAG: remote.dataset_id}
        ids = [each.experiment_id for each in homes]
        create = partial(self._tables.tracking.create_dataset, remote.name, {**tags, **own}, ids)
        made = self._tables.write(what, create)
        return "" if made is None else str(made.dataset_id)

    def _local(self, remote: RemoteDataset, here: dict[str, EvaluationDataset]) -> EvaluationDataset | None:
        """What it is here: what was pushed from here, or pulled before."""
        own = here.get(remote.tags.get(DATASET_ID_TAG, ""))
        if own is not None:
            return own
        for dataset in here.values():
            if self._session.origin.own_id(dataset.tags, ORIGIN_DATASET_TAG) == remote.dataset_id:
                return dataset
        return None

    # --- tags ---

    def _changed_tags(
        self, what: str, local: EvaluationDataset, tags: Mapping[str, str], known: TableEntry, *, was_sent: bool
    ) -> tuple[dict[str, str], list[str]]:
        """The server's tags that are to be set here, and the names of those that are to be removed.

        What was changed here since both sides had the same stays, which is said if it was changed there as well.
        """
        new: dict[str, str] = {}
        for key, value in tags.items():
            mine, held = local.tags.get(key), known.tag_prints.get(key, "")
            if mine is None:
                if key not in known.tags:
                    new[key] = value
            elif mine != value and (content_print(mine) == held if held else was_sent):
                new[key] = value
            elif mine != value and content_print(value) != held:
                self._session.note(f"{what}: tag {printable(key)!r} was changed here: it stays as it is here")
        gone = [
            key
            for key in known.tags
            if key in local.tags and key not in tags
            if (content_print(local.tags[key]) == known.tag_prints[key] if key in known.tag_prints else was_sent)
        ]
        return new, gone

    def _put_tags(self, what: str, dataset_id: str, new: Mapping[str, str], gone: Collection[str]) -> None:
        tracking = self._tables.tracking
        if new:
            self._tables.write(what, partial(tracking.set_dataset_tags, dataset_id, dict(new)))
        for key in gone:
            self._tables.write(what, partial(tracking.delete_dataset_tag, dataset_id, key))

    # --- what is known afterwards ---

    def _settle(
        self, dataset_id: str, remote: RemoteDataset, records: RecordsPull, tags: Mapping[str, str], *, was_sent: bool
    ) -> None:
        """Note what is here as the server has it; a dataset without changes of its own need not be sent back."""
        now = next(each for each in self._tables.read().datasets if each.dataset_id == dataset_id)
        is_same = was_sent and not records.has_unsent()
        known = self._tables.entry(EVALUATION_DATASET, dataset_id)
        sent = max(known.sent, now.records) if is_same else known.sent  # what waits to be sent is not there yet
        both = {key: value for key, value in tags.items() if now.tags.get(key) == value}
        names = {*both, *(key for key in known.tags if key in now.tags or key in tags)}
        entry = replace(
            known,
            remote=remote.dataset_id,
            fingerprint=now.fingerprint if is_same else "",
            version=known.version if records.has_conflicts else remote.version,
            sent=sent,
            tags=tuple(sorted(names)),
            tag_prints={**{key: text for key, text in known.tag_prints.items() if key in names}, **tag_prints(both)},
            until=now.latest_ms if is_same else known.until,
        )
        self._session.ledger.table_sent(EVALUATION_DATASET, dataset_id, entry)

    def _note_gone(self, experiment_ids: Sequence[str], listed: Collection[str]) -> None:
        """Say once which ones that both sides had the server does not have any more."""
        homes = self._tables.known_homes(experiment_ids)
        everything = self._session.options.selection.everything
        names = {
            entry.remote: each.name
            for each in self._tables.read().datasets
            if everything or homes.intersection(each.experiment_ids)
            if (entry := self._tables.entry(EVALUATION_DATASET, each.key)).remote
        }
        unlisted = names.keys() - listed
        if unlisted:  # of another experiment there, perhaps
            unlisted -= {each.dataset_id for each in self._client.datasets()}
        note_gone(self._session, EVALUATION_DATASET, unlisted, listed, names)
