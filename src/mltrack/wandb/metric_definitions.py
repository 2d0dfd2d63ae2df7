"""What ``define_metric`` says of metrics: their x axes, and what of them the summary has."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from mltrack.wandb.errors import Error

__all__ = ["Aggregates", "Definition", "Definitions", "Metric"]

_OPERATIONS = ("min", "max", "mean", "last", "first", "none")
_PLAIN = "copy"
"""wandb's old word for a summary that has the last value, as it has without any operation."""


@dataclass(slots=True)
class Definition:
    """Of one name, or of all that begin as a name with ``*`` at its end does."""

    name: str
    step_metric: str | None = None
    step_sync: bool | None = None
    summary: tuple[str, ...] = ()

    def matches(self, metric: str) -> bool:
        """Whether it is about that metric; a nested one also by its first part."""
        if self.name.endswith("*"):
            return metric.startswith(self.name[:-1])
        return metric == self.name


class Metric:
    """What ``define_metric`` returns."""

    def __init__(self, name: str) -> None:
        self.name = name


@dataclass(slots=True)
class Definitions:
    """All of a run; an exact name goes before one with a ``*``, a later one before an earlier one."""

    _all: dict[str, Definition] = field(default_factory=dict)
    _found: dict[str, Definition | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self._all)

    def add(
        self, name: str, step_metric: str | None, step_sync: bool | None, summary: str | None, overwrite: bool
    ) -> Definition:
        """Add to what is said of a name.

        Args:
            name: of a metric, or with ``*`` at its end.
            step_metric: its x axis.
            step_sync: whether the x axis is logged again where a row lacks it.
            summary: operations, with commas.
            overwrite: whether what was said before is forgotten.

        Raises:
            Error: the name or an operation is not valid.
        """
        if not name or "*" in name[:-1]:
            raise Error(f"{name!r} is not a metric's name", hint="a * may only be at its end")
        given = (one.strip().lower() for one in (summary or "").split(","))
        operations = tuple(one for one in given if one not in ("", _PLAIN))
        for operation in operations:
            if operation not in _OPERATIONS:
                raise Error(f"summary={operation!r} is not known", hint=f"one of {', '.join(_OPERATIONS)}")
        held = None if overwrite else self._all.get(name)
        made = Definition(
            name,
            step_metric or (held.step_metric if held else None),
            step_sync if step_sync is not None else held.step_sync if held else None,
            operations or (held.summary if held else ()),
        )
        self._all.pop(name, None)
        self._all[name] = made
        self._found.clear()
        return made

    def find(self, metric: str) -> Definition | None:
        """What is said of a metric."""
        if metric not in self._found:
            exact = self._all.get(metric)
            globs = [one for one in self._all.values() if one.name.endswith("*") and one.matches(metric)]
            self._found[metric] = exact or (globs[-1] if globs else None)
        return self._found[metric]


@dataclass(slots=True)
class Aggregates:
    """Least, greatest, mean, first and last value of one metric so far."""

    least: float = math.inf
    greatest: float = -math.inf
    total: float = 0.0
    count: int = 0
    first: float | None = None
    last: float | None = None

    def add(self, value: float) -> None:
        """Take a value; a NaN counts as the last one only."""
        self.last = value
        if value != value:
            return
        self.first = value if self.first is None else self.first
        self.least, self.greatest = min(self.least, value), max(self.greatest, value)
        self.total, self.count = self.total + value, self.count + 1

    def value(self, operation: str) -> float | None:
        """The value of an operation; None if nothing was taken."""
        if operation == "last":
            return self.last
        if not self.count:
            return None
        found = {"min": self.least, "max": self.greatest, "mean": self.total / self.count, "first": self.first}
        return found.get(operation)
