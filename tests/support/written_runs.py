"""Runs written straight into a store, as the record API would leave them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from mltrack.disk.layout import new_run_id
from mltrack.entities import DatasetInput
from mltrack.journal.events import EventJournal
from mltrack.journal.points import SEAL_POINTS_MIN
from mltrack.journal.written_points import open_points
from mltrack.storage.runs.sealing import seal_dead_writers
from mltrack.store import Store
from mltrack.values.datasets import dataset_event

START_MS = 1_700_000_000_000
_numbers = itertools.count(1)

Points = Mapping[str, Sequence[tuple[int, float]]]


def new_writer() -> str:
    """A writer name; they sort in the order they are asked for."""
    return f"{next(_numbers):016x}"


def write_run(
    store: Store,
    *,
    run_id: str | None = None,
    name: str = "a run",
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    metrics: Points | None = None,
    datasets: Sequence[DatasetInput] = (),
    start_ms: int = START_MS,
    end_ms: int | None = START_MS + 1,
    status: str = "FINISHED",
    stage: str = "active",
    role: str = "create",
    experiment: tuple[str, str] = ("0", "Default"),
    mark: bool = True,
) -> str:
    """One run that has ended; with ``role="edit"``, an addition to it. Returns its id."""
    run_id = run_id or new_run_id()
    folder = store.layout.run(run_id)
    for path in (folder.events, folder.points, folder.segments):
        path.mkdir(parents=True, exist_ok=True)
    writer = new_writer()
    events = EventJournal(folder.events, writer)
    if mark:
        (store.layout.changed / f"{run_id}.{writer}").touch()
    now = start_ms * 1_000_000 + int(writer, 16)
    lines: list[dict[str, Any]] = [{"type": "writer", "role": role, "host": "h", "pid": 1, "locked": events.locked}]
    if role == "create":
        about = {"run_name": name, "experiment_id": experiment[0], "experiment_name": experiment[1]}
        lines.append({"type": "start", **about, "start_time": start_ms * 1_000_000})
    lines += [{"type": "param", "key": key, "value": value} for key, value in (params or {}).items()]
    lines += [{"type": "tag", "key": key, "value": value} for key, value in (tags or {}).items()]
    lines += [dataset_event(used.dataset, used.tags) for used in datasets]
    if stage != "active":
        lines.append({"type": "lifecycle", "stage": stage})
    events.append(lines, now)
    points = open_points(
        folder.points,
        writer,
        on_new_metric=lambda number, key: events.append([{"type": "metric", "number": number, "key": key}], now),
        on_loss=lambda error: pytest.fail(str(error)),
    )
    for key, values in (metrics or {}).items():
        for step, value in values:
            points.log(key, value, step, now + step)
    points.close()
    if role != "edit":
        end = None if end_ms is None else end_ms * 1_000_000
        kind = "status" if status in ("RUNNING", "SCHEDULED") else "end"
        events.append([{"type": kind, "status": status, "end_time": end}], now)
        if kind == "status":  # the process ended without a word on the run's end
            events.append([{"type": "end", "status": status, "end_time": end}], now)
    events.close()
    return run_id


def long_run(store: Store, count: int = SEAL_POINTS_MIN + 1) -> str:
    """A run whose points are sealed."""
    run_id = write_run(store, metrics={"loss": [(step, step / 2) for step in range(count)], "acc": [(0, 1.0)]})
    run = store.run(run_id)
    seal_dead_writers(run.folder, run.state)
    return run_id
