"""What the files of a project have in common: runs, and their rows, whichever way they are stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from mltrack.importers.batches import Columns
from mltrack.importers.logged_rows import LoggedItem

__all__ = ["METRICS", "SYSTEM", "Part", "ProjectFile", "RunHead", "RunHeads"]

METRICS, SYSTEM = "metrics", "system_metrics"
"""The two tables of rows."""

Part = tuple[Columns, list[LoggedItem]]
"""Points, and values that are not numbers."""


@dataclass(slots=True)
class RunHead:
    """A run: its id (versions of trackio before 0.24 have names only), and when its first and last rows were logged."""

    run_id: str
    name: str
    first: int = 0
    last: int = 0
    config: dict[str, Any] = field(default_factory=dict)


class RunHeads(dict[str, RunHead]):
    """Runs by id, in the order in which they are met."""

    def meet(self, run_id: str, name: str, first: int, last: int) -> RunHead:
        """Note that a run has rows from ``first`` to ``last``, in ns since the epoch; 0 where it is not known."""
        head = self.setdefault(run_id, RunHead(run_id, name))
        head.name = name or head.name
        head.first = min(each for each in (head.first, first) if each) if head.first or first else 0
        head.last = max(head.last, last)
        return head


class ProjectFile(Protocol):
    """A database of a project, or its Parquet files."""

    @property
    def where(self) -> str:
        """What it is called in messages."""

    def heads(self) -> Mapping[str, RunHead]:
        """Its runs."""

    def parts(self, run_id: str, table: str) -> Iterator[Part]:
        """The rows of a run in the order in which they were logged; those of system metrics are counted.

        Raises:
            SourceError: they can't be read further.
        """

    def close(self) -> None:
        """Close it."""
