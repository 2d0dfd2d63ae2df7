"""Reads from ``mlflow.db`` what syncs send: evaluation datasets, scorers, label schemas. Imports nothing of MLflow."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mltrack.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from mltrack.store import Store

__all__ = [
    "RECORD_FIELDS",
    "EvaluationDataset",
    "LabelSchema",
    "ScorerVersions",
    "StoredRecord",
    "Tables",
    "read_records",
    "read_tables",
    "stored_records",
]

FILE = "mlflow.db"
RECORD_FIELDS = ("inputs", "outputs", "expectations", "tags", "source")
WRAPPED = "mlflow_wrapped"
"""The key under which MLflow's table has the outputs of a record."""
WAIT_S = 10.0
"""How long to wait for a process that writes to the file."""


@dataclass(frozen=True, slots=True)
class EvaluationDataset:
    """A dataset without its records; ``change`` is a text that differs after any change of these, ``records`` how many.

    ``latest_ms`` is when the last of them was changed, in ms since the epoch, but a time before it was read: what is
    changed later, in the same millisecond even, is changed after it.
    """

    dataset_id: str
    name: str
    tags: Mapping[str, str]
    experiment_ids: tuple[str, ...]
    change: str
    records: int = 0
    latest_ms: int = 0

    @property
    def key(self) -> str:
        """Its id."""
        return self.dataset_id

    @property
    def fingerprint(self) -> str:
        """A text that changes with it."""
        return _fingerprint(self.name, dict(self.tags), self.experiment_ids, self.change)


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record of a dataset as MLflow's API takes it, its id, and when it was made and changed (ms since the epoch)."""

    record: dict[str, Any]
    record_id: str
    made_ms: int
    changed_ms: int


@dataclass(frozen=True, slots=True)
class ScorerVersions:
    """A scorer of an experiment: its versions as MLflow's JSON texts, the oldest first."""

    experiment_id: str
    name: str
    versions: tuple[str, ...]

    @property
    def key(self) -> str:
        """Its experiment and its name."""
        return f"{self.experiment_id}/{self.name}"

    @property
    def fingerprint(self) -> str:
        """A text that changes with it."""
        return _fingerprint(self.versions)


