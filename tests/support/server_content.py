"""What a server has that mltrack did not push: made by its REST API, as other clients do."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote

import httpx

from tests.support.server import MlflowServer

_WORDS: dict[str, Any] = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}

Point = tuple[str, int, int, float]


class Server(Protocol):
    """A server, or the proxy's client of one."""

    def get(self, path: str, **params: Any) -> dict[str, Any]: ...

    def post(self, path: str, **fields: Any) -> dict[str, Any]: ...


def pairs(texts: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in texts.items()]


def make_experiment(server: Server, name: str, tags: Mapping[str, str] | None = None) -> str:
    made = server.post("experiments/create", name=name, tags=pairs(tags or {}))
    return str(made["experiment_id"])


def make_run(
    server: Server,
    experiment_id: str,
    *,
    name: str = "theirs",
    points: Sequence[Point] = (),
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    status: str = "FINISHED",
) -> str:
    """A run of 1,000 to 2,000 ms; ``points`` are (key, step, ms, value). Its id."""
    info = {"experiment_id": experiment_id, "run_name": name, "start_time": 1000, "user_id": "ada"}
    run_id = str(server.post("runs/create", **info, tags=pairs(tags or {}))["run"]["info"]["run_id"])
    server.post("runs/log-batch", run_id=run_id, params=pairs(params or {}))
    log_points(server, run_id, points)
    if status != "RUNNING":
        server.post("runs/update", run_id=run_id, status=status, end_time=2000)
    return run_id


def make_model(
    server: Server,
    experiment_id: str,
    run_id: str,
    *,
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> str:
    """A logged model without files that the run made, and its link to it. Its id."""
    fields = {"experiment_id": experiment_id, "name": "theirs", "source_run_id": run_id}
    made = server.post("logged-models", **fields, params=pairs(params or {}), tags=pairs(tags or {}))
    model_id = str(made["model"]["info"]["model_id"])
    server.post("runs/outputs", run_id=run_id, models=[{"model_id": model_id, "step": 0}])
    return model_id


def make_version(
    server: Server, name: str, source: str, *, run_id: str, model_id: str = "", tags: Mapping[str, str] | None = None
) -> None:
    """A version of a registered model, which is made if there is none."""
    with contextlib.suppress(httpx.HTTPStatusError):
        server.post("registered-models/create", name=name)
    fields = {"name": name, "source": source, "run_id": run_id, "tags": pairs(tags or {})}
    server.post("model-versions/create", **fields, **({"model_id": model_id} if model_id else {}))


def log_points(server: Server, run_id: str, points: Sequence[Point]) -> None:
    for start in range(0, len(points), 1000):
        rows = [
            {"key": key, "step": step, "timestamp": time, "value": _WORDS.get(repr(value), value)}
            for key, step, time, value in points[start : start + 1000]
        ]
        server.post("runs/log-batch", run_id=run_id, metrics=rows)


def insert_points(
    server: MlflowServer, run_id: str, key: str, count: int, value_at: Callable[[int], float] = math.sin
) -> None:
    """Many points of one metric, written into the server's database."""
    with contextlib.closing(sqlite3.connect(server.folder / "mlflow.db", timeout=60)) as connection, connection:
        rows = ((key, value_at(n), 1000 + n, run_id, n, False) for n in range(count))
        columns = "key, value, timestamp, run_uuid, step, is_nan"
        connection.executemany(f"INSERT INTO metrics ({columns}) VALUES (?, ?, ?, ?, ?, ?)", rows)
        last = (key, value_at(count - 1), 999 + count, count - 1, False, run_id)
        columns = "key, value, timestamp, step, is_nan, run_uuid"
        connection.execute(f"INSERT INTO latest_metrics ({columns}) VALUES (?, ?, ?, ?, ?, ?)", last)


def put_file(server: MlflowServer, run_id: str, path: str, content: bytes) -> None:
    """A file of a run."""
    root = server.get("runs/get", run_id=run_id)["run"]["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/")
    url = f"{server.url}/api/2.0/mlflow-artifacts/artifacts/{root}/{quote(path)}"
    httpx.put(url, content=content, trust_env=False).raise_for_status()


def series(key: str, count: int, *, first: int = 0) -> list[Point]:
    """Points of one metric, one for each step and ms."""
    return [(key, n, 1000 + n, math.sin(n)) for n in range(first, first + count)]
