"""Evaluation datasets with their records, scorers and label schemas, compared with those on the remote."""

from __future__ import annotations

import json
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from mltrack.environment import DATASET_ID_TAG, ORIGIN_DATASET_TAG
from mltrack.mlflow_plugin.tables_reader import (
    RECORD_FIELDS,
    EvaluationDataset,
    LabelSchema,
    ScorerVersions,
    read_records,
)
from mltrack.text.counting import plural
from mltrack_sync.ledger.tables import TableEntry
from mltrack_sync.mlflow.plan.kinds import EVALUATION_DATASET, LABEL_SCHEMA, SCORER
from mltrack_sync.mlflow.plan.origin import ORIGIN_TAGS
from mltrack_sync.mlflow.plan.tables import answers_text, same_content
from mltrack_sync.mlflow.verify.findings import NOTHING, Findings

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from mltrack.store import Store
    from mltrack_sync.mlflow.api.tables import RemoteDataset, TablesClient
    from mltrack_sync.mlflow.plan.pending_tables import DeletedItem
    from mltrack_sync.mlflow.verify.remote_ids import RemoteIds

__all__ = ["TableItem", "TablesVerify", "kind_of"]

TableItem = EvaluationDataset | ScorerVersions | LabelSchema


def kind_of(item: TableItem) -> str:
    """What it is in the ledger."""
    if isinstance(item, EvaluationDataset):
        return EVALUATION_DATASET
    return SCORER if isinstance(item, ScorerVersions) else LABEL_SCHEMA


class TablesVerify:
    """Compares one after the other; ``waiting`` are the kinds and keys of what the ledger lacks."""

    def __init__(
        self, store: Store, client: TablesClient, ids: RemoteIds, waiting: Collection[tuple[str, str]]
    ) -> None:
        self._store = store
        self._client = client
        self._ids = ids
        self._waiting = waiting
        self._lock = threading.Lock()
        self._datasets: list[RemoteDataset] | None = None

    def compare(self, item: TableItem) -> Findings:
        """Compare one.

        Raises:
            RemoteError: see mltrack_sync.errors.
        """
        kind = kind_of(item)
        findings = Findings(subject=f"{kind} {item.name}", kind=kind, key=item.key)
        findings.waits = (kind, item.key) in self._waiting
        if isinstance(item, EvaluationDataset):
            self._dataset(item, findings)
        elif isinstance(item, ScorerVersions):
            self._scorer(item, findings)
        else:
            self._schema(item, findings)
        findings.counts["evaluation_items"] += 1
        return findings

    def compare_deleted(self, item: DeletedItem) -> Findings:
        """See whether what was deleted here is still on the remote: it waits to be deleted."""
        name = item.key.partition("/")[2] or item.key
        findings = Findings(subject=f"{item.kind} {name}", kind=item.kind, key=item.key, waits=True)
        if item.kind == EVALUATION_DATASET:
            present = any(each.dataset_id == item.entry.remote for each in self._all_datasets())
        elif item.kind == SCORER:
            present = any(self._client.scorer_versions(place, name) for place in self._places(item.key))
        else:
            present = any(each.name == name for place in self._places(item.key) for each in self._client.schemas(place))
        if present:
            findings.differs(item.kind, NOTHING, "present")
        return findings

    def _entry(self, kind: str, key: str) -> TableEntry:
        return self._ids.state.tables.get((kind, key)) or TableEntry()

    def _places(self, key: str) -> list[str]:
        """The remote experiments of a scorer or label schema."""
        experiment_id = key.partition("/")[0]
        experiment = self._store.workspace.experiments().get(experiment_id)
        return self._ids.experiment_ids(experiment_id, experiment.name if experiment is not None else "")

    def _all_datasets(self) -> list[RemoteDataset]:
        with self._lock:
            if self._datasets is None:
                self._datasets = list(self._client.datasets())
            return self._datasets

    def _dataset(self, dataset: EvaluationDataset, findings: Findings) -> None:
        mark = dataset.tags.get(DATASET_ID_TAG, dataset.dataset_id)
        ids = {
            self._entry(EVALUATION_DATASET, dataset.key).remote,
            self._ids.origin.own_id(dataset.tags, ORIGIN_DATASET_TAG),
        }
        found = [
            each for each in self._all_datasets() if each.dataset_id in ids or each.tags.get(DATASET_ID_TAG) == mark
        ]
        records = read_records(self._store, dataset.dataset_id)
        if len(found) != 1:
            shown = f"present {len(found)} times" if found else NOTHING
            findings.differs("evaluation dataset", f"present with {plural(len(records), 'record')}", shown)
            return
        findings.equal("name", dataset.name, found[0].name)
        keys = {*dataset.tags, *self._entry(EVALUATION_DATASET, dataset.key).tags} - {DATASET_ID_TAG, *ORIGIN_TAGS}
        findings.counts["tags"] += findings.texts("tag", dataset.tags, found[0].tags, keys)
        local = Counter(map(_record, records))
        remote = Counter(_record(row) for page in self._client.records(found[0].dataset_id) for row in page)
        if missing := (local - remote).total():
            findings.differs("records", f"{plural(missing, 'record')} of its own", NOTHING)
        if more := (remote - local).total():
            findings.differs("records", NOTHING, f"{plural(more, 'record')} of its own")

    def _scorer(self, scorer: ScorerVersions, findings: Findings) -> None:
        on_remote = [
            text for place in self._places(scorer.key) for text in self._client.scorer_versions(place, scorer.name)
        ]
        local, remote = Counter(map(same_content, scorer.versions)), Counter(map(same_content, on_remote))
        if not on_remote:
            findings.differs("scorer", f"present with {plural(len(scorer.versions), 'version')}", NOTHING)
        elif missing := (local - remote).total():
            findings.differs("versions", f"{plural(missing, 'version')} more", NOTHING)

    def _schema(self, schema: LabelSchema, findings: Findings) -> None:
        for place in self._places(schema.key):
            for remote in self._client.schemas(place):
                if remote.name == schema.name:
                    fields = remote.fields
                    findings.equal("type", schema.kind.upper(), fields.get("type"))
                    findings.equal("instruction", schema.instruction or "", fields.get("instruction") or "")
                    findings.equal("enable_comment", schema.enable_comment, bool(fields.get("enable_comment")))
                    findings.equal(
                        "input",
                        answers_text({schema.input_kind: schema.input}),
                        answers_text(fields.get("input") or {}),
                    )
                    return
        findings.differs("label schema", "present", NOTHING)


def _record(row: Mapping[str, Any]) -> str:
    return json.dumps({name: row[name] for name in RECORD_FIELDS if row.get(name) not in (None, {})}, sort_keys=True)
