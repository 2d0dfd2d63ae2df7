"""Views of the traces in memory, kept from one search to the next: sorted lists, and the traces that have a value.

Each is made when it is first asked for, and afterwards follows the traces one by one, so a search over many traces
costs what it finds and not what there is.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cmp_to_key
from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable
    from typing import Any

    from mltrack.storage.traces.trace import Trace

__all__ = ["LATEST_FIRST", "SortKey", "TraceField", "TraceViews", "in_order", "place_in"]

VIEWS_MAX = 8
"""The number of sorted lists, and of fields, that are kept: those used last."""

_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True)
class SortKey:
    """A value to sort by. Traces without one come last, ascending or descending."""

    name: Hashable
    ascending: bool
    value: Callable[[Trace], Any] = field(compare=False)


@dataclass(frozen=True, slots=True)
class TraceField:
    """The values that a trace has in one respect, such as that of a tag.

    ``as_text``: its texts stand in a trace's tags, metadata or links as they are.
    """

    name: Hashable
    values: Callable[[Trace], Iterable[Hashable]] = field(compare=False)
    as_text: bool = field(default=False, compare=False)


LATEST_FIRST = (
    SortKey(("attribute", "timestamp_ms"), False, attrgetter("request_time")),
    SortKey(("attribute", "request_id"), True, attrgetter("trace_id")),
)
"""The order of traces unless another is asked for, and the end of each."""


def in_order(traces: Iterable[Trace], keys: tuple[SortKey, ...]) -> list[Trace]:
    """Traces sorted by all keys, the first counts most."""
    found = list(traces)
    for key in reversed(keys):
        values = [key.value(trace) for trace in found]
        without: list[Trace] = []
        if None in values:
            without = [trace for trace, value in zip(found, values, strict=True) if value is None]
            found = [trace for trace, value in zip(found, values, strict=True) if value is not None]
        found.sort(key=key.value, reverse=not key.ascending)
        found += without
    return found


class TraceViews:
    """The views of one index of traces. It is not for several threads at once; the index has a lock."""

    def __init__(self) -> None:
        self._sorted: OrderedDict[tuple[frozenset[str] | None, tuple[SortKey, ...]], list[Trace]] = OrderedDict()
        self._having: OrderedDict[TraceField, dict[Hashable, dict[str, Trace]]] = OrderedDict()

    def clear(self) -> None:
        """Forget all, after many changes."""
        self._sorted.clear()
        self._having.clear()

    def in_order(
        self,
        scope: frozenset[str] | None,
        keys: tuple[SortKey, ...],
        every: Callable[[], Iterable[Trace]],
        sorted_already: Callable[[], list[Trace]] | None = None,
    ) -> list[Trace]:
        """The traces of these experiments (None: of all), sorted; ``keys`` end with one that no two traces share."""
        found = self._sorted.get((scope, keys))
        if found is None and sorted_already is not None:
            found = self._sorted[scope, keys] = sorted_already()
        if found is None:
            within = (trace for trace in every() if scope is None or trace.experiment_id in scope)
            found = self._sorted[scope, keys] = in_order(within, keys)
        _keep(self._sorted, (scope, keys))
        return found.copy()

    def having(self, asked: TraceField, value: Hashable, every: Callable[[], Iterable[Trace]]) -> list[Trace]:
        """The traces that have the value in that field, in any order."""
        by_value = self._having.get(asked)
        if by_value is None:
            by_value = self._having[asked] = {}
            for trace in every():
                _enter(by_value, asked, trace)
        _keep(self._having, asked)
        return list(by_value.get(value, {}).values())

    def replace(self, old: Trace | None, new: Trace | None) -> None:
        """A trace changed, or is new, or is gone."""
        for (scope, keys), traces in self._sorted.items():
            position = place_in(keys)
            if old is not None and (scope is None or old.experiment_id in scope):
                del traces[bisect_left(traces, position(old), key=position)]
            if new is not None and (scope is None or new.experiment_id in scope):
                insort(traces, new, key=position)
        for asked, by_value in self._having.items():
            if old is not None:
                for value in asked.values(old):
                    del by_value[value][old.trace_id]
            if new is not None:
                _enter(by_value, asked, new)


def _keep(views: OrderedDict[_Key, Any], used: _Key) -> None:
    views.move_to_end(used)
    if len(views) > VIEWS_MAX:
        views.popitem(last=False)


def _enter(by_value: dict[Hashable, dict[str, Trace]], asked: TraceField, trace: Trace) -> None:
    for value in asked.values(trace):
        by_value.setdefault(value, {})[trace.trace_id] = trace


def place_in(keys: tuple[SortKey, ...]) -> Callable[[Trace], Any]:
    """The key of ``bisect`` for a list of traces that is sorted by these keys."""
    return cmp_to_key(_comparison(keys))


def _comparison(keys: tuple[SortKey, ...]) -> Callable[[Trace, Trace], int]:
    def compare(one: Trace, other: Trace) -> int:
        for key in keys:
            first, second = key.value(one), key.value(other)
            if first == second:
                continue
            if first is None or second is None:
                return 1 if first is None else -1
            return -1 if (first < second) == key.ascending else 1
        return 0

    return compare
