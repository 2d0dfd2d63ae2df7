"""MLflow's order_by for runs, and pages that stay stable while runs are added and removed.

As in MLflow's SQL store: runs without the value come last, NaN just before them, in both directions; then, unless
ordered by it already, the latest start first, then by run id. In addition, the alias ``Run name``, blanks around a
clause and aggregates (``min(loss) DESC``) are understood.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from mltrack.catalog.aggregates import IN_CATALOG, aggregate_in
from mltrack.catalog.filter_parser import ATTRIBUTE, DATASET, METRIC, Name, Reader
from mltrack.catalog.filter_sql import TABLES, Parameters
from mltrack.errors import FilterError, UsageError
from mltrack.values.arguments import list_argument

__all__ = ["Order", "after_token", "compile_order", "page_token", "parse_order_by"]


ORDERS_MAX = 50

_AGGREGATE = re.compile(r"(.*\))\s*(ASC|DESC)?\s*", re.IGNORECASE | re.DOTALL)


class Order(NamedTuple):
    """A name to order by, and the direction."""

    name: Name
    ascending: bool


class SortColumn(NamedTuple):
    """One column of the sort key: its SQL, and whether it is descending."""

    sql: str
    descending: bool


def parse_order_by(clauses: Sequence[str] | None) -> tuple[Order, ...]:
    """The orderings in MLflow's form: ``["metrics.loss DESC", "start_time"]``.

    Raises:
        FilterError: one does not parse, or occurs twice, or there are too many.
    """
    if isinstance(clauses, str):
        raise FilterError(f"order_by {clauses!r} is not a list", hint=f"write order_by=[{clauses!r}]")
    given = list_argument("order_by", clauses)
    if len(given) > ORDERS_MAX:
        raise FilterError(f"order_by has {len(given):,} parts; at most {ORDERS_MAX}", hint="order by fewer names")
    orders: list[Order] = []
    for clause in given:
        if not isinstance(clause, str):
            raise FilterError(f"order_by has {clause!r}, which is not text", hint="write: metrics.loss DESC")
        order = _parse(clause)
        if any(order.name == other.name for other in orders):
            raise FilterError(f"order_by names {clause!r} twice", hint="name each only once")
        orders.append(order)
    return tuple(orders)


def _parse(clause: str) -> Order:
    found = _AGGREGATE.fullmatch(clause)
    aggregate = None if found is None else aggregate_in(found[1])
    if found is not None and aggregate is not None:
        if aggregate.function not in IN_CATALOG:
            raise FilterError(f"runs can't be ordered by {aggregate.name}", hint=f"by {', '.join(IN_CATALOG)} they can")
        descending = (found[2] or "").upper() == "DESC"
        return Order(Name(METRIC, aggregate.metric, IN_CATALOG[aggregate.function]), not descending)
    reader = Reader(clause)
    name = reader.name()
    if name.entity == DATASET:
        raise reader.error("runs can't be ordered by datasets: a run may have many", "order by an attribute", 0)
    direction = reader.take_word("ASC", "DESC")
    if reader.peek.kind != "end":
        raise reader.error(f"ASC or DESC was expected, not {reader.found()}", "write for example: metrics.loss DESC")
    return Order(name, direction != "DESC")


def compile_order(
    orders: Sequence[Order], parameters: Parameters, attributes: dict[str, str]
) -> tuple[list[str], list[SortColumn]]:
    """The joins that the ordering needs, and the columns of its sort key (the last one is the run id)."""
    joins: list[str] = []
    columns: list[SortColumn] = []
    for number, (name, ascending) in enumerate(orders):
        if name.entity == ATTRIBUTE:
            value = attributes[name.key]
            rank = f"({value} IS NULL)::INTEGER"
        else:
            table, alias = TABLES[name.entity], f"o{number}"
            rows = f"SELECT run_id, {name.column} AS value FROM {table} WHERE key = {parameters.add(name.key)}"
            joins.append(f"LEFT JOIN ({rows}) {alias} ON {alias}.run_id = runs.run_id")
            value = f"{alias}.value"
            rank = f"CASE WHEN {value} IS NULL THEN 2 ELSE 0 END"
            if name.entity == METRIC:
                rank = f"CASE WHEN {value} IS NULL THEN 2 WHEN isnan({value}) THEN 1 ELSE 0 END"
                value = f"CASE WHEN isnan({value}) THEN 0 ELSE {value} END"
        columns += [SortColumn(rank, False), SortColumn(value, not ascending)]
    if not any(name == Name(ATTRIBUTE, "start_time") for name, _ in orders):
        columns.append(SortColumn("runs.start_time", True))
    columns.append(SortColumn("runs.run_id", False))
    return joins, columns


# --- pages -----------------------------------------------------------------------------------------------------


def page_token(query: object, last: Sequence[Any]) -> str:
    """A token for the page after the run whose sort key is ``last``; it is valid only for the same query."""
    return base64.urlsafe_b64encode(json.dumps([_mark(query), *last]).encode()).decode()


def _mark(query: object) -> int:
    return zlib.crc32(repr(query).encode("utf-8", "surrogatepass"))


def after_token(token: str, query: object, columns: Sequence[SortColumn], parameters: Parameters) -> str:
    """The condition that a run comes after the one of the token.

    Args:
        token: The token of the page before.
        query: What the token must belong to, see page_token.
        columns: The sort key.
        parameters: Gets the values of the condition.

    Raises:
        UsageError: it is not a token of this query.
    """
    try:
        mark, *last = json.loads(base64.urlsafe_b64decode(token))
    except (binascii.Error, ValueError, TypeError):
        mark, last = None, []
    if mark != _mark(query) or len(last) != len(columns):
        raise UsageError(
            f"page_token {str(token)[:40]!r} is not from this search",
            hint="give the token of the page before, with the same filter, ordering and view",
        )
    return " OR ".join(_after(columns, last, parameters))


def _after(columns: Sequence[SortColumn], last: Sequence[Any], parameters: Parameters) -> Iterable[str]:
    same: list[str] = []
    for (column, descending), value in zip(columns, last, strict=True):
        if value is None:  # its rank, the column before, separates these from the others
            continue
        bound = parameters.add(value)
        yield "(" + " AND ".join([*same, f"{column} {'<' if descending else '>'} {bound}"]) + ")"
        same.append(f"{column} = {bound}")
