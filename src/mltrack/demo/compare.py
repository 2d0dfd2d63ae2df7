"""What a store holds and what an MLflow server holds of it, counted alike, every point compared."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np

from mltrack.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack.store import Store

__all__ = ["Counts", "count_local", "count_remote"]

PAGE = 25_000
API = "/api/2.0/mlflow"
RUN_ID_TAG = "mltrack.run_id"


@dataclass(slots=True)
class Counts:
    """What one side holds. ``equal_points`` are those with the same metric, step, ms and value on the other side."""

    runs: int = 0
    params: int = 0
    tags: int = 0
    metrics: int = 0
    points: int = 0
    equal_points: int = 0
    artifacts: int = 0
    artifact_bytes: int = 0

    def rows(self) -> list[tuple[str, int]]:
        """Names and numbers, in the order they are shown."""
        return [(field.name.replace("_", " "), getattr(self, field.name)) for field in fields(self)]


def count_local(store: Store, experiment: str) -> Counts:
    """What the store holds of an experiment."""
    counts = Counts()
    for run in store.runs():
        if run.info.experiment_name != experiment:
            continue
        counts.runs += 1
        counts.params += len(run.params)
        counts.tags += len(run.tags)
        counts.metrics += len(run.summaries)
        counts.points += run.head().points
        counts.artifacts += len(run.artifacts)
        counts.artifact_bytes += sum(artifact.size for artifact in run.artifacts)
    counts.equal_points = counts.points
    return counts


def count_remote(url: str, store: Store, experiment: str) -> Counts:
    """What the server at ``url`` holds of an experiment, asked by REST; tags that syncing adds are not counted.

    Raises:
        RemoteError: the server does not answer as it should.
    """
    counts = Counts()
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        found = _get(client, "/experiments/get-by-name", experiment_name=experiment)["experiment"]
        for run in _runs(client, found["experiment_id"]):
            local = store.run(next(t["value"] for t in run["data"]["tags"] if t["key"] == RUN_ID_TAG))
            _count_run(counts, client, run, local)
    return counts


def _count_run(counts: Counts, client: httpx.Client, run: dict[str, Any], local: StoredRun) -> None:
    data, run_id = run["data"], run["info"]["run_id"]
    counts.runs += 1
    counts.params += sum(local.params.get(p["key"]) == p["value"] for p in data.get("params", []))
    counts.tags += sum(tag["key"] in local.tags for tag in data.get("tags", []))
    for metric in data.get("metrics", []):
        counts.metrics += 1
        theirs = _history(client, run_id, metric["key"])
        counts.points += len(theirs)
        counts.equal_points += _equal(local, metric["key"], theirs)
    for size in _files(client, run_id, None):
        counts.artifacts += 1
        counts.artifact_bytes += size


def _get(client: httpx.Client, route: str, **query: Any) -> dict[str, Any]:
    return _answer(client.build_request("GET", API + route, params=query), client)


def _answer(request: httpx.Request, client: httpx.Client) -> dict[str, Any]:
    try:
        response = client.send(request)
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
    except (httpx.HTTPError, ValueError) as error:
        raise RemoteError(f"{request.url.path}: {error}", hint="see the server's log") from error
    return answer


def _runs(client: httpx.Client, experiment_id: str) -> Iterator[dict[str, Any]]:
    token = ""
    while True:
        body = {"experiment_ids": [experiment_id], "max_results": 1000, "page_token": token}
        page = _answer(client.build_request("POST", API + "/runs/search", json=body), client)
        yield from page.get("runs", [])
        token = page.get("next_page_token", "")
        if not token:
            return


def _history(client: httpx.Client, run_id: str, key: str) -> list[dict[str, Any]]:
    points: list[dict[str, Any]] = []
    token = ""
    while True:
        query = {"run_id": run_id, "metric_key": key, "max_results": PAGE, **({"page_token": token} if token else {})}
        page = _get(client, "/metrics/get-history", **query)
        points += page.get("metrics", [])
        token = page.get("next_page_token", "")
        if not token:
            return points


def _equal(local: StoredRun, key: str, theirs: list[dict[str, Any]]) -> int:
    """How many points are the same on both sides, times in ms."""
    if key not in local.summaries:
        return 0
    table = local.metrics(key)
    times = table.column("time").to_numpy().astype("datetime64[ms]").astype(np.int64)
    ours = set(zip(table.column("step").to_pylist(), times.tolist(), table.column("value").to_pylist(), strict=True))
    return sum((int(p.get("step", 0)), int(p["timestamp"]), float(p["value"])) in ours for p in theirs)


def _files(client: httpx.Client, run_id: str, path: str | None) -> Iterator[int]:
    """Sizes in bytes of all files of a run, folders opened."""
    for file in _get(client, "/artifacts/list", run_id=run_id, **({"path": path} if path else {})).get("files", []):
        if file.get("is_dir"):
            yield from _files(client, run_id, file["path"])
        else:
            yield int(file.get("file_size", 0))
