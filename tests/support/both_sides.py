"""Both sides side by side: what the store has and what the server has, in one form."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Protocol

from mltrack.store import Store
from tests.support.server import params_of, tags_of

LARGEST = 1.7976931348623157e308


class Contents(Protocol):
    """What a remote of any kind holds."""

    def runs(self, experiment: str, view: str = "ALL") -> dict[str, dict[str, Any]]: ...

    def history(self, remote_id: str, key: str) -> Iterator[tuple[int, int, float]]: ...

    def artifact(self, run: dict[str, Any], path: str) -> bytes | None: ...


Points = list[tuple[str, int, int, str]]


def _value(value: float) -> str:
    return "nan" if math.isnan(value) else repr(max(-LARGEST, min(LARGEST, value)) + 0.0)


def local_points(store: Store, run_id: str) -> Points:
    found: set[tuple[str, int, int, str]] = set()
    for _, points in store.run(run_id).read_points():
        for code, step, time, value in zip(
            points.codes.tolist(), points.steps.tolist(), points.times.tolist(), points.values.tolist(), strict=True
        ):
            found.add((points.keys[code], step, time // 1_000_000, _value(value)))
    return sorted(found)


def remote_points(server: Contents, run: dict[str, Any], keys: set[str]) -> Points:
    remote_id = run["info"]["run_id"]
    rows = [(key, step, time, _value(v)) for key in keys for step, time, v in server.history(remote_id, key)]
    return sorted(rows)


def assert_equal(store: Store, server: Contents, experiment: str) -> None:
    """Every run of the experiment is there once, with equal contents."""
    there = server.runs(experiment)
    here = {run.run_id: run for run in store.runs() if run.info.experiment_name == experiment}
    here = {run_id: run for run_id, run in here.items() if run.info.lifecycle_stage == "active"}
    assert there.keys() == here.keys()
    for run_id, run in here.items():
        info, remote = run.info, there[run_id]
        seen = remote["info"]
        assert (seen["run_name"], seen["status"]) == (info.run_name, info.status)
        assert (seen["start_time"], seen.get("end_time")) == (info.start_time, info.end_time)
        assert params_of(remote) == run.params
        tags = {**run.tags, "mltrack.run_id": run_id}
        if info.parent_run_id in there:
            tags["mlflow.parentRunId"] = there[info.parent_run_id]["info"]["run_id"]
        if info.crashed:
            tags["mltrack.crashed"] = "true"
        assert tags_of(remote) == tags
        points = local_points(store, run_id)
        assert remote_points(server, remote, set(run.summaries)) == points
        for artifact in run.artifacts:
            assert server.artifact(remote, artifact.path) == run.artifact_path(artifact.path).read_bytes()
