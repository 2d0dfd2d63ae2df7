"""Searching runs in the catalog: MLflow's filters, orderings and pages, as records or as a data frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from time import time_ns
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from mltrack.catalog.aggregates import Aggregate, find_aggregates, parse_aggregates
from mltrack.catalog.filter_parser import Node, parse_filter
from mltrack.catalog.filter_sql import Parameters, attribute_columns, compile_filter
from mltrack.catalog.order_by import Order, after_token, compile_order, page_token, parse_order_by
from mltrack.entities import (
    ACTIVE,
    DELETED,
    Dataset,
    DatasetInput,
    ModelOutput,
    RunData,
    RunHead,
    RunInfo,
)
from mltrack.errors import CorruptionError, NotFoundError, UsageError
from mltrack.text.encodable import encodable
from mltrack.text.nearest import meant
from mltrack.text.shown import shown
from mltrack.values.arguments import list_argument, text_argument

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

__all__ = [
    "PagedList",
    "RunQuery",
    "RunRecord",
    "find_damage",
    "find_frame",
    "find_heads",
    "find_named",
    "find_runs",
    "run_page",
    "values_by_run",
]

Item = TypeVar("Item")

_VIEWS: dict[object, tuple[str, ...]] = {
    "ACTIVE_ONLY": (ACTIVE,),
    "DELETED_ONLY": (DELETED,),
    "ALL": (ACTIVE, DELETED),
    1: (ACTIVE,),
    2: (DELETED,),
    3: (ACTIVE, DELETED),
}


class PagedList(list[Item], Generic[Item]):
    """A page of results; ``token`` asks for the next one, and is None on the last."""

    def __init__(self, items: Iterable[Item] = (), token: str | None = None) -> None:
        super().__init__(items)
        self.token = token

    def _repr_html_(self) -> str | None:
        """A table, of runs only; None: as any list."""
        runs = [item for item in self if isinstance(item, RunRecord)]
        if len(runs) != len(self):
            return None
        from mltrack.notebook.tables import runs_html

        return runs_html(runs)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run from the catalog: ``record.info.status``, ``record.data.metrics["loss"]``.

    Datasets and ids of logged models are in the order they were logged; ``latest`` holds the latest point of each
    metric as (key, value, step, time in ns). ``aggregates`` has those that the search asked for, by their names
    (``min(loss)``), without those of metrics that the run lacks.
    """

    info: RunInfo
    data: RunData
    datasets: tuple[DatasetInput, ...] = ()
    model_inputs: tuple[str, ...] = ()
    model_outputs: tuple[ModelOutput, ...] = ()
    latest: Sequence[tuple[str, float, int, int]] = ()
    aggregates: dict[str, float] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        """32 hex digits."""
        return self.info.run_id

    def _repr_html_(self) -> str:
        from mltrack.notebook.tables import found_run_html

        return found_run_html(self)


@dataclass(frozen=True, slots=True)
class RunQuery:
    """A checked search: which runs, in which order, how many, after which one."""

    experiment_ids: tuple[str, ...] | None
    experiment_names: tuple[str, ...] | None
    filter: Node | None
    stages: tuple[str, ...]
    order: tuple[Order, ...]
    max_results: int
    page_token: str | None = None
    aggregates: tuple[Aggregate, ...] = ()

    @classmethod
    def parse(
        cls,
        experiment_ids: Sequence[str] | None = None,
        filter_string: str | None = "",
        run_view_type: str | int = "ACTIVE_ONLY",
        max_results: int = 1000,
        order_by: Sequence[str] | None = None,
        page_token: str | None = None,
        experiment_names: Sequence[str] | None = None,
        aggregates: Sequence[str] | None = None,
    ) -> RunQuery:
        """Check the arguments of a search.

        Args:
            experiment_ids: Only runs of these experiments.
            filter_string: MLflow's grammar, see filter_parser.py.
            run_view_type: ACTIVE_ONLY, DELETED_ONLY or ALL (or MLflow's ViewType numbers).
            max_results: The size of a page.
            order_by: As in MLflow, see order_by.py.
            page_token: The token of the page before; None for the first page.
            experiment_names: Only runs of experiments with these names.
            aggregates: What to give of metrics: ``["min(loss)", "mean(acc)"]``.

        Raises:
            FilterError: the filter or an ordering does not parse.
            UsageError: another argument is not valid.
        """
        if not isinstance(run_view_type, str | int) or run_view_type not in _VIEWS:
            raise UsageError(f"{run_view_type!r} is not a view of runs", hint="use ACTIVE_ONLY, DELETED_ONLY or ALL")
        if not isinstance(max_results, int) or not 1 <= max_results < 1 << 62:
            raise UsageError(f"max_results is {shown(max_results)}", hint="give a positive 64-bit integer")
        return cls(
            _texts("experiment_ids", experiment_ids),
            _texts("experiment_names", experiment_names),
            parse_filter(filter_string),
            _VIEWS[run_view_type],
            parse_order_by(order_by),
            max_results,
            page_token or None,
            parse_aggregates(aggregates),
        )

    @property
    def identity(self) -> tuple[object, ...]:
        """What a page token is valid for."""
        return (self.experiment_ids, self.experiment_names, self.filter, self.stages, self.order)


