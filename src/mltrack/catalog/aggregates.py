"""Aggregates of a run's metrics, as ``min(loss)``: what of a metric's points is shown, ordered by and compared.

``last``, ``min``, ``max`` and ``count`` are in the catalog; ``mean`` is computed from the points when it is asked for.
As with ``min`` and ``max``, points that are NaN do not take part in a mean.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mltrack.entities import MetricSummary
from mltrack.errors import CorruptionError, NotFoundError, UsageError
from mltrack.values.arguments import list_argument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import duckdb
    import pyarrow as pa

__all__ = [
    "FUNCTIONS",
    "IN_CATALOG",
    "Aggregate",
    "add_means",
    "aggregate_in",
    "find_aggregates",
    "find_summaries",
    "parse_aggregates",
]

IN_CATALOG = {"last": "value", "min": "min", "max": "max", "count": "count"}
"""The column of ``latest_metrics`` that has an aggregate."""

FUNCTIONS = (*IN_CATALOG, "mean")

AGGREGATES_MAX = 1_000

_FORM = re.compile(r"\s*([A-Za-z]+)\s*\(\s*(?:metrics?\.)?(`[^`]+`|\"[^\"]+\"|.+?)\s*\)\s*", re.DOTALL)


class HasPoints(Protocol):
    """A run of which points can be read."""

    def metrics(self, key: str | None = None, /) -> pa.Table:
        """The points of a metric, with a column ``value``."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One of FUNCTIONS, of the points of one metric of each run that count."""

    function: str
    metric: str

    @property
    def name(self) -> str:
        """As it is written: ``min(loss)``."""
        return f"{self.function}({self.metric})"


def aggregate_in(text: str) -> Aggregate | None:
    """The aggregate that ``text`` is, as ``max(acc)`` or ``min(metrics.`val loss`)``; None if it is another text."""
    found = _FORM.fullmatch(text)
    if found is None or found[1].lower() not in FUNCTIONS:
        return None
    key = found[2]
    return Aggregate(found[1].lower(), key[1:-1] if key[0] in '`"' and key[0] == key[-1] else key)


def parse_aggregates(texts: Iterable[str] | None) -> tuple[Aggregate, ...]:
    """The aggregates of a search, each once.

    Raises:
        UsageError: one is not an aggregate, or there are too many.
    """
    found: dict[Aggregate, None] = {}
    for text in list_argument("aggregates", texts):
        one = aggregate_in(str(text))
        if one is None:
            raise UsageError(f"{text!r} is not an aggregate", hint=f"write min(loss); there are {', '.join(FUNCTIONS)}")
        found[one] = None
    if len(found) > AGGREGATES_MAX:
        raise UsageError(f"{len(found):,} aggregates; at most {AGGREGATES_MAX:,}", hint="ask for fewer at a time")
    return tuple(found)


def find_aggregates(
    con: duckdb.DuckDBPyConnection, ids: Sequence[str], aggregates: Sequence[Aggregate]
) -> dict[str, dict[str, float]]:
    """Values by name, by run, of those that are in the catalog; NaN for a mean, which is not."""
    wanted: dict[str, list[Aggregate]] = {}
    for one in aggregates:
        wanted.setdefault(one.metric, []).append(one)
    found: dict[str, dict[str, float]] = {}
    if not wanted:
        return found
    places = {function: place for place, function in enumerate(IN_CATALOG)}
    for run_id, key, *values in con.execute(
        f"SELECT run_id, key, {', '.join(IN_CATALOG.values())} FROM base.latest_metrics"
        " WHERE run_id IN (SELECT unnest($ids)) AND key IN (SELECT unnest($keys))",
        {"ids": list(ids), "keys": list(wanted)},
    ).fetchall():
        row = found.setdefault(run_id, {})
        for one in wanted[key]:
            row[one.name] = values[places[one.function]] if one.function in places else math.nan
    return {run_id: {one.name: row[one.name] for one in aggregates if one.name in row} for run_id, row in found.items()}


def add_means(
    found: Mapping[str, dict[str, float]],
    aggregates: Sequence[Aggregate],
    open_run: Callable[[str], HasPoints],
    report: Callable[[CorruptionError], None],
) -> None:
    """Compute the means that are asked for, of each run that has the metric.

    Args:
        found: The values of ``find_aggregates`` by run, which are changed.
        aggregates: What was asked for.
        open_run: Reads a run.
        report: Called with what can't be read; such a mean is left out.
    """
    wanted = [one for one in aggregates if one.function == "mean"]
    for run_id, values in found.items() if wanted else ():
        missing = [one for one in wanted if one.name in values]
        try:
            if missing:
                run = open_run(run_id)
                values |= {one.name: _mean_of(run, one.metric) for one in missing}
        except (CorruptionError, NotFoundError) as error:  # not found: removed meanwhile
            for one in missing:
                del values[one.name]
            if isinstance(error, CorruptionError):
                report(error)


def _mean_of(run: HasPoints, key: str) -> float:
    """The mean of a metric's points that count and are not NaN; NaN where all are.

    Raises:
        NotFoundError: there are none.
        CorruptionError: a file with such points is damaged.
    """
    import numpy as np

    from mltrack.disk.arrow_columns import column_array

    values = column_array(run.metrics(key).column("value"), np.float64)
    values = values[~np.isnan(values)]
    if not len(values):
        return math.nan
    with np.errstate(all="ignore"):  # infinities of both signs have no mean
        return float(values.mean())


def find_summaries(con: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> dict[str, dict[str, MetricSummary]]:
    """The summary of each metric of these runs, by run and key."""
    found: dict[str, dict[str, MetricSummary]] = {}
    rows = con.execute(
        "SELECT run_id, key, value, step, time, min, max, count FROM base.latest_metrics"
        " WHERE run_id IN (SELECT unnest(?))",
        [list(ids)],
    ).fetchall()
    for run_id, key, *figures in rows:
        found.setdefault(run_id, {})[key] = MetricSummary(key, *figures)
    return found
