"""What the tools answer: plain data of bounded size, from the reading API alone."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mltrack.catalog.aggregates import aggregate_in
from mltrack.diff.metrics import diff_values
from mltrack.environment import ALERT_TAG
from mltrack.errors import UsageError
from mltrack.launch.log_reader import last_lines, output_numbers, output_of
from mltrack.text.figures import utc_ms, with_times
from mltrack.text.printing import strict
from mltrack_sync.mcp.sampling import sample
from mltrack_sync.remotes.config import Remotes
from mltrack_sync.remotes.receivers import receivers
from mltrack_sync.status import status_fields, status_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mltrack.catalog.search import RunRecord
    from mltrack.store import Store

__all__ = [
    "ANSWER_CHARACTERS_MAX",
    "compare_runs",
    "get_run",
    "group_runs",
    "list_experiments",
    "logs",
    "metric_history",
    "search_runs",
    "sql",
    "sync_status",
]

ANSWER_CHARACTERS_MAX = 100_000
"""The longest answer, as JSON."""

TEXT_CHARACTERS_MAX = 1_000
RUNS_MAX = 200
COMPARED_MAX = 20
NAMES_MAX = 100
"""How many params, tags, metrics or files of a run are given at most."""
POINTS_MAX = 1_000
LINES_MAX = 1_000
ROWS_MAX = 500
QUERY_TIMEOUT_S = 30.0
"""How long a query may take, in seconds."""

Answer = dict[str, Any]


def list_experiments(store: Store) -> Answer:
    """Experiments, how many runs each has, and when the last was started."""
    from mltrack.text.arrow_cells import records

    table = store.sql(
        "SELECT e.experiment_id, e.name, count(r.run_id) AS runs, max(r.start_time) AS last_start FROM experiments e"
        " LEFT JOIN runs r ON r.experiment_id = e.experiment_id AND r.lifecycle_stage = 'active'"
        " WHERE e.lifecycle_stage = 'active' GROUP BY ALL ORDER BY last_start DESC NULLS LAST"
    )
    return _fitted({"store": str(store.path), "experiments": records(table)}, "experiments")


def search_runs(
    store: Store,
    filter_string: str,
    order_by: Sequence[str],
    experiments: Sequence[str],
    columns: Sequence[str],
    most: int,
) -> Answer:
    """Runs that match, with the chosen columns, else with all params and latest metrics."""
    most = _within(most, RUNS_MAX, "limit")
    found = store.search_runs(
        filter_string=filter_string,
        order_by=list(order_by),
        experiment_names=list(experiments) or None,
        max_results=most,
        aggregates=[name for name in columns if aggregate_in(name) is not None],
    )
    answer = {"runs": [_head(run, columns) for run in found], "more": found.token is not None}
    return _fitted(answer, "runs")


def group_runs(
    store: Store, by: Sequence[str], aggregates: Sequence[str], filter_string: str, experiments: Sequence[str]
) -> Answer:
    """Mean and deviation over groups of runs."""
    groups = store.group_runs(by, aggregates, filter_string=filter_string, experiment_names=list(experiments) or None)
    rows = [
        {
            "keys": dict(group.keys),
            "runs": len(group.run_ids),
            "run_ids": list(group.run_ids[:COMPARED_MAX]),
            "values": {name: asdict(spread) for name, spread in group.values.items()},
        }
        for group in groups
    ]
    return _fitted({"groups": rows}, "groups")


def _head(run: RunRecord, columns: Sequence[str]) -> Answer:
    info, data = run.info, run.data
    head = {
        "run_id": info.run_id,
        "run_name": info.run_name,
        "experiment": info.experiment_name,
        "status": info.shown_status,
        "live": info.live,
        "start_time": utc_ms(info.start_time),
        "end_time": None if info.end_time is None else utc_ms(info.end_time),
        "alerts": sum(key.startswith(f"{ALERT_TAG}.") for key in data.tags),
    }
    if not columns:
        own = {key: value for key, value in data.metrics.items() if not key.startswith("system/")}
        return head | {"params": _some(data.params), "metrics": _some(own)}
    everything: dict[str, Any] = {
        **{f"params.{key}": _clipped(value) for key, value in data.params.items()},
        **{f"tags.{key}": _clipped(value) for key, value in data.tags.items()},
        **data.metrics,
        **{f"metrics.{key}": value for key, value in data.metrics.items()},
        **run.aggregates,
    }
    return head | {name: everything.get(_column(name)) for name in columns}


def _column(name: str) -> str:
    aggregate = aggregate_in(name)
    return name if aggregate is None else aggregate.name


def get_run(store: Store, name: str) -> Answer:
    """Everything about a run that is not long."""
    run = store.run(name)
    answer = {
        **with_times(asdict(run.info), ms=("start_time", "end_time")),
        "status": run.info.shown_status,
        "points": run.point_count,
        "lost_points": run.lost,
        "params": _some(run.params),
        "tags": _some(run.tags),
        "metrics": _some(
            {
                key: with_times(asdict(summary), ns=("time",))
                for key, summary in sorted(run.summaries.items(), key=_own_first)
            }
        ),
        "alerts": [with_times(asdict(alert), ns=("time",)) for alert in run.alerts()[-NAMES_MAX:]],
        "artifacts": [{"path": a.path, "size": a.size} for a in run.artifacts[:NAMES_MAX]],
        "datasets": [
            {"name": used.dataset.name, "digest": used.dataset.digest, "context": used.context}
            for used in run.datasets[:NAMES_MAX]
        ],
        "counts": {
            "params": len(run.params),
            "tags": len(run.tags),
            "metrics": len(run.summaries),
            "alerts": len(run.alerts()),
            "artifacts": len(run.artifacts),
        },
    }
    return _fitted(answer, "artifacts", "metrics", "tags", "params", "alerts")


def _own_first(item: tuple[str, Any]) -> tuple[bool, str]:
    return item[0].startswith("system/"), item[0]


def compare_runs(store: Store, names: Sequence[str], baseline: str) -> Answer:
    """The params that differ, and the latest metrics; differences from the baseline, by default the first run."""
    ids = list(dict.fromkeys(map(store.resolve, [*([baseline] if baseline else []), *names])))
    if not 2 <= len(ids) <= COMPARED_MAX:
        raise UsageError(f"{len(ids)} runs to compare", hint=f"name 2 to {COMPARED_MAX} of them")
    runs = [store.run(run_id) for run_id in ids]
    params = {key: [run.params.get(key) for run in runs] for key in sorted({k for run in runs for k in run.params})}
    metrics: list[Answer] = []
    tables = [run.data.metrics for run in runs]
    for key in sorted({key for table in tables for key in table if not key.startswith("system/")}):
        values = [table.get(key) for table in tables]
        diffs = [diff_values(values[0], value) for value in values]
        percent = [diff.percent for diff in diffs]
        metrics.append(
            {"metric": key, "values": values, "difference": [diff.difference for diff in diffs], "percent": percent}
        )
    answer = {
        "runs": [
            {"run_id": run.run_id, "run_name": run.info.run_name, "status": run.info.shown_status} for run in runs
        ],
        "baseline": ids[0],
        "params_that_differ": {key: _clip_all(row) for key, row in params.items() if len(set(row)) > 1},
        "metrics": metrics,
    }
    return _fitted(answer, "metrics", "params_that_differ")


def metric_history(store: Store, name: str, key: str, most: int) -> Answer:
    """A metric's points, at most so many: with more, the least and the greatest of each stretch."""
    run = store.run(name)
    points = sample(run.metrics(key), _within(most, POINTS_MAX, "max_points"))
    summary = run.summaries[key]
    return _fitted(
        {
            "run_id": run.run_id,
            "metric": key,
            "count": summary.count,
            "latest": summary.value,
            "min": summary.min,
            "max": summary.max,
            "sampled": len(points) < summary.count,
            "points": points,
        },
        "points",
    )


