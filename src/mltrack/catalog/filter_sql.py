"""Filters as SQL conditions on the catalog, with every value bound."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mltrack.catalog.comparators import NULLS
from mltrack.catalog.filter_parser import ATTRIBUTE, DATASET, METRIC, PARAM, TAG, And, Comparison, Name, Node
from mltrack.environment import ALERT_TAG
from mltrack.errors import FilterError
from mltrack.text.encodable import encodable

__all__ = ["TABLES", "Parameters", "attribute_columns", "compile_filter"]


class Parameters:
    """Values for a statement, each bound under its own name; no input is ever put into the text."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}

    def add(self, value: object) -> str:
        """Bind a value; returns its placeholder in the statement."""
        name = f"p{len(self.values)}"
        self.values[name] = encodable(value) if isinstance(value, str) else value
        return f"${name}"

    def used_in(self, sql: str) -> dict[str, object]:
        """The values that a statement uses: DuckDB refuses others."""
        used = set(re.findall(r"\$(p\d+)\b", sql))
        return {name: value for name, value in self.values.items() if name in used}


TABLES = {METRIC: "base.latest_metrics", PARAM: "base.params", TAG: "base.tags"}


CRASHED = "CRASHED"
"""What is shown of a run whose process died; to MLflow, which does not know it, such a run is FAILED."""

NAMES_MAX = 100
"""How many separate lookups a search may have: DuckDB takes minutes to plan some hundreds of them."""


def attribute_columns(now_ms: int, parameters: Parameters) -> dict[str, str]:
    """The SQL for each of ATTRIBUTES but the artifact URI; the tables of runs and experiments are ``runs`` and ``e``.

    Args:
        now_ms: The time now, in ms since the epoch: the duration of a run that goes on ends there.
        parameters: Gets that time.
    """
    plain = ("end_time", "parent_run_id", "run_id", "run_name", "start_time", "status", "user_id")
    now = parameters.add(now_ms)
    return {name: f"runs.{name}" for name in plain} | {
        "experiment_name": "coalesce(e.name, runs.experiment_name)",
        "duration": f"(CASE WHEN runs.status = 'SCHEDULED' THEN NULL ELSE"
        f" (coalesce(runs.end_time, CAST({now} AS BIGINT)) - runs.start_time) / 1000 END)",
        "points": "(SELECT CAST(coalesce(sum(m.count), 0) AS DOUBLE) FROM base.latest_metrics m"
        " WHERE m.run_id = runs.run_id)",
        "alerts": "(SELECT CAST(count(*) AS DOUBLE) FROM base.tags t WHERE t.run_id = runs.run_id"
        f" AND starts_with(t.key, '{ALERT_TAG}.'))",
    }


def compile_filter(node: Node, parameters: Parameters, attributes: dict[str, str]) -> str:
    """A condition on ``runs`` for the WHERE clause. ``attributes`` gives the SQL for each of ATTRIBUTES.

    Raises:
        FilterError: it has more lookups than can be planned.
    """
    compiler = _Compiler(parameters, attributes)
    condition = compiler.condition(node)
    if compiler.lookups > NAMES_MAX:
        raise FilterError(
            f"the filter looks up {compiler.lookups:,} metrics, params, tags or datasets; at most {NAMES_MAX} at once",
            hint="search in parts, or by SQL: mltrack sql",
        )
    return condition


class _Compiler:
    def __init__(self, parameters: Parameters, attributes: dict[str, str]) -> None:
        self._parameters = parameters
        self._attributes = attributes
        self.lookups = 0

    def condition(self, node: Node) -> str:
        if isinstance(node, Comparison):
            return self._alone(node)
        joined = " AND " if isinstance(node, And) else " OR "
        return f"({joined.join(self._parts(node.parts, joined))})"

    def _parts(self, parts: Sequence[Node], joined: str) -> Iterator[str]:
        """A condition for each; comparisons of one key share a lookup, as a run has a key once."""
        by_key: dict[Name, list[Comparison]] = {}
        for part in parts:
            if isinstance(part, Comparison) and part.name.entity in TABLES and part.comparator not in NULLS:
                by_key.setdefault(part.name, []).append(part)
            else:
                yield self.condition(part)
        for name, comparisons in by_key.items():
            yield self._by_key(name, comparisons, joined)

    def _alone(self, comparison: Comparison) -> str:
        name, comparator, value = comparison.name, comparison.comparator, comparison.value
        entity, key = name.entity, name.key
        if entity == ATTRIBUTE:
            if key == "status" and value == CRASHED and comparator in ("=", "!="):
                return f"{'NOT ' if comparator == '!=' else ''}coalesce(runs.crashed, false)"
            if comparator in NULLS:
                return f"{self._attributes[key]} {comparator}"
            return self._compared(self._attributes[key], comparator, value)
        if entity == DATASET:
            self.lookups += 1
            passing = self._compared(f"datasets.{key}", comparator, value)
            return f"runs.run_id IN (SELECT run_id FROM base.datasets datasets WHERE {passing})"
        if comparator in NULLS:
            self.lookups += 1
            return f"runs.run_id {'NOT IN' if comparator == 'IS NULL' else 'IN'} ({self._rows(comparison.name)})"
        return self._by_key(comparison.name, [comparison], " AND ")

    def _by_key(self, name: Name, comparisons: Sequence[Comparison], joined: str) -> str:
        """A run passes when it has that key with such a value."""
        self.lookups += 1
        condition = joined.join(self._compared(name.column, each.comparator, each.value) for each in comparisons)
        if name.entity == METRIC:
            # NaN differs from every number and compares with none; to DuckDB it is the greatest
            differs = [each.comparator == "!=" for each in comparisons]
            passes = all(differs) if joined == " AND " else any(differs)
            condition = f"({condition}) {'OR' if passes else 'AND NOT'} isnan({name.column})"
        return f"runs.run_id IN ({self._rows(name)} AND ({condition}))"

    def _rows(self, name: Name) -> str:
        return f"SELECT run_id FROM {TABLES[name.entity]} WHERE key = {self._parameters.add(name.key)}"

    def _compared(self, column: str, comparator: str, value: float | str | Sequence[str] | None) -> str:
        if isinstance(value, tuple):
            return f"{column} {comparator} ({', '.join(map(self._parameters.add, value))})"
        return f"{column} {comparator} {self._parameters.add(value)}"
