"""Logged models compared with those on the remote: status, params, tags, metrics, files by their checksums."""

from __future__ import annotations

import hashlib
import math
import posixpath
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import read_small
from mltrack.entities import DELETED
from mltrack.environment import MODEL_ID_TAG, ORIGIN_MODEL_TAG
from mltrack.errors import NotFoundError
from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.http.shapes import pairs
from mltrack_sync.ledger.ledger import RunEntry
from mltrack_sync.mlflow.files.content import FileChanged, check_content
from mltrack_sync.mlflow.files.upload import artifact_digest
from mltrack_sync.mlflow.plan.kinds import (
    LOGGED_MODEL,
    LOGGED_MODEL_FILE,
    LOGGED_MODEL_METRIC,
    LOGGED_MODEL_PARAM,
    LOGGED_MODEL_TAG,
)
from mltrack_sync.mlflow.plan.mlmodel import MLMODEL, map_mlmodel
from mltrack_sync.mlflow.plan.origin import remote_tags
from mltrack_sync.mlflow.plan.pending_models import MODEL_VERSIONS
from mltrack_sync.mlflow.verify.findings import NOTHING, Findings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from mltrack.entities import Artifact, LoggedModel, ModelMetric
    from mltrack.store import Store
    from mltrack_sync.mlflow.api.client import MlflowClient
    from mltrack_sync.mlflow.api.readback import ComparedClient, Fields
    from mltrack_sync.mlflow.verify.remote_ids import RemoteIds

__all__ = ["LoggedVerify"]

Point = tuple[str, int, int, str, str, str]
"""Of a metric: key, step, time (ms), remote run, dataset's name and digest. The server keeps one value of each."""

_STATUS = {"LOGGED_MODEL_UPLOAD_FAILED": "FAILED"}
LARGEST = 1.7976931348623157e308