def _texts(what: str, values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(map(str, list_argument(what, values)))


# --- the statement ---------------------------------------------------------------------------------------------

_INFO_COLUMNS = (
    "runs.run_id, runs.run_name, runs.experiment_id, coalesce(e.name, runs.experiment_name), runs.status,"
    " runs.start_time, runs.end_time, runs.lifecycle_stage, runs.user_id, runs.parent_run_id, runs.crashed, runs.live"
)


def _attributes(runs_folder: str, parameters: Parameters) -> dict[str, str]:
    uri = f"(CAST({parameters.add(runs_folder + '/')} AS VARCHAR) || runs.run_id || '/artifacts')"
    return attribute_columns(time_ns() // 1_000_000, parameters) | {"artifact_uri": uri}


def _statement(query: RunQuery, runs_folder: str) -> tuple[str, dict[str, object], int]:
    """The SQL for a page and one more run, its values, and how many columns the sort key has."""
    parameters = Parameters()
    attributes = _attributes(runs_folder, parameters)
    joins, columns = compile_order(query.order, parameters, attributes)
    where = [_in("runs.lifecycle_stage", query.stages, parameters)]
    if query.experiment_ids is not None:
        where.append(_in("runs.experiment_id", query.experiment_ids, parameters))
    if query.experiment_names is not None:
        where.append(_in("coalesce(e.name, runs.experiment_name)", query.experiment_names, parameters))
    elif query.experiment_ids is None and DELETED not in query.stages:
        where.append(f"coalesce(e.lifecycle_stage, '{ACTIVE}') = '{ACTIVE}'")
    if query.filter is not None:
        where.append(compile_filter(query.filter, parameters, attributes))
    if query.page_token is not None:
        where.append(f"({after_token(query.page_token, query.identity, columns, parameters)})")
    order = ", ".join(f"{c.sql} {'DESC' if c.descending else 'ASC'} NULLS LAST" for c in columns)
    sql = (
        f"SELECT {_INFO_COLUMNS}, {', '.join(c.sql for c in columns)} FROM base.runs runs"
        f" LEFT JOIN base.experiments e ON e.experiment_id = runs.experiment_id {' '.join(joins)}"
        f" WHERE {' AND '.join(where)} ORDER BY {order} LIMIT {query.max_results + 1}"
    )
    return sql, parameters.used_in(sql), len(columns)


def _in(column: str, values: Sequence[str], parameters: Parameters) -> str:
    return f"{column} IN ({', '.join(parameters.add(value) for value in values)})" if values else "false"


def run_page(
    con: duckdb.DuckDBPyConnection, query: RunQuery, runs_folder: str
) -> tuple[list[tuple[Any, ...]], str | None]:
    """The rows of a page (RunInfo's columns but the last) and the token of the next."""
    _check_experiment_names(con, query.experiment_names)
    sql, values, keys = _statement(query, runs_folder)
    rows = con.execute(sql, values).fetchall()
    token = None
    if len(rows) > query.max_results:
        rows = rows[: query.max_results]
        token = page_token(query.identity, rows[-1][-keys:])
    return [row[:-keys] for row in rows], token


def _check_experiment_names(con: duckdb.DuckDBPyConnection, names: tuple[str, ...] | None) -> None:
    if not names:
        return
    known = con.execute(
        "SELECT name FROM base.experiments UNION SELECT experiment_name FROM base.runs"
        " WHERE experiment_id NOT IN (SELECT experiment_id FROM base.experiments)"
    ).fetchall()
    for name in names:
        if (name,) not in known:
            raise NotFoundError(f"no experiment named {name!r}", hint=meant(name, (row[0] for row in known)))


# --- answers ---------------------------------------------------------------------------------------------------


def find_runs(con: duckdb.DuckDBPyConnection, query: RunQuery, runs_folder: str) -> PagedList[RunRecord]:
    """A page of runs. ``runs_folder``, with the run folders, is what their artifact URIs begin with."""
    rows, token = run_page(con, query, runs_folder)
    ids = [row[0] for row in rows]
    params, tags = (values_by_run(con, table, ids) for table in ("params", "tags"))
    latest = _latest(con, ids)
    inputs, nothing = _inputs(con, ids), _Inputs()
    aggregates = find_aggregates(con, ids, query.aggregates)
    records = [
        RunRecord(
            RunInfo(*(*row, f"{runs_folder}/{row[0]}/artifacts")),
            RunData(
                params.get(row[0], {}), tags.get(row[0], {}), {point[0]: point[1] for point in latest.get(row[0], ())}
            ),
            *inputs.get(row[0], nothing),
            latest.get(row[0], ()),
            aggregates.get(row[0], {}),
        )
        for row in rows
    ]
    return PagedList(records, token)


def values_by_run(
    con: duckdb.DuckDBPyConnection, table: str, ids: list[str], keys: list[str] | None = None
) -> dict[str, dict[str, Any]]:
    """Keys and values of a table's rows by run; of these ``keys`` only, if given."""
    found: dict[str, dict[str, Any]] = {}
    chosen = "" if keys is None else " AND key IN (SELECT unnest(?))"
    for run_id, key, value in con.execute(
        f"SELECT run_id, key, value FROM base.{table} WHERE run_id IN (SELECT unnest(?)){chosen}",
        [ids] if keys is None else [ids, keys],
    ).fetchall():
        found.setdefault(run_id, {})[key] = value
    return found


def _latest(con: duckdb.DuckDBPyConnection, ids: list[str]) -> dict[str, list[tuple[str, float, int, int]]]:
    """The latest point of each metric by run."""
    found: dict[str, list[tuple[str, float, int, int]]] = {}
    for run_id, *point in con.execute(
        "SELECT run_id, key, value, step, time FROM base.latest_metrics WHERE run_id IN (SELECT unnest(?))", [ids]
    ).fetchall():
        found.setdefault(run_id, []).append(tuple(point))
    return found


_INPUTS = """
WITH ids AS MATERIALIZED (SELECT unnest($ids) AS run_id)
SELECT run_id, number, made, model_id, step, NULL AS name, NULL AS digest, NULL AS source_type, NULL AS source,
       NULL AS schema, NULL AS profile, NULL AS tags
FROM base.models SEMI JOIN ids USING (run_id)
UNION ALL
SELECT run_id, number, NULL, NULL, NULL, name, digest, source_type, source, schema, profile, tags
FROM base.datasets SEMI JOIN ids USING (run_id)
"""


class _Inputs(NamedTuple):
    """The inputs and outputs of a run."""

    datasets: tuple[DatasetInput, ...] = ()
    model_inputs: tuple[str, ...] = ()
    model_outputs: tuple[ModelOutput, ...] = ()


def _inputs(con: duckdb.DuckDBPyConnection, ids: list[str]) -> dict[str, _Inputs]:
    """The inputs and outputs of those runs that have some."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for run_id, *row in con.execute(_INPUTS, {"ids": ids}).fetchall():
        found.setdefault(run_id, []).append(tuple(row))
    inputs = {}
    for run_id, rows in found.items():
        rows.sort(key=lambda row: row[0])
        inputs[run_id] = _Inputs(
            tuple(DatasetInput(Dataset(*row[4:-1]), row[-1]) for row in rows if row[1] is None),
            tuple(row[2] for row in rows if row[1] is False),
            tuple(ModelOutput(row[2], row[3]) for row in rows if row[1]),
        )
    return inputs


def find_frame(con: duckdb.DuckDBPyConnection, query: RunQuery, runs_folder: str) -> pd.DataFrame:
    """The runs as MLflow's data frame: run_id, experiment_id, status, artifact_uri, times, metrics., params., tags."""
    import numpy as np
    import pandas as pd

    rows, _ = run_page(con, query, runs_folder)
    ids = [row[0] for row in rows]
    columns: dict[str, Any] = {
        "run_id": ids,
        "experiment_id": [row[2] for row in rows],
        "status": [row[4] for row in rows],
        "artifact_uri": [f"{runs_folder}/{run_id}/artifacts" for run_id in ids],
        "start_time": pd.to_datetime(pd.Series([row[5] for row in rows], dtype="Int64"), unit="ms", utc=True),
        "end_time": pd.to_datetime(pd.Series([row[6] for row in rows], dtype="Int64"), unit="ms", utc=True),
    }
    at = {run_id: number for number, run_id in enumerate(ids)}
    for table, prefix in (("latest_metrics", "metrics."), ("params", "params."), ("tags", "tags.")):
        found: dict[str, Any] = {}
        for run_id, key, value in con.execute(
            f"SELECT run_id, key, value FROM base.{table} WHERE run_id IN (SELECT unnest(?)) ORDER BY key", [ids]
        ).fetchall():
            column = found.get(key)
            if column is None:
                empty = np.full(len(ids), np.nan) if table == "latest_metrics" else np.full(len(ids), None, object)
                column = found[key] = empty
            column[at[run_id]] = value
        columns |= {prefix + key: column for key, column in found.items()}
    return pd.DataFrame(columns)


def find_heads(con: duckdb.DuckDBPyConnection) -> dict[str, RunHead]:
    """How far each run goes."""
    rows = con.execute(
        "SELECT run_id, least(sum(w.events), 1::HUGEINT << 62)::BIGINT,"
        " least(sum(w.points), 1::HUGEINT << 62)::BIGINT, any_value(r.live)"
        " FROM base.runs r JOIN base.writers w USING (run_id) GROUP BY run_id ORDER BY run_id"
    ).fetchall()
    return {row[0]: RunHead(*row) for row in rows}


def find_point_counts(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """How many points of each run count."""
    rows = con.execute(
        "SELECT run_id, least(coalesce(sum(m.count), 0), 1::HUGEINT << 62)::BIGINT FROM base.runs"
        " LEFT JOIN base.latest_metrics m USING (run_id) GROUP BY run_id"
    ).fetchall()
    return dict(rows)


def find_forks(con: duckdb.DuckDBPyConnection, run_id: str) -> list[str]:
    """The runs that need the files of a run, as they were forked from it."""
    rows = con.execute("SELECT run_id FROM base.forks WHERE source = ? ORDER BY run_id", [run_id]).fetchall()
    return [row[0] for row in rows]


def find_fork_sources(con: duckdb.DuckDBPyConnection, run_ids: Sequence[str]) -> list[str]:
    """The runs whose files these runs need."""
    rows = con.execute(
        "SELECT DISTINCT source FROM base.forks WHERE run_id IN (SELECT unnest(?)) ORDER BY source",
        [[text_argument("run_ids", run_id) for run_id in list_argument("run_ids", run_ids)]],
    ).fetchall()
    return [row[0] for row in rows]


def find_damage(con: duckdb.DuckDBPyConnection, run_ids: Sequence[str] | None = None) -> list[CorruptionError]:
    """What could not be read or verified of these runs, or of all."""
    where, values = ("", []) if run_ids is None else (" WHERE run_id IN (SELECT unnest(?))", [list(run_ids)])
    rows = con.execute(f"SELECT path, place, what FROM base.damage{where} ORDER BY ALL", values).fetchall()
    return [CorruptionError(what, path=path, offset=place, hint="see: mltrack check") for path, place, what in rows]


def find_named(con: duckdb.DuckDBPyConnection, name: str) -> list[str]:
    """The ids of the runs with that name, latest start first."""
    rows = con.execute(
        "SELECT run_id FROM base.runs WHERE run_name = ? ORDER BY start_time DESC, run_id", [encodable(name)]
    ).fetchall()
    return [row[0] for row in rows]
