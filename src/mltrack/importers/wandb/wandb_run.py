"""One run of wandb's files: read once for its facts, then again for points, values and files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count, islice
from typing import TYPE_CHECKING

import numpy as np

from mltrack.importers.batches import Columns, make_batch
from mltrack.importers.json_fields import number_of
from mltrack.importers.kept_points import POINTS_MAX, KeptPoints
from mltrack.importers.protobuf import Fields, WireError
from mltrack.importers.source import SourceError, SourceValue
from mltrack.importers.wandb.facts import RunFacts
from mltrack.importers.wandb.history import BATCH_ITEMS, History, LoggedValue, ns_of
from mltrack.importers.wandb.items import JsonError, json_value, time_of
from mltrack.importers.wandb.records import (
    ARTIFACT,
    CONFIG,
    EXIT,
    HISTORY,
    METRIC,
    OTHER_SORTS,
    OUTPUT,
    OUTPUT_RAW,
    RUN,
    STATS,
    SUMMARY,
    Record,
    record_of,
)
from mltrack.importers.wandb.rich_logged import media_of, rich_values
from mltrack.importers.wandb.summary import Summary
from mltrack.importers.wandb.summary_points import Point, leaves, summary_points
from mltrack.importers.wandb.system_names import system_name

if TYPE_CHECKING:
    import pyarrow as pa

    from mltrack.importers.findings import Findings
    from mltrack.importers.log_file import LogFile
    from mltrack.importers.wandb.rich_logged import ReadFile

__all__ = ["WandbRun"]


class WandbRun:
    """The files of a run, in the order in which they were begun."""

    def __init__(self, logs: list[LogFile], findings: Findings, points_max: int = POINTS_MAX) -> None:
        """``points_max`` points are kept in memory between the readings."""
        self.logs = logs
        self.facts = RunFacts()
        self._own: set[str] = set()
        """Names of numbers that only the summary has."""
        self._kept = KeptPoints(points_max)
        self.has_values = self.has_output = False
        self.media: set[str] = set()
        """Files that come as values."""
        self.left_out: dict[str, int] = {}
        self.last_time = 0
        self._findings = findings

    def scan(self) -> None:
        """Read all of it for the facts.

        Raises:
            OSError, SourceError: it can't be read.
        """
        history, summary, rounds, stats = History(), Summary(self.facts), count(), list[Point]()
        for log, number, data, start, end in self._records():
            try:
                if number == SUMMARY:
                    summary.add(data, start, end)
                elif number == STATS:
                    stats += _system_points(Fields(data, start, end), next(rounds))
                    stats = self._keep_stats(stats, BATCH_ITEMS)
                else:
                    self._scan_record(history, number, data, start, end)
            except (WireError, JsonError) as error:
                self._findings.problem(log.where, f"a record can't be read: {error}")
        self._scan_history(history)
        self._keep_stats(stats, 1)
        self._settle(summary)
        logged = set(history.keys)
        self._own = {
            name
            for name, value in leaves([], self.facts.summary)
            if number_of(value) is not None and not name.startswith("_") and name not in logged
        }
        self.last_time = max(self.last_time, int(ns_of(np.array([history.last_time]))[0]))

    def _keep_stats(self, stats: list[Point], least: int) -> list[Point]:
        """Keep them if they are that many; returns those that are still to be kept."""
        if len(stats) < least:
            return stats
        self.last_time = max(self.last_time, *(point[2] for point in stats))
        self._kept.add(_columns(stats))
        return []

    def _settle(self, summary: Summary) -> None:
        while True:
            try:
                summary.settle()
            except (WireError, JsonError) as error:
                self._findings.problem(self.logs[-1].where, f"an item of the summary can't be read: {error}")
            else:
                return

    def _scan_record(self, history: History, number: int, data: bytes, start: int, end: int) -> None:
        if number == HISTORY:
            history.add(data, start, end)
            if len(history) >= BATCH_ITEMS:
                self._scan_history(history)
        elif number in (OUTPUT, OUTPUT_RAW):
            self.has_output = True
        elif number in OTHER_SORTS:
            self.left_out[OTHER_SORTS[number]] = self.left_out.get(OTHER_SORTS[number], 0) + 1
        else:
            self._scan_fact(number, Fields(data, start, end))

    def _scan_fact(self, number: int, record: Fields) -> None:
        facts = self.facts
        if number == RUN:
            facts.take_run(record)
        elif number == CONFIG:
            facts.take_fields(facts.config, record)
        elif number == METRIC:
            facts.take_metric(record)
        elif number == ARTIFACT:
            facts.take_artifact(record)
        elif number == EXIT:
            facts.take_exit(record)

    def _scan_history(self, history: History) -> None:
        points, values = history.take()
        self._kept.add(points)
        for value in values:
            self.has_values = True
            if value.text.startswith(b"{"):
                try:
                    self.media.update(media_of(json_value(value.text)))
                except JsonError:
                    continue  # named when values are read

    def _records(self) -> Iterator[Record]:
        for log in self.logs:
            for data in log.records():
                try:
                    number, start, end = record_of(data)
                except WireError as error:
                    self._findings.problem(log.where, f"a record can't be read: {error}")
                    continue
                if number:
                    yield log, number, data, start, end

    # --- points ---

    def points(self) -> Iterator[pa.RecordBatch]:
        """What was logged, with wandb's steps; system metrics, counted; numbers that only the summary has.

        Raises:
            SourceError: they can't be read.
        """
        try:
            for points in self._kept.parts if self._kept.complete else self._read_again():
                yield _batch(points)
            if self._own:
                found = summary_points(self._records(), self._own, self.facts.start)
                while part := list(islice(found, BATCH_ITEMS)):
                    yield _batch(_columns(part))
        except OSError as error:
            raise SourceError(f"can't be read: {error.strerror or error}") from error

    def _read_again(self) -> Iterator[Columns]:
        """What was logged, and system metrics."""
        history, stats, rounds = History(), list[Point](), count()
        for _, number, data, start, end in self._records():
            try:
                if number == HISTORY:
                    history.add(data, start, end)
                elif number == STATS:
                    stats += _system_points(Fields(data, start, end), next(rounds))
            except (WireError, JsonError):
                continue  # named by the scan
            if len(history) >= BATCH_ITEMS:
                yield history.take()[0]
            if len(stats) >= BATCH_ITEMS:
                yield _columns(stats)
                stats = []
        yield history.take()[0]
        yield _columns(stats)

    # --- values and output ---

    def values(self, read: ReadFile) -> Iterator[SourceValue]:
        """Histograms, images, tables, texts; ``read`` gives the files in which wandb puts some."""
        if not self.has_values:
            return
        history = History()
        for log, number, data, start, end in self._records():
            if number == HISTORY:
                try:
                    history.add(data, start, end)
                except (WireError, JsonError):
                    continue  # named by the scan
                if len(history) >= BATCH_ITEMS:
                    yield from self._values_of(history.take()[1], read, log.where)
        yield from self._values_of(history.take()[1], read, self.logs[-1].where)

    def _values_of(self, logged: list[LoggedValue], read: ReadFile, where: str) -> Iterator[SourceValue]:
        for value in logged:
            time = int(ns_of(np.array([value.time]))[0])
            try:
                for found in rich_values(value.text, read):
                    yield SourceValue(value.key, value.step, time, found)
            except SourceError as error:
                self._findings.problem(where, f"{value.key}: {error}")

    def output(self, log: LogFile) -> Iterator[bytes]:
        """What one of its files has of the console."""
        for data in log.records():
            try:
                number, start, end = record_of(data)
                if number in (OUTPUT, OUTPUT_RAW):
                    yield Fields(data, start, end).content(3)
            except WireError:
                continue  # named by the scan

    def summary_file(self) -> bytes:
        """The summary as JSON, as wandb's own file has it."""
        return (json.dumps(self.facts.summary, ensure_ascii=False, sort_keys=True, indent=1) + "\n").encode(
            "utf-8", "surrogatepass"
        )


def _batch(points: Columns) -> pa.RecordBatch:
    return make_batch(points.keys, points.codes, points.steps, points.times, points.values)


def _system_points(record: Fields, step: int) -> Iterator[Point]:
    time = time_of(record.inner(2))
    for item in record.each(3):
        number = number_of(json_value(item.content(16)))
        if number is not None:
            name, factor = system_name(item.text(1))
            yield name, step, time, number * factor


def _columns(points: list[Point]) -> Columns:
    numbers: dict[str, int] = {}
    codes = np.array([numbers.setdefault(point[0], len(numbers)) for point in points], np.int64)
    steps, times = (np.array([point[place] for point in points], np.int64) for place in (1, 2))
    return Columns(list(numbers), codes, steps, times, np.array([point[3] for point in points], np.float64))
