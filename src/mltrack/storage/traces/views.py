"""Views of the traces in memory, kept from one search to the next: sorted lists, and the traces that have a value.

Each is made when it is first asked for, and afterwards follows the traces one by one, so a search over many traces
costs what it finds and not what there is.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cmp_to_key
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol, TypeVar, cast, overload

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
    from typing import Any

    from mltrack.storage.traces.trace import Trace

__all__ = ["FEW_MAX", "LATEST_FIRST", "SortKey", "TraceField", "TraceList", "TraceViews", "in_order", "place_in"]

VIEWS_MAX = 8
"""The number of sorted lists, and of fields, that are kept: those used last."""

VALUES_MAX = 8
"""After so many values of one field, a view of all its values is made."""

FEW_MAX = 2000
"""More traces with a value are not few; those are found sooner by looking at all in their order."""

_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True)
class SortKey:
    """A value to sort by. Traces without one come last, ascending or descending.

    ``column``: the field of a trace that it is, if it is one of ``trace_id, request_time, duration, state``.
    """

    name: Hashable
    ascending: bool
    value: Callable[[Trace], Any] = field(compare=False)
    column: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class TraceField:
    """The values that a trace has in one respect, such as that of a tag.

    ``column``: as that of ``SortKey``. ``text``: what stands in the saved row of each trace with a value, as JSON;
    of the value itself if ``as_text``.
    """

    name: Hashable
    values: Callable[[Trace], Iterable[Hashable]] = field(compare=False)
    as_text: bool = field(default=False, compare=False)
    column: str | None = field(default=None, compare=False)
    text: str | None = field(default=None, compare=False)

    def text_of(self, value: Hashable) -> str | None:
        """What stands in the saved row of a trace with that value; None if that is not known."""
        return json.dumps(value) if self.as_text and isinstance(value, str) else self.text


LATEST_FIRST = (
    SortKey(("attribute", "timestamp_ms"), False, attrgetter("request_time"), "request_time"),
    SortKey(("attribute", "request_id"), True, attrgetter("trace_id"), "trace_id"),
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


class SavedTraces(Protocol):
    """Traces that were saved, in rows."""

    made: list[Trace | None]

    def trace(self, row: int) -> Trace:
        """That of a row, which is ``made`` then."""


class TraceList(Sequence["Trace"]):
    """Traces in an order. Those that were saved are rows, of which each trace is made when it is asked for."""

    __slots__ = ("_items", "_saved")

    def __init__(self, items: list[Trace | int], saved: SavedTraces | None = None) -> None:
        """``saved`` has the traces of the rows among ``items``."""
        self._items = items
        self._saved = saved

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> Trace: ...
    @overload
    def __getitem__(self, index: slice) -> TraceList: ...
    def __getitem__(self, index: int | slice) -> Trace | TraceList:
        if isinstance(index, slice):
            return TraceList(self._items[index], self._saved)
        item = self._items[index]
        return self._saved.trace(item) if self._saved is not None and isinstance(item, int) else cast("Trace", item)

    def __iter__(self) -> Iterator[Trace]:
        if self._saved is None:
            return iter(cast("list[Trace]", self._items))
        return self._each(self._saved)

    def _each(self, saved: SavedTraces) -> Iterator[Trace]:
        made = saved.made
        for item in self._items:
            yield (made[item] or saved.trace(item)) if isinstance(item, int) else item

    def add(self, trace: Trace, position: Callable[[Trace], Any]) -> None:
        """Put a trace in its place."""
        self._items.insert(bisect_right(self, position(trace), key=position), trace)

    def remove(self, trace: Trace, position: Callable[[Trace], Any]) -> None:
        """Take a trace from its place."""
        del self._items[bisect_left(self, position(trace), key=position)]


class TraceViews:
    """The views of one index of traces. It is not for several threads at once; the index has a lock."""

    def __init__(self) -> None:
        self._sorted: OrderedDict[tuple[frozenset[str] | None, tuple[SortKey, ...]], TraceList] = OrderedDict()
        self._having: OrderedDict[TraceField, dict[Hashable, dict[str, Trace]]] = OrderedDict()
        self._few: OrderedDict[tuple[TraceField, Hashable], dict[str, Trace] | None] = OrderedDict()

    def clear(self) -> None:
        """Forget all, after many changes."""
        self._sorted.clear()
        self._having.clear()
        self._few.clear()

    def in_order(
        self,
        scope: frozenset[str] | None,
        keys: tuple[SortKey, ...],
        every: Callable[[], Iterable[Trace]],
        from_saved: Callable[[], TraceList | None] = lambda: None,
    ) -> TraceList:
        """The traces of these experiments (None: of all), sorted; ``keys`` end with one that no two traces share."""
        found = self._sorted.get((scope, keys))
        if found is None:
            found = from_saved()
            if found is None:
                within = (trace for trace in every() if scope is None or trace.experiment_id in scope)
                found = TraceList([*in_order(within, keys)])
            self._sorted[scope, keys] = found
        _keep(self._sorted, (scope, keys), VIEWS_MAX)
        return found[:]

    def having(
        self,
        asked: TraceField,
        value: Hashable,
        every: Callable[[], Iterable[Trace]],
        few: Callable[[], list[Trace] | None],
    ) -> list[Trace] | None:
        """Traces that may have the value in that field, all that have it among them, in any order; None if not few."""
        found: Mapping[str, Trace] | None
        by_value = self._having.get(asked)
        if by_value is None and (asked, value) not in self._few:
            if sum(one == asked for one, _ in self._few) >= VALUES_MAX:
                by_value = self._having[asked] = {}
                for trace in every():
                    _enter(by_value, asked, trace)
            else:
                traces = few()
                by_id = None if traces is None else {trace.trace_id: trace for trace in traces}
                self._few[asked, value] = by_id
        if by_value is not None:
            _keep(self._having, asked, VIEWS_MAX)
            found = by_value.get(value, {})
        else:
            _keep(self._few, (asked, value), VIEWS_MAX * VALUES_MAX)
            found = self._few[asked, value]
        return None if found is None or len(found) > FEW_MAX else list(found.values())

    def replace(self, old: Trace | None, new: Trace | None) -> None:
        """A trace changed, or is new, or is gone."""
        for (scope, keys), traces in self._sorted.items():
            position = place_in(keys)
            if old is not None and (scope is None or old.experiment_id in scope):
                traces.remove(old, position)
            if new is not None and (scope is None or new.experiment_id in scope):
                traces.add(new, position)
        for asked, by_value in self._having.items():
            if old is not None:
                for value in asked.values(old):
                    del by_value[value][old.trace_id]
            if new is not None:
                _enter(by_value, asked, new)
        for (asked, value), few in self._few.items():
            if few is not None and old is not None:
                few.pop(old.trace_id, None)
            if few is not None and new is not None and value in asked.values(new):
                few[new.trace_id] = new


def _keep(views: OrderedDict[_Key, Any], used: _Key, views_max: int) -> None:
    views.move_to_end(used)
    if len(views) > views_max:
        views.popitem(last=False)


def _enter(by_value: dict[Hashable, dict[str, Trace]], asked: TraceField, trace: Trace) -> None:
    for value in asked.values(trace):
        by_value.setdefault(value, {})[trace.trace_id] = trace


def place_in(keys: tuple[SortKey, ...]) -> Callable[[Trace], Any]:
    """The key of ``bisect`` for a list of traces that is sorted by these keys."""
    if keys == LATEST_FIRST:
        return lambda trace: (-trace.request_time, trace.trace_id)
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
