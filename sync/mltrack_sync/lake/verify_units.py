"""Experiments, the registry, logged models and traces of a store compared with the last rows in a lake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mltrack.errors import NotFoundError
from mltrack_sync.lake.latest_rows import key_of, latest_rows
from mltrack_sync.lake.layout import TABLES
from mltrack_sync.lake.unit_rows import UNIT_TABLES, logged_model_row, trace_rows, workspace_rows
from mltrack_sync.report import Difference
from mltrack_sync.stores.local_source import LocalSource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mltrack.store import Store
    from mltrack_sync.lake.fact_rows import Row
    from mltrack_sync.lake.scan import LakeScan
    from mltrack_sync.selection import Selection

__all__ = ["compare_units"]

_COUNTED = {
    "registered_models": "models",
    "model_versions": "model_versions",
    "logged_models": "logged_models",
    "traces": "traces",
}
TRACES_AT_ONCE = 200


def compare_units(
    store: Store, scan: LakeScan, selection: Selection, differences: list[Difference], counts: dict[str, Any]
) -> None:
    """Compare what belongs to a selection besides its runs; add to the differences and the counts.

    Raises:
        RemoteError: the lake can't be read.
        StoreError, OSError: the store can't be read.
    """
    for unit in LocalSource(store).other_units(selection):
        area, _, name = unit.unit.partition("/")
        if area == "workspace":
            for table, rows in workspace_rows(store, dict.fromkeys(UNIT_TABLES, 0)).items():
                latest = latest_rows(scan, table, store.store_id)
                _compare(table, rows, latest, differences, counts)
                _find_removed(table, rows, latest, differences)
        elif area == "models":
            _compare_model(store, scan, name, differences, counts)
        elif area == "traces":
            _compare_traces(store, scan, name, differences, counts)


def _compare_model(
    store: Store, scan: LakeScan, model_id: str, differences: list[Difference], counts: dict[str, Any]
) -> None:
    try:
        model = store.logged_models.get(model_id)
    except NotFoundError:
        return
    row = logged_model_row(store.store_id, model, [each for each in model.artifacts if not each.remote], 0)
    latest = latest_rows(scan, "logged_models", store.store_id, "model_id", [model_id])
    _compare("logged_models", [row], latest, differences, counts)


def _compare_traces(
    store: Store, scan: LakeScan, experiment_id: str, differences: list[Difference], counts: dict[str, Any]
) -> None:
    traces = [trace for trace in store.traces.all() if trace.experiment_id == experiment_id]
    for at in range(0, len(traces), TRACES_AT_ONCE):
        some = traces[at : at + TRACES_AT_ONCE]
        latest = latest_rows(scan, "traces", store.store_id, "trace_id", [trace.trace_id for trace in some])
        _compare("traces", trace_rows(store, some, 0), latest, differences, counts)


def _compare(
    table: str, rows: Iterable[Row], latest: dict[Row, Row], differences: list[Difference], counts: dict[str, Any]
) -> None:
    names = TABLES[table].schema.names
    for row in rows:
        key = key_of(table, row)
        if table in _COUNTED:
            counts[_COUNTED[table]] += 1
        held = latest.get(key)
        subject = f"{table.rstrip('s').replace('_', ' ')} {' '.join(map(str, key[1:]))}"
        if held is None:
            differences.append(Difference("", table, "exists", "missing", subject=subject))
            continue
        for name, here, far in list(zip(names, row, held, strict=True))[:-1]:
            if here != far:
                differences.append(Difference("", name, f"{here!r:.200}", f"{far!r:.200}", subject=subject))


def _find_removed(table: str, rows: list[Row], latest: dict[Row, Row], differences: list[Difference]) -> None:
    """What the lake has and the store does not have any more."""
    names = TABLES[table].schema.names
    keys = {key_of(table, row) for row in rows}
    for key, row in latest.items():
        if key not in keys and not ("deleted" in names and row[names.index("deleted")]):
            subject = f"{table.rstrip('s').replace('_', ' ')} {' '.join(map(str, key[1:]))}"
            differences.append(Difference("", table, "deleted", "exists", subject=subject))