@dataclass(frozen=True, slots=True)
class LabelSchema:
    """A question for reviewers; ``input_kind`` is such as ``categorical``, ``input`` says what may be answered."""

    experiment_id: str
    name: str
    kind: str
    instruction: str | None
    enable_comment: bool
    input_kind: str
    input: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Its experiment and its name."""
        return f"{self.experiment_id}/{self.name}"

    @property
    def fingerprint(self) -> str:
        """A text that changes with it."""
        return _fingerprint(self.kind, self.instruction, self.enable_comment, self.input_kind, dict(self.input))


@dataclass(frozen=True, slots=True)
class Tables:
    """What the file holds of these; label schemas without those that MLflow makes by itself.

    ``file`` is the number of the file, which its copies have, too; 0 for none.
    """

    datasets: tuple[EvaluationDataset, ...] = ()
    scorers: tuple[ScorerVersions, ...] = ()
    schemas: tuple[LabelSchema, ...] = field(default=())
    file: int = 0


def read_tables(store: Store) -> Tables:
    """What the store's file holds; nothing where there is none.

    Raises:
        StoreError: it can't be read.
    """
    path = store.layout.workspace / FILE
    if not path.exists():
        return Tables()
    with _opened(path) as database:
        (number,) = database.execute("PRAGMA application_id").fetchone()
        return Tables(tuple(_datasets(database)), tuple(_scorers(database)), tuple(_schemas(database)), number)


def read_records(store: Store, dataset_id: str) -> list[dict[str, Any]]:
    """The records of a dataset as MLflow's API takes them, in the order in which they were made.

    Raises:
        StoreError: they can't be read.
    """
    return [stored.record for stored in stored_records(store, dataset_id)]


def stored_records(store: Store, dataset_id: str) -> list[StoredRecord]:
    """The records of a dataset with their ids and times, in the order in which they were made.

    Raises:
        StoreError: they can't be read.
    """
    query = (
        f"SELECT dataset_record_id, created_time, last_update_time, {', '.join(RECORD_FIELDS)}"
        " FROM evaluation_dataset_records WHERE dataset_id = ? ORDER BY created_time, dataset_record_id"
    )
    with _opened(store.layout.workspace / FILE) as database:
        rows = database.execute(query, (dataset_id,)).fetchall()
        return [StoredRecord(_record(texts), row_id, made or 0, changed or 0) for row_id, made, changed, *texts in rows]


def _record(texts: Sequence[str | None]) -> dict[str, Any]:
    given = {name: text for name, text in zip(RECORD_FIELDS, texts, strict=True) if text not in (None, "null")}
    record = {name: json.loads(text) for name, text in given.items() if text is not None}
    outputs = record.get("outputs")
    if isinstance(outputs, dict) and outputs.keys() == {WRAPPED}:
        record["outputs"] = outputs[WRAPPED]
    return record


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=WAIT_S)
        ) as database:
            yield database
    except (sqlite3.Error, ValueError) as error:
        raise StoreError(f"{path} can't be read: {error}", hint="is it MLflow's, and whole?") from error


def _datasets(database: sqlite3.Connection) -> Iterator[EvaluationDataset]:
    tags: dict[str, dict[str, str]] = defaultdict(dict)
    for dataset_id, key, value in database.execute("SELECT dataset_id, key, value FROM evaluation_dataset_tags"):
        tags[dataset_id][key] = value
    homes: dict[str, list[str]] = defaultdict(list)
    linked = (
        "SELECT source_id, destination_id FROM entity_associations"
        " WHERE source_type = 'evaluation_dataset' AND destination_type = 'experiment' ORDER BY 1, 2"
    )
    for dataset_id, experiment_id in database.execute(linked):
        homes[dataset_id].append(str(experiment_id))
    counted = (
        "SELECT d.dataset_id, d.name, d.digest, count(r.dataset_id), max(r.last_update_time)"
        " FROM evaluation_datasets d LEFT JOIN evaluation_dataset_records r USING (dataset_id)"
        " GROUP BY d.dataset_id ORDER BY d.created_time, d.dataset_id"
    )
    before_ms = time.time_ns() // 1_000_000 - 1
    for dataset_id, name, digest, records, latest in database.execute(counted):
        change = f"{digest} {records} {latest}"
        latest_ms = min(latest or 0, before_ms)
        linked_to = tuple(homes[dataset_id])
        yield EvaluationDataset(dataset_id, name, tags[dataset_id], linked_to, change, records, latest_ms)


def _scorers(database: sqlite3.Connection) -> Iterator[ScorerVersions]:
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    query = (
        "SELECT s.experiment_id, s.scorer_name, v.serialized_scorer FROM scorers s JOIN scorer_versions v"
        " USING (scorer_id) ORDER BY s.experiment_id, s.scorer_name, v.scorer_version"
    )
    for experiment_id, name, text in database.execute(query):
        found[str(experiment_id), name].append(text)
    for (experiment_id, name), versions in found.items():
        yield ScorerVersions(experiment_id, name, tuple(versions))


def _schemas(database: sqlite3.Connection) -> Iterator[LabelSchema]:
    query = (
        "SELECT experiment_id, name, type, instruction, enable_comment, input_type, input_config FROM label_schemas"
        " WHERE NOT is_default ORDER BY created_time, schema_id"
    )
    for experiment_id, name, kind, instruction, comment, input_kind, config in database.execute(query):
        yield LabelSchema(
            str(experiment_id), name, kind, instruction, bool(comment), input_kind, json.loads(config or "{}")
        )


def _fingerprint(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