@dataclass(frozen=True, slots=True)
class LoggedVerify:
    """Compares logged models; ``waiting`` holds the ids of those that are not all in the ledger."""

    store: Store
    client: MlflowClient
    reading: ComparedClient
    ids: RemoteIds
    waiting: Collection[str]
    quick: bool

    def compare(self, model_id: str) -> Findings | None:
        """One model; None if it was removed here.

        Raises:
            RemoteError, StoreError, OSError: see mltrack_sync.errors.
        """
        try:
            model = self.store.logged_models.get(model_id)
        except NotFoundError:
            return None
        subject = f"logged model {model_id} ({model.name})"
        findings = Findings(subject=subject, kind=LOGGED_MODEL, key=model_id, waits=model_id in self.waiting)
        entry = self.ids.state.logged.get(model_id)
        name = self._experiment(model.experiment_id)
        known = RunEntry(experiment_id=entry.experiment_id) if entry is not None else None
        places = self.ids.experiment_ids(model.experiment_id, name, known)
        found = self.reading.logged_models(places, model_id) if places else []
        found = found or self.reading.model_of_origin(self.ids.origin.own_id(model.tags, ORIGIN_MODEL_TAG))
        if model.lifecycle_stage == DELETED:
            if found:
                findings.differs("logged model", "deleted", f"exists as {_ids(found)}")
            return findings
        findings.counts["logged_models"] += 1
        if not found:
            findings.differs("logged model", "present", self._lost(model_id))
            return findings
        if len(found) > 1:
            findings.differs("logged model", "one", f"{len(found)} times: {_ids(found)}")
        self._compare(model, min(found, key=_id), name, findings)
        return findings

    def _experiment(self, experiment_id: str) -> str:
        experiment = self.store.workspace.experiments().get(experiment_id)
        return experiment.name if experiment is not None else ""

    def _lost(self, model_id: str) -> str:
        """What the remote has of a model that is not found: nothing, or a deleted one."""
        entry = self.ids.state.logged.get(model_id)
        gone = self.reading.logged_model(entry.remote_id) if entry is not None and entry.remote_id else None
        return f"deleted ({_id(gone)})" if gone is not None else NOTHING

    def _compare(self, model: LoggedModel, found: Fields, experiment: str, findings: Findings) -> None:
        info, data = found["info"], found.get("data") or {}
        findings.equal("name", model.name, info.get("name"))
        findings.equal("experiment", experiment, self.ids.experiment_name(str(info["experiment_id"])))
        findings.equal("type", model.model_type or "", info.get("model_type") or "")
        status = str(info.get("status") or "")
        findings.equal("status", model.status, _STATUS.get(status, status.removeprefix("LOGGED_MODEL_")))
        source = self.ids.run(model.source_run_id) if model.source_run_id else ""
        findings.equal("source run", source, self.ids.current(info.get("source_run_id") or ""))
        params, prefix = pairs(data, "params"), f"{model.model_id}/"
        keys = model.params.keys() | params.keys()
        findings.counts["params"] += findings.texts(
            "param", model.params, params, keys, kind=LOGGED_MODEL_PARAM, prefix=prefix
        )
        self._tags(model, _id(found), pairs(info, "tags"), findings)
        self._metrics(model, data, findings)
        self._files(model, _id(found), str(info.get("artifact_uri") or ""), findings)

    def _tags(self, model: LoggedModel, remote_id: str, remote: dict[str, str], findings: Findings) -> None:
        tags = self.ids.map_tags(model.tags)
        local = remote_tags(tags, remote_id, ORIGIN_MODEL_TAG, {MODEL_ID_TAG: model.model_id})
        entry = self.ids.state.logged.get(model.model_id)
        gone = entry.tags.keys() & remote.keys() if entry is not None else set()
        keys = (local.keys() | gone) - {MODEL_VERSIONS}
        same = findings.texts("tag", local, remote, keys, kind=LOGGED_MODEL_TAG, prefix=f"{model.model_id}/")
        findings.counts["tags"] += same

    # --- metrics ---

    def _metrics(self, model: LoggedModel, data: Fields, findings: Findings) -> None:
        local: dict[Point, set[float]] = {}
        prefix = f"{model.model_id}/"
        for metric in model.metrics:
            if self._counts(metric):
                point = (metric.key, metric.step, metric.time, self.ids.run(metric.run_id))
                texts = (metric.dataset_name or "", metric.dataset_digest or "")
                local.setdefault((*point, *texts), set()).add(_kept(metric.value))
        rows = [{**row, "run_id": self.ids.current(str(row.get("run_id") or ""))} for row in data.get("metrics") or []]
        remote = {_point(row): _kept(float(row["value"])) for row in rows}
        both = local.keys() & remote.keys()
        other = {point for point in both if remote[point] not in local[point]}
        for key, points in _by_key(local.keys() - remote.keys()):
            words = f"{_points(len(points))}, the first {_at(points[0])}"
            findings.differs(f"metric {key!r}", words, "missing", kind=LOGGED_MODEL_METRIC, key=prefix + key)
        for key, points in _by_key(remote.keys() - local.keys()):
            words = f"{_points(len(points))}, the first {_at(points[0])}"
            findings.differs(f"metric {key!r}", "missing", words, kind=LOGGED_MODEL_METRIC, key=prefix + key)
        for key, points in _by_key(other):
            sides = (f"{min(local[points[0]])!r} at {_at(points[0])}", repr(remote[points[0]]))
            findings.differs(f"metric {key!r}", *sides, kind=LOGGED_MODEL_METRIC, key=prefix + key)
        if not self.quick:
            findings.counts["points"] += len(both) - len(other)

    def _counts(self, metric: ModelMetric) -> bool:
        """Whether the remote should have it: not where the run was deleted, or the metric was rejected."""
        if metric.time < 0 or (metric.run_id, "metric", metric.key) in self.ids.state.rejected:
            return False
        entry = self.ids.state.runs.get(metric.run_id)
        if entry is not None and entry.remote_id:
            return entry.stage != DELETED
        try:
            return self.store.run(metric.run_id).info.lifecycle_stage != DELETED
        except NotFoundError:
            return False

    # --- files ---

    def _files(self, model: LoggedModel, remote_id: str, uri: str, findings: Findings) -> None:
        sizes: dict[str, int] = {}
        if self.quick:
            for folder in sorted({posixpath.dirname(artifact.path) for artifact in model.artifacts}):
                sizes |= self.reading.logged_model_files(remote_id, folder)
        for recorded in model.artifacts:
            key = f"{model.model_id}/{recorded.path}"
            try:
                artifact = self._as_sent(model, recorded, remote_id, uri)
                local, remote = self._sides(artifact, uri, sizes, findings)
            except (FileChanged, FileNotFoundError) as error:
                local, remote = f"can't be read: {error}", "not compared"
            if local == remote:
                findings.counts["artifacts"] += 1
            else:
                findings.differs(f"file {recorded.path!r}", local, remote, kind=LOGGED_MODEL_FILE, key=key)

    def _sides(self, artifact: Artifact, uri: str, sizes: dict[str, int], findings: Findings) -> tuple[str, str]:
        if self.quick:
            listed = sizes.get(artifact.path)
            return f"{artifact.size:,} bytes", NOTHING if listed is None else f"{listed:,} bytes"
        try:
            size, sha256 = artifact_digest(self.client, uri, artifact)
        except RemoteRefusedError as error:
            return f"{artifact.size:,} bytes", NOTHING if error.status == 404 else error.words
        findings.counts["artifact_bytes"] += size
        if size != artifact.size:
            return f"{artifact.size:,} bytes", f"{size:,} bytes"
        return f"SHA-256 {artifact.sha256[:12]}...", f"SHA-256 {sha256[:12]}..."

    def _as_sent(self, model: LoggedModel, artifact: Artifact, remote_id: str, uri: str) -> Artifact:
        """The file as it was sent: ``MLmodel`` with mapped ids (see push/model_files.py)."""
        if artifact.path != MLMODEL:
            return artifact
        path = self.store.logged_models.folder(model.model_id).artifacts / artifact.path
        check_content(artifact, path)
        content = map_mlmodel(read_small(path), model, uri=uri, state=self.ids.state)
        content = content.replace(model.model_id.encode(), remote_id.encode())
        return replace(artifact, size=len(content), sha256=hashlib.sha256(content).hexdigest())


def _id(found: Fields) -> str:
    return str(found["info"]["model_id"])


def _ids(found: list[Fields]) -> str:
    return ", ".join(sorted(_id(each) for each in found))


def _kept(value: float) -> float:
    """A value as a server keeps it for a logged model: it has no NaN."""
    return 0.0 if math.isnan(value) else max(-LARGEST, min(LARGEST, value)) + 0.0


def _point(row: Fields) -> Point:
    name, digest = str(row.get("dataset_name") or ""), str(row.get("dataset_digest") or "")
    at = (int(row.get("step") or 0), int(row["timestamp"]))
    return (str(row["key"]), *at, str(row.get("run_id") or ""), name, digest)


def _by_key(points: Iterable[Point]) -> Iterator[tuple[str, list[Point]]]:
    for key, group in groupby(sorted(points), key=lambda point: point[0]):
        yield key, list(group)


def _points(count: int) -> str:
    return f"{count:,} point{'' if count == 1 else 's'}"


def _at(point: Point) -> str:
    return f"step {point[1]} at {point[2]} ms"
