"""`mltrack ls --group-by`: one line for each group of runs, with mean and deviation of their metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mltrack.catalog.aggregates import aggregate_in
from mltrack.errors import UsageError
from mltrack.text.printing import Column, is_terminal, note, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mltrack.catalog.groups import RunGroup

__all__ = ["grouped_columns", "order_groups", "print_groups"]


def grouped_columns(columns: Sequence[str]) -> dict[str, str]:
    """The aggregate for each column that has numbers: that of ``loss`` is ``last(loss)``. Params and tags have none."""
    found = {}
    for name in columns:
        aggregate = aggregate_in(name)
        if aggregate is not None:
            found[name] = aggregate.name
        elif not name.startswith(("params.", "tags.")):
            found[name] = f"last({name.removeprefix('metrics.')})"
    return found


def order_groups(groups: Sequence[RunGroup], order_by: Sequence[str], columns: Mapping[str, str]) -> list[RunGroup]:
    """The groups in the order of the mean of columns, those without it last.

    Raises:
        UsageError: there is no such column.
    """
    ordered = list(groups)
    for clause in reversed(order_by):
        words = clause.split()
        down = len(words) > 1 and words[-1].upper() == "DESC"
        field = " ".join(words[:-1] if words[-1:] and words[-1].upper() in ("ASC", "DESC") else words)
        name = columns.get(field) or grouped_columns([field]).get(field, "")
        if name not in columns.values():
            raise UsageError(f"no column {field!r} to order groups by", hint=f"one of {', '.join(columns)}")

        def place(group: RunGroup, name: str = name, down: bool = down) -> tuple[int, float]:
            spread = group.values.get(name)
            if spread is None or spread.mean != spread.mean:
                return 2 if spread is None else 1, 0.0
            return 0, -spread.mean if down else spread.mean

        ordered.sort(key=place)
    return ordered


def group_facts(group: RunGroup) -> dict[str, Any]:
    """A group for --json."""
    from dataclasses import asdict

    return {
        "keys": dict(group.keys),
        "runs": len(group.run_ids),
        "run_ids": list(group.run_ids),
        "values": {name: asdict(spread) for name, spread in group.values.items()},
    }


def print_groups(groups: Sequence[RunGroup], columns: Mapping[str, str], *, as_json: bool, line: bool = False) -> None:
    """Print a line for each group: what the runs have in common, how many they are, and mean ± deviation."""
    from mltrack.cli.formatting import number, plain_number, spread_text

    if as_json:
        print_json([group_facts(group) for group in groups], line=line)
        return
    if not groups:
        return
    shown = number if is_terminal() else plain_number
    keys = list(groups[0].keys)
    head = [
        *(Column(key, style="cyan", cut=True) for key in keys),
        Column("runs", right=True),
        *(Column(name, right=True, drop=1) for name in columns),
    ]
    rows = [
        [
            *("-" if text is None else text for text in group.keys.values()),
            str(len(group.run_ids)),
            *(
                "" if (spread := group.values.get(name)) is None else spread_text(spread.mean, spread.std, shown)
                for name in columns.values()
            ),
        ]
        for group in groups
    ]
    print_table(head, rows)
    if is_terminal():
        note("mean ± standard deviation over the runs of each group")
