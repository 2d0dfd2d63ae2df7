"""Counts what a store and an MLflow server have of an experiment, and compares every point."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mltrack.environment import RUN_ID_TAG
from mltrack.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack.store import Store

__all__ = ["Counts", "RemoteClient", "count_local", "count_remote"]

RUNS_PAGE = 1000
POINTS_PAGE = 25_000


@dataclass(slots=True)
class Counts:
    """What one side has. ``equal_points`` have the same metric, step, ms and value on the other side."""

    runs: int = 0
    params: int = 0
    tags: int = 0
    metrics: int = 0
    points: int = 0
    equal_points: int = 0
    artifacts: int = 0
    artifact_bytes: int = 0

    def rows(self) -> list[tuple[str, int]]:
        """Names and numbers, in display order."""
        return [(field.name.replace("_", " "), getattr(self, field.name)) for field in fields(self)]


def count_local(store: Store, experiment: str) -> Counts:
    """Count what the store has of an experiment."""
    counts = Counts()
    for run in store.runs():
        if run.info.experiment_name != experiment:
            continue
        counts.runs += 1
        counts.params += len(run.params)
        counts.tags += len(run.tags)
        counts.metrics += len(run.summaries)
        counts.points += run.point_count
        counts.artifacts += len(run.artifacts)
        counts.artifact_bytes += sum(artifact.size for artifact in run.artifacts)
    counts.equal_points = counts.points
    return counts


class RemoteExperiment(Protocol):
    """An experiment on the server."""

    @property
    def experiment_id(self) -> str:
        """Its id."""


class RemoteRun(Protocol):
    """A run on the server; ``latest`` has an entry for each metric."""

    @property
    def run_id(self) -> str:
        """Its id."""

    @property
    def params(self) -> Mapping[str, str]:
        """Its params."""

    @property
    def tags(self) -> Mapping[str, str]:
        """Its tags."""

    @property
    def latest(self) -> Mapping[str, object]:
        """An entry for each metric."""


class Points(Protocol):
    """Points of one metric on the server: steps, times in ms, values."""

    @property
    def steps(self) -> npt.NDArray[np.int64]:
        """Steps."""

    @property
    def times(self) -> npt.NDArray[np.int64]:
        """Times in ms."""

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """Values."""


class RemoteClient(Protocol):
    """A client that reads the server, such as the syncer's."""

    @property
    def url(self) -> str:
        """The server."""

    def experiment_by_name(self, name: str) -> RemoteExperiment | None:
        """The experiment with that name."""

    def runs(self, experiment_id: str, page_rows: int) -> Iterator[RemoteRun]:
        """Its runs."""

    def history(self, remote_id: str, key: str, page_rows: int) -> Iterator[Points]:
        """All points of one metric of a run, page by page."""

    def list_artifacts(self, remote_id: str, folder: str) -> Mapping[str, int]:
        """Sizes of the files in one folder of a run (by path; -1 for a subfolder)."""


def count_remote(client: RemoteClient, store: Store, experiment: str) -> Counts:
    """Count what the server has of an experiment, without the tags that syncing adds.

    Raises:
        RemoteError: the server's answer is not valid.
    """
    counts = Counts()
    found = client.experiment_by_name(experiment)
    if found is None:
        raise RemoteError(f"{client.url} has no experiment {experiment!r}", hint="see the server's log")
    for run in client.runs(found.experiment_id, RUNS_PAGE):
        _count_run(counts, client, run, store.run(run.tags[RUN_ID_TAG]))
    return counts


def _count_run(counts: Counts, client: RemoteClient, run: RemoteRun, local: StoredRun) -> None:
    counts.runs += 1
    counts.params += sum(local.params.get(key) == value for key, value in run.params.items())
    counts.tags += sum(key in local.tags for key in run.tags)
    for key in run.latest:
        counts.metrics += 1
        for history in client.history(run.run_id, key, POINTS_PAGE):
            counts.points += len(history.steps)
            counts.equal_points += _equal(local, key, history)
    for size in _files(client, run.run_id, ""):
        counts.artifacts += 1
        counts.artifact_bytes += size


def _equal(local: StoredRun, key: str, remote: Points) -> int:
    """How many points are equal on both sides, with times in ms."""
    if key not in local.summaries:
        return 0
    table = local.metrics(key)
    times = table.column("time").to_numpy().astype("datetime64[ms]").astype(np.int64)
    ours = set(zip(table.column("step").to_pylist(), times.tolist(), table.column("value").to_pylist(), strict=True))
    points = zip(remote.steps.tolist(), remote.times.tolist(), remote.values.tolist(), strict=True)
    return sum(point in ours for point in points)


def _files(client: RemoteClient, run_id: str, folder: str) -> Iterator[int]:
    """Sizes in bytes of all files of a run, in subfolders too."""
    for path, size in client.list_artifacts(run_id, folder).items():
        if size < 0:
            yield from _files(client, run_id, path)
        else:
            yield size
