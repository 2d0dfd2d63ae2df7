"""Numbers that a program put into the summary and never logged: a point for each time that it did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from mltrack.importers.json_fields import number_of
from mltrack.importers.protobuf import Fields, WireError
from mltrack.importers.wandb.facts import RunFacts
from mltrack.importers.wandb.history import History, ns_of
from mltrack.importers.wandb.items import JsonError, item_name
from mltrack.importers.wandb.records import HISTORY, RUN, SUMMARY

if TYPE_CHECKING:
    from mltrack.importers.wandb.records import Record

__all__ = ["Point", "leaves", "summary_points"]

Point = tuple[str, int, int, float]
"""Metric, step, time in ns, value."""

STEP_ITEM, TIME_ITEM = b"_step\x82\x01", b"_timestamp\x82\x01"


def summary_points(records: Iterable[Record], names: set[str], start: int) -> Iterator[Point]:
    """The points, with the step and time of what was logged last.

    Args:
        records: All records of the run.
        names: Those of the numbers.
        start: When the run began, in ns; for what was set before anything was logged.
    """
    parts = {name.rpartition(".")[2].encode("utf-8", "replace") for name in names}
    history = History()
    for _, number, data, first, last in records:
        try:
            if number == HISTORY:
                _follow(history, data, first, last)
            elif number in (SUMMARY, RUN) and any(data.find(part, first, last) >= 0 for part in parts):
                record = Fields(data, first, last)
                time = int(ns_of(np.array([history.last_time]))[0]) or start
                for path, value in RunFacts().take_fields({}, record if number == SUMMARY else record.inner(5)):
                    for name, inner in leaves(path, value):
                        found = number_of(inner)
                        if found is not None and name in names:
                            yield name, history.last_step, time, found
        except (WireError, JsonError):
            continue  # named by the scan


def _follow(history: History, data: bytes, start: int, end: int) -> None:
    """Take step and time of a record of history, without reading the rest of it where that can be helped."""
    texts = []
    for item in (STEP_ITEM, TIME_ITEM):
        at = data.find(item, start, end) + len(item)
        if at < len(item) or at >= end:
            break
        texts.append(data[at + 1 : at + 1 + data[at]])
    try:
        step, time = int(texts[0]), float(texts[1])
    except (ValueError, IndexError):
        history.add(data, start, end)
        history.forget()
        return
    history.last_step, history.last_time = step, time


def leaves(path: list[str], value: object) -> Iterator[tuple[str, object]]:
    """The values in a value, with their names; media are none."""
    if not isinstance(value, dict):
        yield item_name(path), value
    elif "_type" not in value:
        for key, inner in value.items():
            yield from leaves([*path, str(key)], inner)
