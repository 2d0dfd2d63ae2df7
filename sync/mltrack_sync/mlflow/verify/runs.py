"""One run compared with the remote's: what differs is listed in words, here and there."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mltrack.disk.arrow_columns import column_array
from mltrack.environment import CRASHED_TAG, PARENT_TAG, RUN_ID_TAG
from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.mlflow.files.upload import artifact_digest, artifact_sizes
from mltrack_sync.mlflow.plan.batches import NS_PER_MS
from mltrack_sync.mlflow.plan.reconcile import point_rows
from mltrack_sync.mlflow.verify.findings import NOTHING, Findings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    from mltrack.entities import Artifact
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack_sync.mlflow.api.client import MlflowClient, RemoteRun
    from mltrack_sync.mlflow.verify.histories import Histories
    from mltrack_sync.mlflow.verify.remote_ids import RemoteIds
    from mltrack_sync.mlflow.verify.run_links import LinksVerify

    Rows = npt.NDArray[np.void]

__all__ = ["RunVerify"]


class RunVerify(Findings):
    """Compares one run. Used once."""

    def __init__(
        self,
        client: MlflowClient,
        run_id: str,
        *,
        quick: bool,
        histories: Histories,
        ids: RemoteIds,
        links: LinksVerify,
    ) -> None:
        super().__init__(run_id)
        self._client = client
        self._quick = quick
        self._histories = histories
        self._ids = ids
        self._links = links
        self._run: StoredRun

    def one_of(self, found: list[RemoteRun], *, prefer: str, deleted: bool) -> RemoteRun | None:
        """The one to compare with; that there is none, or more than one, or a deleted one, differs."""
        active = [run for run in found if not run.deleted]
        if deleted:
            if active:
                self.differs("run", "deleted", f"there as {_ids(active)}")
            return None
        if len(active) > 1:
            self.differs("run", "one", f"{len(active)} times: {_ids(active)}")
        if not active:
            self.differs("run", "is here", f"deleted ({_ids(found)})" if found else NOTHING)
            return None
        return min(active, key=lambda run: (run.run_id != prefer, run.run_id))

    def compare(self, run: StoredRun, there: RemoteRun) -> None:
        """Everything of the run.

        Raises:
            RemoteError, OSError: see mltrack_sync.errors.
        """
        self._run = run
        here = run.info
        self.equal("name", here.run_name, there.name)
        self.equal("experiment", here.experiment_name, self._ids.experiment_name(there.experiment_id))
        self.equal("status", here.status, there.status)
        self.equal("start time", here.start_time, there.start_time)
        self.equal("end time", here.end_time, there.end_time)
        self._params(there.params)
        self._tags(there.tags)
        self._links.compare(run, there, self)
        self._metrics(there)
        self._artifacts(there)
        for damage in (*self._run.state.damage, *self._run.damage):
            self.differs("damage", damage, "not compared")

    # --- params and tags ---

    def _params(self, there: Mapping[str, str]) -> None:
        here = self._run.params
        self.counts["params"] += self.texts("param", here, there, here.keys() | there.keys(), kind="param")

    def _tags(self, there: Mapping[str, str]) -> None:
        """Tags of ours. Others that are there were set by people or the server on the remote, and are none of ours."""
        info = self._run.info
        here = {**self._ids.map_tags(self._run.tags), RUN_ID_TAG: self.run_id}
        if info.parent_run_id is not None:
            here[PARENT_TAG] = self._ids.run(info.parent_run_id)
        if info.crashed:
            here[CRASHED_TAG] = "true"
        removed = {str(event.fields["key"]) for event in self._run.read_events() if event.type == "tag"} - here.keys()
        self.counts["tags"] += self.texts("tag", here, there, here.keys() | (removed & there.keys()), kind="tag")

    # --- metrics ---

    def _metrics(self, there: RemoteRun) -> None:
        summaries = self._run.summaries
        both = [] if self._quick else sorted(summaries.keys() & there.latest.keys())
        with contextlib.closing(self._histories.of(there.run_id, both)) as histories:
            for key in sorted(summaries.keys() | there.latest.keys()):
                if key not in summaries:
                    self._metric_differs(key, NOTHING, "is there")
                elif key not in there.latest:
                    self._metric_differs(key, _points(len(self._rows_here(key))), NOTHING)
                elif self._quick:
                    self._latest(key, there)
                else:
                    self._points(key, next(histories))

    def _latest(self, key: str, there: RemoteRun) -> None:
        """The latest point there is to be one of those that are latest here: of one step and millisecond."""
        step, time = there.latest[key]
        seen = point_rows(np.array([step]), np.array([time]), np.array([there.values[key]]))
        mine = self._run.summaries[key]
        quick = point_rows(np.array([mine.step]), np.array([mine.time // NS_PER_MS]), np.array([mine.value]))
        if quick[0] == seen[0]:
            self.counts["metrics"] += 1
            return
        rows = self._rows_here(key)
        at_end = rows[rows["step"] == rows["step"].max()]
        at_end = at_end[at_end["time"] == at_end["time"].max()]
        if np.isin(seen, at_end).all():
            self.counts["metrics"] += 1
        else:
            self._metric_differs(key, f"latest {_row(quick[0])}", f"latest {_row(seen[0])}")

    def _points(self, key: str, theirs: Rows) -> None:
        """All points: each one of ours is to be there, once, and no other. Equal ones here are one there."""
        mine = self._rows_here(key)
        once = np.unique(theirs)
        same = len(mine) == len(theirs) == len(once) and bool((mine == theirs).all())
        if same:
            self.counts["metrics"] += 1
            self.counts["points"] += len(mine)
            return
        absent, strange = np.setdiff1d(mine, once), np.setdiff1d(once, mine)
        if len(absent):
            self._metric_differs(key, f"{_points(len(absent))}, the first {_row(absent[0])}", "missing")
        if len(strange):
            self._metric_differs(key, "missing", f"{_points(len(strange))}, the first {_row(strange[0])}")
        if len(theirs) != len(once):
            self._metric_differs(key, _points(len(mine)), f"{_points(len(theirs) - len(once))} more than once")

    def _metric_differs(self, key: str, here: str, there: str) -> None:
        self.differs(f"metric {key!r}", here, there, kind="metric", key=key)

    def _rows_here(self, key: str) -> Rows:
        """The metric's distinct points, sorted, as the server keeps them."""
        table = self._run.metrics(key)
        steps, times = (column_array(table.column(name), np.int64) for name in ("step", "time"))
        return np.unique(point_rows(steps, times // NS_PER_MS, column_array(table.column("value"), np.float64)))

    # --- files ---

    def _artifacts(self, there: RemoteRun) -> None:
        artifacts = self._run.artifacts
        if self._quick and artifacts:
            sizes = artifact_sizes(self._client, there.run_id, artifacts)
            for artifact in artifacts:
                self._file(artifact, f"{artifact.size:,} bytes", _bytes(sizes.get(artifact.path)))
            return
        for artifact in artifacts:
            try:
                size, sha256 = artifact_digest(self._client, there.artifact_uri, artifact)
            except RemoteRefusedError as error:
                self._file(artifact, f"{artifact.size:,} bytes", NOTHING if error.status == 404 else error.words)
                continue
            self.counts["artifact_bytes"] += size
            if size != artifact.size:
                self._file(artifact, f"{artifact.size:,} bytes", f"{size:,} bytes")
            else:
                self._file(artifact, f"SHA-256 {artifact.sha256[:12]}...", f"SHA-256 {sha256[:12]}...")

    def _file(self, artifact: Artifact, here: str, there: str) -> None:
        if here == there:
            self.counts["artifacts"] += 1
        else:
            self.differs(f"artifact {artifact.path!r}", here, there, kind="artifact", key=artifact.path)


def _ids(runs: Iterable[RemoteRun]) -> str:
    return ", ".join(run.run_id for run in runs)


def _points(count: int) -> str:
    return f"{count:,} point{'' if count == 1 else 's'}"


def _bytes(size: int | None) -> str:
    return NOTHING if size is None else f"{size:,} bytes"


def _row(row: Any) -> str:
    value = float(np.int64(row["value"]).view(np.float64))
    text = "NaN" if math.isnan(value) else repr(value)
    return f"step {int(row['step'])}, {text} at {int(row['time'])} ms"
