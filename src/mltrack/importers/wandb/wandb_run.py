"""One run of wandb's files: read once for its facts, then again for points, values and files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from mltrack.importers.batches import Columns, make_batch
from mltrack.importers.protobuf import BYTES, Fields, WireError, message, varint
from mltrack.importers.source import SourceError, SourceValue
from mltrack.importers.wandb.facts import RunFacts
from mltrack.importers.wandb.history import BATCH_ITEMS, History, LoggedValue, ns_of
from mltrack.importers.wandb.items import JsonError, item_name, json_value, number_of
from mltrack.importers.wandb.rich_logged import media_of, rich_values
from mltrack.importers.wandb.summary import Summary
from mltrack.importers.wandb.system_names import system_name

if TYPE_CHECKING:
    import pyarrow as pa

    from mltrack.importers.findings import Findings
    from mltrack.importers.wandb.log_file import LogFile
    from mltrack.importers.wandb.rich_logged import ReadFile

__all__ = ["WandbRun", "record_of"]

HISTORY, SUMMARY, OUTPUT, CONFIG, STATS, ARTIFACT, METRIC, OUTPUT_RAW, RUN, EXIT = 2, 3, 4, 5, 7, 8, 12, 13, 17, 18
_SORTS = {HISTORY, SUMMARY, OUTPUT, CONFIG, STATS, ARTIFACT, METRIC, OUTPUT_RAW, RUN, EXIT}
_OTHER_SORTS = {9: "links to TensorBoard folders", 10: "alerts", 25: "used artifacts"}

Point = tuple[str, int, int, float]
"""Metric, step, time in ns, value."""


def record_of(data: bytes) -> tuple[int, int, int]:
    """What sort of record it is, by its number, and where its content begins and ends; 0 for none that is known.

    Raises:
        WireError: it is damaged.
    """
    at, end = 0, len(data)
    while at < end and data[at] == 8:
        _, at = varint(data, at + 1, end)
    if at < end and data[at] in (0x12, 0x1A):  # history and summary are nearly all
        size, start = varint(data, at + 1, end)
        if start + size <= end:
            return data[at] >> 3, start, start + size
    for number, wire, start, stop in message(data, at, end):
        if wire == BYTES and (number in _SORTS or number in _OTHER_SORTS):
            return number, start, stop
    return 0, 0, 0


class WandbRun:
    """The files of a run, in the order in which they were begun."""

    def __init__(self, logs: list[LogFile], findings: Findings) -> None:
        self.logs = logs
        self.facts = RunFacts()
        self._own: set[str] = set()
        """Names of numbers that only the summary has."""
        self._own_parts: set[bytes] = set()
        """The last part of each."""
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
        history, summary = History(), Summary(self.facts)
        for log, number, data, start, end in self._records():
            try:
                if number == SUMMARY:
                    summary.add(data, start, end)
                else:
                    self._scan_record(history, number, data, start, end)
            except (WireError, JsonError) as error:
                self._findings.problem(log.where, f"a record can't be read: {error}")
        self._scan_history(history)
        self._settle(summary)
        logged = set(history.keys)
        self._own = {
            name
            for name, value in _leaves([], self.facts.summary)
            if number_of(value) is not None and not name.startswith("_") and name not in logged
        }
        self._own_parts = {name.rpartition(".")[2].encode("utf-8", "replace") for name in self._own}
        self.last_time = max(self.last_time, int(ns_of(np.array([history.last_time]))[0]))

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
        elif number in _OTHER_SORTS:
            self.left_out[_OTHER_SORTS[number]] = self.left_out.get(_OTHER_SORTS[number], 0) + 1
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
        elif number == STATS:
            self.last_time = max(self.last_time, _time_of(record.inner(2)))

    def _scan_history(self, history: History) -> None:
        for value in history.take()[1]:
            self.has_values = True
            if value.text.startswith(b"{"):
                try:
                    self.media.update(media_of(json_value(value.text)))
                except JsonError:
                    continue  # named when values are read

    def _records(self) -> Iterator[tuple[LogFile, int, bytes, int, int]]:
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
        history, others, rounds = History(), list[Point](), count()
        try:
            for _, number, data, start, end in self._records():
                self._read(history, others, rounds, (number, data, start, end))
                if len(history) >= BATCH_ITEMS or len(others) >= BATCH_ITEMS:
                    yield from self._batches(history, others)
                    others.clear()
            yield from self._batches(history, others)
        except OSError as error:
            raise SourceError(f"can't be read: {error.strerror or error}") from error

    def _read(
        self, history: History, others: list[Point], rounds: Iterator[int], record: tuple[int, bytes, int, int]
    ) -> None:
        number, data, start, end = record
        try:
            if number == HISTORY:
                history.add(data, start, end)
            elif number == STATS:
                others += _system_points(Fields(data, start, end), next(rounds))
            elif number in (SUMMARY, RUN) and any(data.find(part, start, end) >= 0 for part in self._own_parts):
                inner = Fields(data, start, end)
                others += self._summary_points(inner if number == SUMMARY else inner.inner(5), history)
        except (WireError, JsonError):
            return  # named by the scan

    def _summary_points(self, record: Fields, history: History) -> Iterator[Point]:
        time, names = int(ns_of(np.array([history.last_time]))[0]) or self.facts.start, self._own
        for path, value in RunFacts().take_fields({}, record):
            for name, inner in _leaves(path, value):
                number = number_of(inner)
                if number is not None and name in names:
                    yield name, history.last_step, time, number

    def _batches(self, history: History, others: list[Point]) -> Iterator[pa.RecordBatch]:
        for points in (history.take()[0], _columns(others)):
            if len(points):
                yield make_batch(points.keys, points.codes, points.steps, points.times, points.values)

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


def _leaves(path: list[str], value: object) -> Iterator[tuple[str, object]]:
    """The values in a value, with their names; media are none."""
    if not isinstance(value, dict):
        yield item_name(path), value
    elif "_type" not in value:
        for key, inner in value.items():
            yield from _leaves([*path, str(key)], inner)


def _time_of(timestamp: Fields) -> int:
    return timestamp.integer(1) * 1_000_000_000 + timestamp.integer(2)


def _system_points(record: Fields, step: int) -> Iterator[Point]:
    time = _time_of(record.inner(2))
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
