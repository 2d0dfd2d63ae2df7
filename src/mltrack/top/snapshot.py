"""What a screen shows, as plain values: for `mltrack top --once --json`, and for other programs."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mltrack.text.figures import utc_ns, with_times
from mltrack.top.chart import draw_chart, from_logarithm

if TYPE_CHECKING:
    from mltrack.top.board import Board
    from mltrack.top.chart import Line
    from mltrack.top.tree import Row

__all__ = ["ready_board", "snapshot"]

CHART_COLUMNS = 100
"""The characters of a chart in a snapshot: its curves have twice as many columns."""


def ready_board(board: Board) -> None:
    """Read all that a screen shows, once; without a run at the cursor it is on the first row."""
    board.load()
    rows = board.tree.rows()
    board.selected = board.selected or (rows[0].key if rows else "")
    board.poll(())
    board.poll([*board.metrics(system=False), *board.metrics(system=True)])
    board.poll_run(log=True, images=True)
    board.poll_remotes()


def snapshot(board: Board) -> dict[str, Any]:
    """Rows, charts, details, log, images and remotes of a board that was read; times as ISO 8601 in UTC."""
    kept = board.settings.store
    details = board.details
    run = board.run
    return {
        "store": str(board.layout.root),
        "time": utc_ns(board.clock()),
        "filter": kept.filter,
        "group_by": kept.group_by,
        "problem": board.problem,
        "rows": [_row(board, row) for row in board.tree.rows()],
        "x": board.view.axis.title,
        "log_y": board.view.log_y,
        "smoothing": board.view.smoothing,
        "charts": [_chart(board, metric) for metric in board.metrics(system=False)],
        "system": [_chart(board, metric) for metric in board.metrics(system=True)],
        "run": None if run is None else run.run_id,
        "alerts": [] if details is None else [text for name, text in details.facts if name == "alert"],
        "params": {} if details is None else dict(details.params),
        "tags": {} if details is None else dict(details.tags),
        "log": board.log,
        "images": [image.name for image in board.images],
        "sync": [with_times(asdict(state), ns=("last_sync", "last_error_time")) for state in board.remotes],
    }


def _row(board: Board, row: Row) -> dict[str, Any]:
    if row.run is None:
        return {"group": row.label, "runs": row.size, "live": row.live}
    line = with_times(row.run._asdict(), ms=("start_time", "end_time"))
    return {
        **line,
        "status": row.run.state,
        "depth": row.depth,
        "children": row.size,
        "pinned": row.run.run_id in board.settings.store.pins,
    }


def _chart(board: Board, metric: str) -> dict[str, Any]:
    lines = board.lines_of(metric)
    chart = draw_chart(lines, board.view, CHART_COLUMNS + 1, 1)
    readings = {reading.line: reading for reading in chart.read()}
    found = []
    for at, (line, columns) in enumerate(zip(lines, chart.columns, strict=True)):
        reading = readings.get(at)
        extent = columns.extent
        found.append(
            {
                **_about(line),
                "last": None if reading is None or math.isnan(reading.last) else reading.last,
                "low": None if extent is None else _plain(board, extent[0]),
                "high": None if extent is None else _plain(board, extent[1]),
                "columns": [
                    [int(place), _plain(board, float(low)), _plain(board, float(high))]
                    for place, low, high in zip(columns.at, columns.low, columns.high, strict=True)
                ],
            }
        )
    return {"metric": metric, "x_start": chart.start, "x_end": chart.end, "notes": chart.notes, "lines": found}


def _plain(board: Board, value: float) -> float:
    """A value as it was logged, where the chart has its logarithm."""
    return from_logarithm(value) if board.view.log_y else value


def _about(line: Line) -> dict[str, Any]:
    return {"run_id": line.run_id, "name": line.name, "colour": line.colour, "points": line.curve.count}
