"""A report as values: what is collected from a store, and all that a renderer needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mltrack.diff.sources import FileDiff
    from mltrack.drawing.curves import Chart
    from mltrack.entities import MetricSummary, RunInfo

__all__ = [
    "PARTS",
    "Bars",
    "Fact",
    "LogEnd",
    "Picture",
    "Report",
    "ReportRun",
    "SourceVersion",
    "TableEnd",
    "Words",
    "clipped",
    "differing",
]

PARTS = ("media", "logs", "source", "environment")
"""Parts that may be left out: images, tables, texts and histograms; the others by their names."""


@dataclass(frozen=True, slots=True)
class ReportRun:
    """One run: its facts, the latest of each metric, and its look in charts (see drawing/colours.py).

    ``label`` is its name, with the first digits of its id where two runs of the report have one name. ``tags`` are
    those that users set; ``note`` is the run's description, in Markdown.
    """

    info: RunInfo
    label: str
    look: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, MetricSummary]
    note: str = ""

    @property
    def run_id(self) -> str:
        """32 hex digits."""
        return self.info.run_id


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of a run: of a series (``step``), or a file. ``media`` is its type, such as image/png."""

    run_id: str
    name: str
    step: int | None
    media: str
    data: bytes


@dataclass(frozen=True, slots=True)
class TableEnd:
    """The last table of a series, or a file: its first rows as text, and how many it has."""

    run_id: str
    name: str
    step: int | None
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    rows_total: int


@dataclass(frozen=True, slots=True)
class Words:
    """The last text of a series."""

    run_id: str
    name: str
    step: int
    text: str


@dataclass(frozen=True, slots=True)
class Bars:
    """The last histogram of a series: counts between edges."""

    run_id: str
    name: str
    step: int
    counts: tuple[float, ...]
    edges: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LogEnd:
    """The last lines of what a run printed, without escape sequences; ``cut``: it printed more before."""

    run_id: str
    number: int
    text: str
    cut: bool


@dataclass(frozen=True, slots=True)
class SourceVersion:
    """Runs whose source files are equal, and how these differ from those of the first version."""

    run_ids: tuple[str, ...]
    files: tuple[FileDiff, ...]
    files_total: int


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact of the environment: what it is about, its name, and its value in each run that has one."""

    group: str
    name: str
    values: Mapping[str, str]

    def differs(self, run_ids: tuple[str, ...]) -> bool:
        """Whether these runs do not all have the same value."""
        return len({self.values.get(run_id) for run_id in run_ids}) > 1


@dataclass(frozen=True, slots=True)
class Report:
    """All of a report. ``made_ms`` is its time since the epoch; ``notes`` are Markdown; ``left_out`` says what is not
    in it, and why.
    """

    title: str
    notes: str
    made_ms: int
    runs: tuple[ReportRun, ...]
    charts: tuple[Chart, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[TableEnd, ...] = ()
    words: tuple[Words, ...] = ()
    bars: tuple[Bars, ...] = ()
    logs: tuple[LogEnd, ...] = ()
    sources: tuple[SourceVersion, ...] = ()
    facts: tuple[Fact, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The ids of its runs, in their order."""
        return tuple(run.run_id for run in self.runs)

    def run(self, run_id: str) -> ReportRun:
        """The run of that id."""
        return next(run for run in self.runs if run.run_id == run_id)


def differing(held: Sequence[Mapping[str, str]]) -> tuple[list[str], list[str]]:
    """Names of params, or tags, of runs: those in which the runs differ, and those that are equal in all; sorted."""
    unequal: list[str] = []
    equal: list[str] = []
    for key in sorted({key for one in held for key in one}):
        (unequal if len({one.get(key) for one in held}) > 1 else equal).append(key)
    return unequal, equal


def clipped(text: str, characters_max: int) -> str:
    """A text that is not too long, with an ellipsis where it was."""
    return text if len(text) <= characters_max else f"{text[: characters_max - 1]}…"
