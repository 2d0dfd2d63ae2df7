"""What the columns of a table are: the step, the time, metrics by column, or a metric's name and value in each row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Roles", "roles_of"]

STEPS = ("step", "global_step", "_step", "trainer/global_step", "iteration", "iter", "epoch")
TIMES = ("time", "timestamp", "_timestamp", "wall_time", "wall time", "walltime", "date", "datetime")
NAMES = ("metric", "key", "name", "tag")
VALUES = ("value",)
RUNS = ("run_id", "run", "run_name")


@dataclass(frozen=True, slots=True)
class Roles:
    """Columns by role, "" where there is none; ``name`` and ``value``: each row is a point of the metric it names.

    The first column that can be the step is it; another one that could have been, such as ``epoch``, is a metric.
    """

    step: str
    time: str
    name: str = ""
    value: str = ""
    run: str = ""


def roles_of(columns: Iterable[str]) -> Roles:
    """The roles of these columns, by their names in any case."""
    by_name = {column.strip().lower(): column for column in reversed(list(columns))}

    def first(names: tuple[str, ...]) -> str:
        return next((by_name[name] for name in names if name in by_name), "")

    step, time, name, value = first(STEPS), first(TIMES), first(NAMES), first(VALUES)
    if name and value:
        return Roles(step, time, name, value, first(RUNS))
    return Roles(step, time)
