"""Groups of runs that have the same params, and what their metrics are over the runs of a group: mean and deviation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from mltrack.catalog.aggregates import find_aggregates
from mltrack.catalog.search import run_page, values_by_run
from mltrack.errors import UsageError
from mltrack.values.arguments import list_argument, text_argument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import duckdb

    from mltrack.catalog.search import RunQuery

__all__ = ["RunGroup", "RunValues", "Spread", "find_values", "group_runs", "parse_keys"]

_INFO = (
    "run_id",
    "run_name",
    "experiment_id",
    "experiment_name",
    "status",
    "start_time",
    "end_time",
    "lifecycle_stage",
    "user_id",
    "parent_run_id",
)
"""What the columns of a run in ``run_page`` are called."""

_ATTRIBUTES = {name: name for name in _INFO} | {"experiment": "experiment_name", "user": "user_id"}
_KINDS = {"params": "params", "param": "params", "tags": "tags", "tag": "tags"}


class _Key(NamedTuple):
    """What runs are grouped by: a kind (params, tags, attributes), a name of it, and how it was written."""

    kind: str
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Spread:
    """One value a run, over the runs of a group that have it.

    ``std`` is the sample standard deviation (divided by count - 1), None for fewer than two runs. A NaN among the
    values makes ``mean`` and ``std`` NaN, and is left out of ``min`` and ``max``.
    """

    mean: float
    std: float | None
    min: float
    max: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """That of one value or more."""
        mean = sum(values) / len(values)  # not fsum, which fails where the sum is too large for a float
        std = None
        if len(values) > 1 and math.isfinite(values[0]) and all(value == values[0] for value in values):
            mean, std = values[0], 0.0  # sums of equal values are not exact
        elif len(values) > 1:
            std = math.sqrt(sum((value - mean) * (value - mean) for value in values) / (len(values) - 1))
        known = [value for value in values if not math.isnan(value)] or [math.nan]
        return cls(mean, std, min(known), max(known), len(values))


@dataclass(frozen=True, slots=True)
class RunGroup:
    """Runs with the same values of what they were grouped by (None: they have none), in the order of the search.

    ``values`` has a Spread for each aggregate that one of the runs has, by name: ``group.values["last(loss)"].mean``.
    """

    keys: Mapping[str, str | None]
    run_ids: tuple[str, ...]
    values: Mapping[str, Spread]


class RunValues(NamedTuple):
    """Of one run: what it is grouped by, and its aggregates by name."""

    keys: tuple[str | None, ...]
    aggregates: dict[str, float]


def parse_keys(texts: Sequence[str]) -> tuple[_Key, ...]:
    """What to group by: ``params.lr``, ``tags.team``, ``experiment``, ``status``; another bare name is a param.

    Raises:
        UsageError: there is none, or metrics are among them.
    """
    if isinstance(texts, str):
        raise UsageError(f"keys is {texts!r}, not a list", hint=f"write [{texts!r}]")
    found = []
    for text in [text_argument("by", text) for text in list_argument("by", texts)]:
        kind, dot, name = text.strip().partition(".")
        if dot and name and kind in _KINDS:
            found.append(_Key(_KINDS[kind], name.strip('`"'), text))
        elif dot and kind in ("metrics", "metric"):
            raise UsageError(f"runs can't be grouped by a metric: {text!r}", hint="group by params.NAME or tags.NAME")
        elif dot and kind in ("attributes", "attribute") and name in _ATTRIBUTES:
            found.append(_Key("attributes", _ATTRIBUTES[name], text))
        elif text.strip() in _ATTRIBUTES:
            found.append(_Key("attributes", _ATTRIBUTES[text.strip()], text))
        elif text.strip():
            found.append(_Key("params", text.strip().strip('`"'), text))
    if not found:
        raise UsageError("there is nothing to group by", hint="for example params.lr")
    return tuple(found)


def find_values(con: duckdb.DuckDBPyConnection, query: RunQuery, keys: Sequence[_Key]) -> dict[str, RunValues]:
    """What the runs of a search are grouped by, and their aggregates that are in the catalog, by run, in order."""
    rows, _ = run_page(con, query, "")
    ids = [row[0] for row in rows]
    facts = {
        table: values_by_run(con, table, ids, [key.name for key in keys if key.kind == table])
        for table in ("params", "tags")
    }
    aggregates = find_aggregates(con, ids, query.aggregates)

    def value(row: tuple[Any, ...], key: _Key) -> str | None:
        own = row[_INFO.index(key.name)] if key.kind == "attributes" else facts[key.kind].get(row[0], {}).get(key.name)
        return None if own is None else str(own)

    return {row[0]: RunValues(tuple(value(row, key) for key in keys), aggregates.get(row[0], {})) for row in rows}


def group_runs(keys: Sequence[_Key], runs: Mapping[str, RunValues]) -> list[RunGroup]:
    """The groups, in the order of their keys: numbers by their size, other texts after them, what is missing last."""
    members: dict[tuple[str | None, ...], list[str]] = {}
    for run_id, values in runs.items():
        members.setdefault(values.keys, []).append(run_id)
    groups = []
    for group in sorted(members, key=lambda texts: [_rank(text) for text in texts]):
        ids = members[group]
        spreads = {name: Spread.of(values) for name, values in _by_name(runs[run_id].aggregates for run_id in ids)}
        groups.append(
            RunGroup({key.text: text for key, text in zip(keys, group, strict=True)}, tuple(ids), spreads),
        )
    return groups


def _by_name(rows: Iterable[Mapping[str, float]]) -> Iterable[tuple[str, list[float]]]:
    found: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            found.setdefault(name, []).append(value)
    return found.items()


def _rank(text: str | None) -> tuple[int, float, str]:
    if text is None:
        return 2, 0.0, ""
    try:
        number = float(text)
    except ValueError:
        return 1, 0.0, text
    return (0, number, text) if not math.isnan(number) else (1, 0.0, text)