def logs(store: Store, name: str, lines: int, part: int) -> Answer:
    """The last lines that a launched program printed."""
    run = store.run(name)
    text = last_lines(output_of(run, number=part), _within(lines, LINES_MAX, "lines")).decode(errors="replace")
    cut = max(0, len(text) - ANSWER_CHARACTERS_MAX // 4)
    answer = {"run_id": run.run_id, "status": run.info.shown_status, "text": text[cut:], "parts": output_numbers(run)}
    return answer | ({"left_out_characters": cut} if cut else {})


def sync_status(store: Store) -> Answer:
    """What waits for each remote, by the ledgers: no request is made."""
    found = [status_of(store, remote) for remote in (*Remotes(store).all(), *receivers(store))]
    rows = [status_fields(one) for one in found]
    for row in rows:
        row["rejected_count"] = len(row.get("rejected", ()))
        row["rejected"] = list(row.get("rejected", ()))[:COMPARED_MAX]
    return _fitted({"remotes": rows}, "remotes")


def sql(store: Store, query: str, most: int) -> Answer:
    """The rows of one SELECT, at most so many."""
    from mltrack.text.arrow_cells import records

    most = _within(most, ROWS_MAX, "max_rows")
    table = store.sql(f"SELECT * FROM (\n{query.rstrip().rstrip(';')}\n) LIMIT {most + 1}", timeout_s=QUERY_TIMEOUT_S)
    rows = [[_clipped(value) for value in row.values()] for row in records(table.slice(0, most))]
    return _fitted({"columns": table.column_names, "rows": rows, "more": len(table) > most}, "rows")


# --- bounds ----------------------------------------------------------------------------------------------------


def _within(value: int, most: int, name: str) -> int:
    if not 1 <= value <= most:
        raise UsageError(f"{name} is {value}", hint=f"from 1 to {most}")
    return value


def _clipped(value: Any) -> Any:
    if isinstance(value, str) and len(value) > TEXT_CHARACTERS_MAX:
        return f"{value[:TEXT_CHARACTERS_MAX]}... ({len(value):,} characters)"
    return value


def _clip_all(row: Sequence[Any]) -> list[Any]:
    return [_clipped(value) for value in row]


def _some(pairs: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _clipped(value) for key, value in list(pairs.items())[:NAMES_MAX]}


def _fitted(answer: Answer, *lists: str) -> Answer:
    """The answer as JSON can hold it, with the ends of these lists or objects left out until it is short enough."""
    answer = strict(answer)
    left_out: dict[str, int] = {}
    while _length(answer) > ANSWER_CHARACTERS_MAX:
        name = max(lists, key=lambda one: _length(answer[one]))
        held = answer[name]
        keep = len(held) // 2
        if not held:
            break
        left_out[name] = left_out.get(name, 0) + len(held) - keep
        answer[name] = dict(list(held.items())[:keep]) if isinstance(held, dict) else held[:keep]
    return answer | ({"left_out": left_out} if left_out else {})


def _length(value: Any) -> int:
    """How long it is as clients get it."""
    return len(json.dumps(value, indent=2, ensure_ascii=False))
