"""Alerts in a lake: they are among its events, with what was done about them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from mltrack.disk.arrow_columns import value_column
from mltrack.disk.codec import BadLine, decode_line
from mltrack.disk.line_types import EVENTS
from mltrack.entities import Alert, Event
from mltrack.storage.runs.event_rules import RULES
from mltrack_sync.lake.texts import map_column, text_column

if TYPE_CHECKING:
    from mltrack_sync.lake.scan import LakeScan

__all__ = ["alert_rows"]

ALERT, ACTION = "alert", "alert_action"


def alert_rows(scan: LakeScan) -> pa.Table:
    """All alerts, each once, as the catalog of a store has them.

    Raises:
        RemoteError: the lake can't be read.
    """
    alerts: dict[tuple[str, str], Alert] = {}
    done: dict[tuple[str, str], dict[str, str]] = {}
    for run_id, event in sorted(_events(scan), key=lambda found: (found[1].time, found[1].writer, found[1].seq)):
        rule = RULES[event.type]
        if event.type == ALERT:
            alerts.setdefault((run_id, rule.key(event)), rule.value(event))
        else:
            alert_id, action = rule.key(event)
            done.setdefault((run_id, alert_id), {})[action] = rule.value(event)
    found = {key: replace(one, actions={**one.actions, **done.get(key, {})}) for key, one in alerts.items()}
    every = list(found.values())
    columns = {
        "run_id": text_column([run_id for run_id, _ in found]),
        "time": value_column([one.time for one in every], pa.int64()),
        "rule": text_column([one.rule for one in every]),
        "condition": text_column([one.condition for one in every]),
        "message": text_column([one.message for one in every]),
        "metric": text_column([one.metric or None for one in every]),
        "step": value_column([one.step for one in every], pa.int64()),
        "value": value_column([one.value for one in every], pa.float64()),
        "actions": map_column([dict(one.actions) for one in every]),
    }
    return pa.table(columns)


def _events(scan: LakeScan) -> list[tuple[str, Event]]:
    found = []
    rows = scan.rows("events", ["run_id", "writer", "line"], {"type": [ALERT, ACTION]})
    for run_id, writer, line in zip(*(rows.column(name).to_pylist() for name in rows.column_names), strict=True):
        try:
            fields = decode_line(line.encode("utf-8"), EVENTS)
        except BadLine:
            continue  # verify says so
        seq, time, kind = (fields.pop(name) for name in ("seq", "time", "type"))
        found.append((run_id, Event(writer, seq, time, kind, fields)))
    return found
