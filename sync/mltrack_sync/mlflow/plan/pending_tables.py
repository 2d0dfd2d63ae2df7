"""What a remote lacks of evaluation datasets, scorers and label schemas, which MLflow's tables of the store hold."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from mltrack.errors import StoreError
from mltrack.mlflow_plugin.tables_reader import FILE, read_tables
from mltrack_sync.ledger.tables import TableEntry
from mltrack_sync.mlflow.api.capabilities import EVALUATION_DATASETS, LABEL_SCHEMAS, SCORERS
from mltrack_sync.mlflow.plan.kinds import EVALUATION_DATASET, LABEL_SCHEMA, SCORER

if TYPE_CHECKING:
    from mltrack.mlflow_plugin.tables_reader import EvaluationDataset, LabelSchema, ScorerVersions, Tables
    from mltrack.store import Store
    from mltrack_sync.ledger.view import LedgerView
    from mltrack_sync.selection import Selection

__all__ = ["FEATURES", "DeletedItem", "PendingTables", "deleted_here", "find_pending_tables", "tables_time"]

FEATURES = {EVALUATION_DATASET: EVALUATION_DATASETS, SCORER: SCORERS, LABEL_SCHEMA: LABEL_SCHEMAS}
"""What a remote must support to have each kind."""

Item = TypeVar("Item", "EvaluationDataset", "LabelSchema", "ScorerVersions")


@dataclass(frozen=True, slots=True)
class DeletedItem:
    """One that was pushed and is not here any more: its kind, its key, and what the ledger knows."""

    kind: str
    key: str
    entry: TableEntry


@dataclass(frozen=True, slots=True)
class PendingTables:
    """Those that are missing or different on the remote, and those to be deleted there.

    ``file`` is the number of the file that they are in, ``unreadable`` says what is wrong with it.
    """

    datasets: tuple[EvaluationDataset, ...] = ()
    scorers: tuple[ScorerVersions, ...] = ()
    schemas: tuple[LabelSchema, ...] = ()
    deleted: tuple[DeletedItem, ...] = ()
    file: int = 0
    unreadable: str = ""

    def __len__(self) -> int:
        return len(self.datasets) + len(self.scorers) + len(self.schemas) + len(self.deleted)

    def by_feature(self) -> dict[str, Sequence[object]]:
        """By what a remote must support."""
        items = {EVALUATION_DATASETS: self.datasets, SCORERS: self.scorers, LABEL_SCHEMAS: self.schemas}
        return {
            feature: [*some, *(each for each in self.deleted if FEATURES[each.kind] == feature)]
            for feature, some in items.items()
        }

    def without(self, unsupported: frozenset[str]) -> PendingTables:
        """What is left for a remote without these features."""
        return replace(
            self,
            datasets=() if EVALUATION_DATASETS in unsupported else self.datasets,
            scorers=() if SCORERS in unsupported else self.scorers,
            schemas=() if LABEL_SCHEMAS in unsupported else self.schemas,
            deleted=tuple(each for each in self.deleted if FEATURES[each.kind] not in unsupported),
        )


def find_pending_tables(store: Store, state: LedgerView, selection: Selection, *, retry: bool = False) -> PendingTables:
    """What of these the ledger does not have, if everything is selected: they belong to no run.

    Args:
        store: The store.
        state: The ledger.
        selection: What is selected.
        retry: Whether to retry what was rejected.
    """
    if not selection.everything:
        return PendingTables()
    try:
        found = read_tables(store)
    except StoreError as error:
        return PendingTables(unreadable=str(error))
    rejected = set() if retry else {(item.kind, item.key) for item in state.rejected.values() if not item.run_id}
    experiments = store.workspace.experiments().keys() if found.datasets or found.scorers or found.schemas else ()

    def pending(kind: str, items: Sequence[Item]) -> tuple[Item, ...]:
        return tuple(
            item
            for item in items
            if (kind, item.key) not in rejected
            and state.tables.get((kind, item.key), TableEntry()).fingerprint != item.fingerprint
        )

    return PendingTables(
        pending(EVALUATION_DATASET, found.datasets),
        pending(SCORER, [each for each in found.scorers if each.experiment_id in experiments]),
        pending(LABEL_SCHEMA, [each for each in found.schemas if each.experiment_id in experiments]),
        tuple(
            each
            for each in deleted_here(found, state.tables, tables_time(store))
            if (each.kind, each.key) not in rejected
        ),
        found.file,
    )


def deleted_here(found: Tables, known: Mapping[tuple[str, str], TableEntry], file_time: int) -> tuple[DeletedItem, ...]:
    """Those that pushes from here made on the remote, and that are not here any more.

    None if there is no file (``file_time`` is 0), or another one than they were pushed from: a store that lost it, or a
    copy without it, deletes nothing.
    """
    if not file_time:
        return ()
    here = {
        *((EVALUATION_DATASET, each.key) for each in found.datasets),
        *((SCORER, each.key) for each in found.scorers),
        *((LABEL_SCHEMA, each.key) for each in found.schemas),
    }
    made = (DeletedItem(kind, key, entry) for (kind, key), entry in list(known.items()) if _made_from(entry, found))
    return tuple(each for each in made if (each.kind, each.key) not in here)


def _made_from(entry: TableEntry, found: Tables) -> bool:
    return entry.made and entry.file == found.file


def tables_time(store: Store) -> int:
    """When the file was changed last, in ns since the epoch; 0 where there is none."""
    try:
        return os.stat(store.layout.workspace / FILE).st_mtime_ns
    except OSError:
        return 0
