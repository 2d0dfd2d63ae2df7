"""Rows that a tracker logged as JSON objects, collected as points and as values that are more than numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np

from mltrack.importers.batches import Columns
from mltrack.importers.json_fields import number_of

__all__ = ["BATCH_ITEMS", "INT64_MAX", "LoggedItem", "LoggedRows", "is_step"]

BATCH_ITEMS = 1 << 16
INT64_MAX = 2**63 - 1
DEPTH_MAX = 20


def is_step(value: object) -> TypeGuard[int]:
    """Whether a value is a step that a point can have."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= INT64_MAX


@dataclass(frozen=True, slots=True)
class LoggedItem:
    """A value that is not a number; ``time`` is in ns since the epoch."""

    key: str
    step: int
    time: int
    value: Any


@dataclass(slots=True)
class LoggedRows:
    """Collects rows; ``take`` gives what was collected. Nested keys are joined by dots."""

    keys: dict[str, int] = field(default_factory=dict)
    _codes: list[int] = field(default_factory=list)
    _values: list[float] = field(default_factory=list)
    _rows: list[tuple[int, int, int]] = field(default_factory=list)
    _others: list[LoggedItem] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._codes)

    def add(self, step: int, time: int, fields: Mapping[str, Any]) -> None:
        """Add a row. ``step`` and ``time`` are within 64 bits."""
        before, keys, codes, values = len(self._codes), self.keys, self._codes, self._values
        for key, value in fields.items():
            if type(value) is float:
                code = keys.get(key)
                if code is None:
                    code = keys[key] = len(keys)
                codes.append(code)
                values.append(value)
            else:
                self._add_other(key, step, time, value)
        if len(codes) > before:
            self._rows.append((len(codes) - before, step, time))

    def _add_other(self, key: str, step: int, time: int, value: Any) -> None:
        for name, leaf in _leaves(key, value, 0):
            number = number_of(leaf)
            if number is not None:
                self._codes.append(self.keys.setdefault(name, len(self.keys)))
                self._values.append(number)
            elif leaf is not None:
                self._others.append(LoggedItem(name, step, time, leaf))

    def take(self) -> tuple[Columns, list[LoggedItem]]:
        """The points, and the other values; both are forgotten here."""
        counts, steps, times = (np.array([row[place] for row in self._rows], np.int64) for place in range(3))
        columns = Columns(
            list(self.keys),
            np.array(self._codes, np.int64),
            np.repeat(steps, counts),
            np.repeat(times, counts),
            np.array(self._values, np.float64),
        )
        others = self._others
        self._codes, self._values, self._rows, self._others = [], [], [], []
        return columns, others


def _leaves(key: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """A nested object's fields; one with a type is a value."""
    if isinstance(value, dict) and "_type" not in value and depth < DEPTH_MAX:
        for name, inner in value.items():
            yield from _leaves(f"{key}.{name}", inner, depth + 1)
    else:
        yield key, value
