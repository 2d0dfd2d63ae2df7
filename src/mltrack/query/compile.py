"""Filters as SQL conditions on the catalog, with every value bound."""

from __future__ import annotations

from collections.abc import Sequence

from mltrack.query.filter import ATTRIBUTE, DATASET, METRIC, PARAM, TAG, And, Comparison, Name, Node, Or

__all__ = ["TABLES", "Parameters", "compile_filter", "database_text"]


def database_text(text: str) -> str:
    """Text as the catalog has it: lone surrogates, which are no text to a database, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


class Parameters:
    """Values for a statement, each bound under a name of its own; nothing from outside is ever put into the text."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}

    def add(self, value: object) -> str:
        """Bind a value; returns what stands for it in the statement."""
        name = f"p{len(self.values)}"
        self.values[name] = database_text(value) if isinstance(value, str) else value
        return f"${name}"


TABLES = {METRIC: "base.latest_metrics", PARAM: "base.params", TAG: "base.tags"}


def compile_filter(node: Node, parameters: Parameters, attributes: dict[str, str]) -> str:
    """A condition on ``runs`` for the WHERE clause. ``attributes`` gives the SQL for each of ATTRIBUTES."""
    match node:
        case And(parts):
            return "(" + " AND ".join(compile_filter(part, parameters, attributes) for part in parts) + ")"
        case Or(parts):
            return "(" + " OR ".join(compile_filter(part, parameters, attributes) for part in parts) + ")"
        case Comparison(Name(entity, key), comparator, value):
            if entity == ATTRIBUTE:
                return _condition(attributes[key], comparator, value, parameters)
            if entity == DATASET:
                passing = _condition(f"datasets.{key}", comparator, value, parameters)
                return f"runs.run_id IN (SELECT run_id FROM base.datasets datasets WHERE {passing})"
            return _by_key(entity, key, comparator, value, parameters)


def _condition(column: str, comparator: str, value: float | str | Sequence[str] | None, parameters: Parameters) -> str:
    if isinstance(value, tuple):
        return f"{column} {comparator} ({', '.join(parameters.add(item) for item in value)})"
    return f"{column} {comparator} {parameters.add(value)}"


def _by_key(
    entity: str, key: str, comparator: str, value: float | str | Sequence[str] | None, parameters: Parameters
) -> str:
    """A run passes when it has that key with such a value; one without the key passes only IS NULL."""
    rows = f"SELECT run_id FROM {TABLES[entity]} WHERE key = {parameters.add(key)}"
    if comparator in ("IS NULL", "IS NOT NULL"):
        return f"runs.run_id {'NOT IN' if comparator == 'IS NULL' else 'IN'} ({rows})"
    condition = _condition("value", comparator, value, parameters)
    if entity == METRIC:  # NaN differs from every number and compares with none; to DuckDB it is the greatest
        condition = f"({condition} OR isnan(value))" if comparator == "!=" else f"{condition} AND NOT isnan(value)"
    return f"runs.run_id IN ({rows} AND {condition})"
