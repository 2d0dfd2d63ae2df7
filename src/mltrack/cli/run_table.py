"""The table of runs that `mltrack ls` prints: which columns it has, and what becomes of them on a narrow terminal."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltrack.cli.columns import alert_count, value_of
from mltrack.disk.layout import RunFolder
from mltrack.text.figures import with_times
from mltrack.text.printing import Column, is_terminal, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mltrack.cli.select import Found
    from mltrack.entities import Elsewhere, RunInfo
    from mltrack.store import Store
    from mltrack.text.printing import Cell

__all__ = ["FIXED_COLUMNS", "METRIC_COLUMNS_MAX", "common_metrics", "copy_facts", "points_of", "print_runs"]

PARAM_COLUMNS_MAX = 3
PARAM_TEXT_MAX = 16
"""Params with longer texts are columns only where there are too few others."""
METRIC_COLUMNS_MAX = 4
SHORT_ID = 8
FIXED_COLUMNS = ("id", "name", "experiment", "status", "started", "duration", "points", "alerts")
"""Those that are always shown: one that is chosen as well is shown once."""


def points_of(store: Store, runs: Sequence[Found]) -> dict[str, int]:
    """The number of points of each run that count."""
    counts = store.point_counts()
    return {run.info.run_id: counts.get(run.info.run_id, 0) for run in runs}


def print_runs(
    runs: Sequence[Found], points: Mapping[str, int], columns: Sequence[str] | None = None, *, tree: bool = True
) -> None:
    """Print a table of runs.

    Args:
        runs: the runs.
        points: the number of points of each.
        columns: metrics, params and tags to show; the most common metrics when not given.
        tree: in a terminal, put the children of a run below it.
    """
    from mltrack.cli.formatting import ago, count, moment, number, plain_number, run_time, state, status

    pretty = is_terminal()
    ranks = _default_columns(runs) if columns is None else dict.fromkeys(columns, 0)
    known = {name for run in runs for name in (*run.data.metrics, *run.data.params)}
    chosen = [name for name in ranks if name in known or name not in FIXED_COLUMNS]
    shown = number if pretty else plain_number
    one_experiment = pretty and len({run.info.experiment_name for run in runs}) == 1
    head = [
        Column("id", style="cyan"),
        Column("name", cut=True),
        *([] if one_experiment else [Column("experiment", cut=True, drop=4)]),
        Column("status", drop=2),
        Column("started", drop=5),
        Column("duration", right=True, drop=21),
        Column("points", right=True, drop=22),
        *(_value_column(runs, name, drop=rank + 1) for name, rank in ranks.items() if name in chosen),
    ]
    alerts = {run.info.run_id: alert_count(run) for run in runs}
    if any(alerts.values()):
        head.insert(len(head) - len(chosen), Column("alerts", right=True, style="red", drop=2))
    now_ms = time.time_ns() // 1_000_000
    rows: list[list[Cell]] = []
    for run, depth in _as_tree(runs) if tree and pretty else [(run, 0) for run in runs]:
        info = run.info
        elsewhere = _elsewhere(info)
        rows.append(
            [
                info.run_id[:SHORT_ID] if pretty else info.run_id,
                "  " * (depth - 1) + "└ " * (depth > 0) + info.run_name,
                *([] if one_experiment else [info.experiment_name]),
                state(info, elsewhere, now_ms) if pretty else status(info),
                ago(info.start_time, now_ms) if pretty else moment(info.start_time),
                run_time(info, elsewhere, now_ms),
                count(points[info.run_id]) if pretty else str(points[info.run_id]),
                *([f"! {alerts[info.run_id]}" if alerts[info.run_id] else ""] if any(alerts.values()) else []),
                *(value_of(run, name).shown(shown) for name in chosen),
            ]
        )
    print_table(head, rows)


def _elsewhere(info: RunInfo) -> Elsewhere | None:
    """Where a run is recorded, if that is in another store, which the catalog does not know."""
    from mltrack.storage.runs.state import running_elsewhere

    return running_elsewhere(RunFolder(Path(info.artifact_uri).parent)) if info.live else None


def copy_facts(info: RunInfo) -> dict[str, Any]:
    """Of a run that is recorded in another store: where, and as of when this is known; else nothing."""
    elsewhere = _elsewhere(info)
    return {} if elsewhere is None else {"elsewhere": with_times(asdict(elsewhere), ns=("time",))}


def _default_columns(runs: Sequence[Found]) -> dict[str, int]:
    """The columns that nobody has chosen, each with its rank: on a narrow terminal the last ranks go first."""
    metrics, params = common_metrics(runs, METRIC_COLUMNS_MAX), _differing_params(runs)
    ranks = {name: 2 * at for at, name in enumerate(metrics)} | {name: 2 * at + 1 for at, name in enumerate(params)}
    return {
        name: ranks[name] for name in [*sorted(metrics), *sorted(params, key=lambda name: name.removeprefix("params."))]
    }


def common_metrics(runs: Sequence[Found], most: int) -> list[str]:
    """The most common metrics, those with short names first; system metrics are shown only if chosen."""
    seen = Counter(key for run in runs for key in run.data.metrics if not key.startswith("system/"))
    ranked = sorted(seen, key=lambda key: (-seen[key], len(key), key))
    return ranked[:most]


def _differing_params(runs: Sequence[Found]) -> list[str]:
    """The params that tell these runs apart; of a single run, its first ones.

    First those with several values, then those that only some runs have; of each short ones that most runs have.
    """
    values: dict[str, Counter[str]] = {}
    for run in runs:
        for key, value in run.data.params.items():
            values.setdefault(key, Counter())[value] += 1
    metrics = {key for run in runs for key in run.data.metrics}
    differing = [key for key, seen in values.items() if len(runs) == 1 or len(seen) > 1 or seen.total() < len(runs)]

    def rank(key: str) -> tuple[bool, bool, int, int, str]:
        seen = values[key]
        return len(seen) == 1, max(map(len, seen)) > PARAM_TEXT_MAX, -seen.total(), len(key), key

    ranked = sorted(differing, key=rank)[:PARAM_COLUMNS_MAX]
    return [f"params.{key}" if key in metrics or "." in key else key for key in ranked]


def _value_column(runs: Sequence[Found], name: str, drop: int) -> Column:
    """A column of numbers, unless one of the values is another text."""
    is_text = any(not _is_number(value_of(run, name).shown(str)) for run in runs)
    return Column(name, right=not is_text, cut=True, drop=drop)


def _is_number(text: str) -> bool:
    try:
        float(text or 0)
    except ValueError:
        return False
    return True


def _as_tree(runs: Sequence[Found]) -> list[tuple[Found, int]]:
    """Each run with its depth, children right after their parent, oldest child first."""
    ids = {run.info.run_id for run in runs}
    children: dict[str, list[Found]] = {}
    tops = []
    for run in runs:
        parent = run.info.parent_run_id
        if parent in ids and parent is not None and parent != run.info.run_id:
            children.setdefault(parent, []).insert(0, run)
        else:
            tops.append(run)
    ordered: list[tuple[Found, int]] = []
    left = [(run, 0) for run in reversed(tops)]
    while left:
        run, depth = left.pop()
        ordered.append((run, depth))
        left += [(child, depth + 1) for child in reversed(children.pop(run.info.run_id, []))]
    return ordered
