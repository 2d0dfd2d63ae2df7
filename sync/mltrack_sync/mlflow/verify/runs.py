"""One run compared with the remote's: what differs is listed in words, for both sides."""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from mltrack.disk.arrow_columns import column_array
from mltrack.environment import CRASHED_TAG, ORIGIN_RUN_TAG, PARENT_TAG, RUN_ID_TAG
from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.mlflow.files.upload import artifact_digest, artifact_sizes
from mltrack_sync.mlflow.plan.batches import NS_PER_MS
from mltrack_sync.mlflow.plan.origin import remote_tags
from mltrack_sync.mlflow.plan.reconcile import point_rows
from mltrack_sync.mlflow.plan.sampled_points import sampled_points
from mltrack_sync.mlflow.verify.findings import NOTHING, Findings
from mltrack_sync.mlflow.verify.whole_run import WholeRunVerify

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    from mltrack.entities import Artifact
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack_sync.ledger.runs import Sampled
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
        self._sampled: Sampled
        self._chosen: dict[str, Rows] | None = None
        self._client = client
        self._quick = quick
        self._histories = histories
        self._ids = ids
        self._links = links
        self._run: StoredRun

    def one_of(self, found: list[RemoteRun], *, prefer: str, deleted: bool) -> RemoteRun | None:
        """The run to compare with; none, several, or a deleted one is a difference."""
        active = [run for run in found if not run.deleted]
        if deleted:
            if active:
                self.differs("run", "deleted", f"exists as {_ids(active)}")
            return None
        if len(active) > 1:
            self.differs("run", "one", f"{len(active)} times: {_ids(active)}")
        if not active:
            self.differs("run", "present", f"deleted ({_ids(found)})" if found else NOTHING)
            return None
        return min(active, key=lambda run: (run.run_id != prefer, run.run_id))

    def compare(self, run: StoredRun, remote: RemoteRun, sampled: Sampled) -> None:
        """Compare everything of the run; ``sampled`` says which of its points must be on the remote.

        Raises:
            RemoteError, OSError: see mltrack_sync.errors.
        """
        self._run, self._sampled, self._remote_id = run, sampled, remote.run_id
        local = run.info
        self.equal("name", local.run_name, remote.name)
        self.equal("experiment", local.experiment_name, self._ids.experiment_name(remote.experiment_id))
        self.equal("status", local.status, remote.status)
        self.equal("start time", local.start_time, remote.start_time)
        self.equal("end time", local.end_time, remote.end_time)
        self._params(remote.params)
        self._tags(remote.tags)
        self._links.compare(run, remote, self)
        self._metrics(remote)
        self._artifacts(remote)
        if sampled.history:
            WholeRunVerify(self, self._client, run, remote).compare(quick=self._quick)
        for damage in (*self._run.state.damage, *self._run.damage):
            self.differs("damage", damage, "not compared")

    # --- params and tags ---

    def _params(self, remote: Mapping[str, str]) -> None:
        local = self._run.params
        self.counts["params"] += self.texts("param", local, remote, local.keys() | remote.keys(), kind="param")

    def _tags(self, remote: Mapping[str, str]) -> None:
        """The store's tags. Others on the remote were set by people or by the server, and are not compared."""
        info = self._run.info
        tags = self._ids.map_tags(self._run.tags)
        local = remote_tags(tags, self._remote_id, ORIGIN_RUN_TAG, {RUN_ID_TAG: self.run_id})
        if info.parent_run_id is not None:
            local[PARENT_TAG] = self._ids.run(info.parent_run_id)
        if info.crashed:
            local[CRASHED_TAG] = "true"
        removed = {str(event.fields["key"]) for event in self._run.read_events() if event.type == "tag"} - local.keys()
        self.counts["tags"] += self.texts("tag", local, remote, local.keys() | (removed & remote.keys()), kind="tag")

    # --- metrics ---

    def _metrics(self, remote: RemoteRun) -> None:
        summaries = self._run.summaries
        both = [] if self._quick else sorted(summaries.keys() & remote.latest.keys())
        with contextlib.closing(self._histories.of(remote.run_id, both)) as histories:
            for key in sorted(summaries.keys() | remote.latest.keys()):
                if key not in summaries:
                    self._metric_differs(key, NOTHING, "present")
                elif key not in remote.latest:
                    self._metric_differs(key, _points(len(self._local_rows(key))), NOTHING)
                elif self._quick:
                    self._latest(key, remote)
                else:
                    self._points(key, next(histories))

    def _latest(self, key: str, remote: RemoteRun) -> None:
        """The remote's latest point must be one of the local points with the latest step and millisecond."""
        step, time = remote.latest[key]
        seen = point_rows(np.array([step]), np.array([time]), np.array([remote.values[key]]))
        if self._sampled.history:
            self._latest_chosen(key, seen)
            return
        mine = self._run.summaries[key]
        quick = point_rows(np.array([mine.step]), np.array([mine.time // NS_PER_MS]), np.array([mine.value]))
        if quick[0] == seen[0]:
            self.counts["metrics"] += 1
            return
        rows = self._local_rows(key)
        at_end = rows[rows["step"] == rows["step"].max()]
        at_end = at_end[at_end["time"] == at_end["time"].max()]
        if np.isin(seen, at_end).all():
            self.counts["metrics"] += 1
        else:
            self._metric_differs(key, f"latest {_row(quick[0])}", f"latest {_row(seen[0])}")

    def _latest_chosen(self, key: str, seen: Rows) -> None:
        """The remote's latest point must be one of the chosen points with the latest step and millisecond."""
        rows = self._local_rows(key)
        last = rows[np.lexsort((rows["time"], rows["step"]))[-1:]]
        if last[["step", "time"]] == seen[["step", "time"]] and np.isin(seen, rows).all():
            self.counts["metrics"] += 1
        else:
            self._metric_differs(key, f"latest {_row(last[0])}", f"latest {_row(seen[0])}")

    def _points(self, key: str, theirs: Rows) -> None:
        """All points: the remote must have each of ours, once, and no others. It keeps equal points as one."""
        mine = self._local_rows(key)
        once = np.unique(theirs)
        same = len(mine) == len(theirs) == len(once) and bool((mine == theirs).all())
        if same:
            self.counts["metrics"] += 1
            self.counts["points"] += len(mine)
            return
        absent, strange = np.setdiff1d(mine, once), np.setdiff1d(once, mine)
        if self._sampled.mixed and len(strange):
            strange = np.setdiff1d(strange, self._all_rows(key))
            same = not len(absent) and not len(strange) and len(theirs) == len(once)
        if same:
            self.counts["metrics"] += 1
            self.counts["points"] += len(once)
            return
        if len(absent):
            self._metric_differs(key, f"{_points(len(absent))}, the first {_row(absent[0])}", "missing")
        if len(strange):
            self._metric_differs(key, "missing", f"{_points(len(strange))}, the first {_row(strange[0])}")
        if len(theirs) != len(once):
            self._metric_differs(key, _points(len(mine)), f"{_points(len(theirs) - len(once))} more than once")

    def _metric_differs(self, key: str, local: str, remote: str) -> None:
        self.differs(f"metric {key!r}", local, remote, kind="metric", key=key)

    def _local_rows(self, key: str) -> Rows:
        """The metric's distinct points that must be on the remote, sorted, as the server keeps them."""
        if not self._sampled.history:
            return self._all_rows(key)
        if self._chosen is None:
            self._chosen = chosen_rows(self._run, self._sampled)
        return self._chosen[key]

    def _all_rows(self, key: str) -> Rows:
        table = self._run.metrics(key)
        steps, times = (column_array(table.column(name), np.int64) for name in ("step", "time"))
        return np.unique(point_rows(steps, times // NS_PER_MS, column_array(table.column("value"), np.float64)))

    # --- files ---

    def _artifacts(self, remote: RemoteRun) -> None:
        artifacts = self._run.artifacts
        if self._quick and artifacts:
            sizes = artifact_sizes(self._client, remote.run_id, artifacts)
            for artifact in artifacts:
                size = sizes.get(artifact.path)
                size = artifact.size if size == 0 and not self._client.lists_sizes else size
                self._file(artifact, f"{artifact.size:,} bytes", _bytes(size))
            return
        for artifact in artifacts:
            try:
                size, sha256 = artifact_digest(self._client, remote.artifact_uri, artifact)
            except RemoteRefusedError as error:
                self._file(artifact, f"{artifact.size:,} bytes", NOTHING if error.status == 404 else error.words)
                continue
            self.counts["artifact_bytes"] += size
            if size != artifact.size:
                self._file(artifact, f"{artifact.size:,} bytes", f"{size:,} bytes")
            else:
                self._file(artifact, f"SHA-256 {artifact.sha256[:12]}...", f"SHA-256 {sha256[:12]}...")

    def _file(self, artifact: Artifact, local: str, remote: str) -> None:
        if local == remote:
            self.counts["artifacts"] += 1
        else:
            self.differs(f"artifact {artifact.path!r}", local, remote, kind="artifact", key=artifact.path)


def chosen_rows(run: StoredRun, sampled: Sampled) -> dict[str, Rows]:
    """By metric, the distinct points of a run that are to be there, sorted, as the server keeps them."""
    found: dict[str, list[Rows]] = defaultdict(list)
    for points in sampled_points(run, sampled):
        for code in np.unique(points.codes).tolist():
            mine = points.take(points.codes == code)
            found[points.keys[code]].append(point_rows(mine.steps, mine.times // NS_PER_MS, mine.values))
    return {key: np.unique(np.concatenate(rows)) for key, rows in found.items()}


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
