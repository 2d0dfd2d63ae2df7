"""Runs as a tree of rows, by experiment, by parent, or by any param or tag; only what is open has rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from mltrack.top.filters import GROUP_EXPERIMENT, GROUP_PARENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mltrack.catalog.overview import RunLine

__all__ = ["Row", "RunTree"]

NO_VALUE = "(none)"


class Row(NamedTuple):
    """A row: a group, or a run. ``key`` stays the same while the tree changes."""

    key: str
    depth: int
    label: str
    run: RunLine | None
    size: int
    live: int
    open: bool

    @property
    def has_children(self) -> bool:
        """Whether it can be opened."""
        return self.size > 0


@dataclass(slots=True)
class RunTree:
    """The tree; ``closed`` and ``opened`` are the keys of rows that were closed and opened by hand.

    Groups are open at first where there are few, runs with children are closed.
    """

    lines: Sequence[RunLine] = ()
    group_by: str = GROUP_EXPERIMENT
    closed: set[str] = field(default_factory=set)
    opened: set[str] = field(default_factory=set)
    _children: dict[str, list[RunLine]] = field(default_factory=dict)
    _groups: dict[str, list[RunLine]] = field(default_factory=dict)

    def show(self, lines: Sequence[RunLine], group_by: str) -> None:
        """Take other runs, the latest first, or another grouping."""
        self.lines, self.group_by = lines, group_by
        known = {line.run_id for line in lines}
        self._children, self._groups = {}, {}
        for line in lines:
            parent = line.parent_run_id
            if parent is not None and parent in known and parent != line.run_id and self._nests:
                self._children.setdefault(parent, []).append(line)
            else:
                self._groups.setdefault(self._group_of(line), []).append(line)

    @property
    def _nests(self) -> bool:
        """Whether runs are below their parents: where these are in the same group."""
        return self.group_by in (GROUP_EXPERIMENT, GROUP_PARENT)

    def _group_of(self, line: RunLine) -> str:
        if self.group_by == GROUP_EXPERIMENT:
            return line.experiment
        if self.group_by == GROUP_PARENT:
            return ""
        return NO_VALUE if line.value is None else line.value

    def rows(self) -> list[Row]:
        """The rows that can be seen."""
        found: list[Row] = []
        for name, runs in self._sorted_groups():
            if self.group_by == GROUP_PARENT:
                self._add_runs(found, runs, 0)
                continue
            key = f"group:{name}"
            is_open = key not in self.closed
            size = len(runs) + sum(len(self.below(run.run_id)) for run in runs if run.run_id in self._children)
            live = sum(run.live for run in runs)
            found.append(Row(key, 0, name, None, size, live, is_open))
            if is_open:
                self._add_runs(found, runs, 1)
        return found

    def _sorted_groups(self) -> list[tuple[str, list[RunLine]]]:
        """Groups of params and tags by value, as numbers where all are; experiments by their latest run."""
        if self._nests:
            return list(self._groups.items())
        try:
            return sorted(self._groups.items(), key=lambda item: (item[0] == NO_VALUE, float(_number(item[0]))))
        except ValueError:
            return sorted(self._groups.items(), key=lambda item: (item[0] == NO_VALUE, item[0]))

    def _add_runs(self, found: list[Row], runs: Sequence[RunLine], depth: int) -> None:
        left = [(run, depth) for run in reversed(runs)]
        seen: set[str] = set()
        while left:
            run, at = left.pop()
            if run.run_id in seen:
                continue
            seen.add(run.run_id)
            children = self._children.get(run.run_id)
            if children is None:
                found.append(Row(run.run_id, at, run.name, run, 0, 0, False))
                continue
            is_open = run.run_id in self.opened
            live = sum(child.live for child in children)
            found.append(Row(run.run_id, at, run.name, run, len(children), live, is_open))
            if is_open:
                left += [(child, at + 1) for child in reversed(children)]

    def below(self, key: str, most: int | None = None) -> list[RunLine]:
        """The runs of a group, or the children of a run and theirs, the latest first; ``most`` of them at most."""
        if not key.startswith("group:"):
            return list(islice(self._descendants(key), most))
        tops = self._groups.get(key.removeprefix("group:"), [])
        each = (line for run in tops for line in (run, *self._descendants(run.run_id)))
        return list(islice(each, most))

    def _descendants(self, run_id: str) -> Iterator[RunLine]:
        if run_id not in self._children:
            return
        left = list(reversed(self._children[run_id]))
        seen = {run_id}
        while left:
            run = left.pop()
            if run.run_id not in seen:
                seen.add(run.run_id)
                yield run
                left += reversed(self._children.get(run.run_id, []))

    def toggle(self, row: Row) -> None:
        """Open a row that is closed, close one that is open."""
        if row.run is None:
            self.closed ^= {row.key}
        elif row.has_children:
            self.opened ^= {row.key}


def _number(text: str) -> str:
    return "nan" if text == NO_VALUE else text
