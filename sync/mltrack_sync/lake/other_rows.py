"""What a push sends besides runs: the rows that changed of experiments, the registry, logged models and traces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mltrack.errors import NotFoundError
from mltrack_sync.lake.blobs import BlobChangedError
from mltrack_sync.lake.latest_rows import as_deleted, changed_rows, key_of, latest_rows
from mltrack_sync.lake.scan import LakeScan
from mltrack_sync.lake.unit_rows import UNIT_TABLES, logged_model_row, trace_rows, workspace_rows
from mltrack_sync.ledger.stores import unit_line
from mltrack_sync.ledger.traces import traces_line

if TYPE_CHECKING:
    from mltrack.store import Store
    from mltrack_sync.lake.batches import Batches
    from mltrack_sync.lake.blobs import Blobs
    from mltrack_sync.lake.fact_rows import Row
    from mltrack_sync.lake.tables import LakeTables
    from mltrack_sync.ledger.view import LedgerView

__all__ = ["OtherRows", "UnitRows"]

TRACES_AT_ONCE = 200


@dataclass(slots=True)
class UnitRows:
    """Rows by table, what the ledger says once they are in the lake, what could not be sent, and what to count."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=Counter)


@dataclass(slots=True)
class OtherRows:
    """Makes the rows of units that are not runs.

    Attributes:
        store: The store.
        tables: The lake.
        batches: Says which numbers come next.
        blobs: Takes the files of logged models.
        state: The ledger.
    """

    store: Store
    tables: LakeTables
    batches: Batches
    blobs: Blobs
    state: LedgerView
    _scan: LakeScan | None = None

    def of_unit(self, unit: str, token: str) -> Iterator[UnitRows]:
        """The rows of a unit that changed, in pieces.

        Raises:
            NotFoundError: it does not exist any more.
            StoreError, OSError: it can't be read.
            RemoteError: the lake can't be used.
        """
        area, _, name = unit.partition("/")
        if area == "workspace":
            yield self._workspace()
            yield UnitRows(lines=[unit_line(unit, token)])
        elif area == "models":
            yield self._logged_model(name, unit, token)
        elif area == "traces":
            yield from self._traces(name)
            yield UnitRows(lines=[unit_line(unit, token)])

    def _lake(self) -> LakeScan:
        if self._scan is None:
            self._scan = LakeScan(self.tables)
        return self._scan

    def _workspace(self) -> UnitRows:
        found = UnitRows()
        revision = {table: self.batches.next_number(table) for table in UNIT_TABLES}
        for table, rows in workspace_rows(self.store, revision).items():
            latest = latest_rows(self._lake(), table, self.store.store_id)
            changed = changed_rows(rows, latest, table)
            keys = {key_of(table, row) for row in rows}
            gone = [row for key, row in latest.items() if key not in keys]
            deleted = [as_deleted(row, table, revision[table]) for row in gone]
            found.rows[table] = changed + changed_rows(deleted, latest, table)
        found.counts["models"] += len(found.rows["registered_models"])
        found.counts["model_versions"] += len(found.rows["model_versions"])
        return found

    def _logged_model(self, model_id: str, unit: str, token: str) -> UnitRows:
        found = UnitRows()
        model = self.store.logged_models.get(model_id)
        folder = self.store.logged_models.folder(model_id)
        sent = []
        for file in model.artifacts:
            if file.remote:
                continue
            try:
                found.counts["artifacts"] += self.blobs.put(folder.artifacts / file.path, file.sha256, file.size)
                sent.append(file)
            except (BlobChangedError, NotFoundError, OSError) as error:
                found.problems.append(f"logged model {model_id}: {file.path!r}: {error}")
        revision = self.batches.next_number("logged_models")
        row = logged_model_row(self.store.store_id, model, sent, revision)
        latest = latest_rows(self._lake(), "logged_models", self.store.store_id, "model_id", [model_id])
        found.rows["logged_models"] = changed_rows([row], latest, "logged_models")
        found.counts["logged_models"] += len(found.rows["logged_models"])
        if not found.problems:
            found.lines.append(unit_line(unit, token))
        return found

    def _traces(self, experiment_id: str) -> Iterator[UnitRows]:
        """Traces that have new facts since they were sent, and those that were deleted."""
        known = self.state.traces
        changes = self.store.traces.changes(known.positions)
        prefix = f"{experiment_id}/"
        positions = {name: at for name, at in changes.positions.items() if name.startswith(prefix)}
        ids = list(changes.trace_ids)
        for at in range(0, len(ids), TRACES_AT_ONCE):
            yield self._some_traces(experiment_id, ids[at : at + TRACES_AT_ONCE])
        yield UnitRows(lines=[traces_line({**self.state.traces.positions, **positions}, {})])

    def _some_traces(self, experiment_id: str, ids: list[str]) -> UnitRows:
        found = UnitRows()
        revision = self.batches.next_number("traces")
        traces = [trace for trace in self.store.traces.find_some(ids) if trace.experiment_id == experiment_id]
        latest = latest_rows(self._lake(), "traces", self.store.store_id, "trace_id", ids)
        rows = changed_rows(trace_rows(self.store, traces, revision), latest, "traces")
        here = {trace.trace_id for trace in self.store.traces.find_some(ids)}
        gone = [
            as_deleted(row, "traces", revision)
            for (_, trace_id), row in latest.items()
            if trace_id not in here and row[2] == experiment_id
        ]
        found.rows["traces"] = rows + changed_rows(gone, latest, "traces")
        found.counts["traces"] += len(found.rows["traces"])
        return found
