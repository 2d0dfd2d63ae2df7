"""What the files of a project have in common: runs, and their rows, whichever way they are stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from mltrack.importers.batches import Columns
from mltrack.importers.logged_rows import INT64_MAX, LoggedItem

__all__ = ["METRICS", "SYSTEM", "Part", "ProjectFile", "RunHead", "RunHeads", "is_step", "ns_of"]

METRICS, SYSTEM = "metrics", "system_metrics"
"""The two tables of rows."""

Part = tuple[Columns, list[LoggedItem]]
"""Points, and values that are not numbers."""

_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


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


def ns_of(text: object) -> int:
    """A time in ISO 8601 in ns since the epoch; 0 if it is none. Without an offset it is UTC."""
    if isinstance(text, bytes):
        text = text.decode("ascii", "replace")
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return 0
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    found = (moment - _EPOCH) // _MICROSECOND * 1_000
    return found if abs(found) <= INT64_MAX else 0


def is_step(value: object) -> bool:
    """Whether a value is a step that a point can have."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= INT64_MAX
