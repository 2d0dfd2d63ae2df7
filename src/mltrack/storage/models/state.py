"""The state of a logged model from its lines, and the form of these lines."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mltrack.entities import Artifact, Event, LoggedModel, ModelMetric
from mltrack.values.scalars import as_float, as_text, check_key, integer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mltrack.disk.layout import ModelFolder
    from mltrack.disk.shared_log import SharedLog

__all__ = ["Identity", "ModelState", "as_event", "checked", "identity", "is_same", "metric_line", "texts"]

Identity = tuple[str, str, int, int]
"""Run, name, step and time: metrics of a model that agree in these are the same one, as in MLflow."""

_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


class ModelState:
    """One model, from the lines read so far."""

    def __init__(self, folder: ModelFolder, log: SharedLog) -> None:
        self.folder = folder
        self.log = log
        self._restart()

    def _restart(self) -> None:
        self._lines = 0
        self._last_seq = -1
        self._created: LoggedModel | None = None  # from its first line, with status and lifecycle kept up to date
        self._whole: LoggedModel | None = None
        self.params: dict[str, str] = {}
        self.metrics: dict[Identity, ModelMetric] = {}
        self.made = 0  # ns since the epoch: models of one millisecond keep their order
        self._tags: dict[str, str] = {}
        self._artifacts: dict[str, Artifact] = {}

    @property
    def exists(self) -> bool:
        """Whether the model exists."""
        return self._created is not None

    @property
    def next_seq(self) -> int:
        """The seq of the next line: damaged lines have one too."""
        return max(self._last_seq + 1, self._lines + len(self.log.damage))

    def refresh(self) -> None:
        """Read what was added."""
        self.log.follow(self._apply, self._restart)

    def model(self) -> LoggedModel | None:
        """The model as it was when last read."""
        if self._whole is None and self._created is not None:
            self._whole = replace(
                self._created,
                tags=dict(self._tags),
                params=dict(self.params),
                metrics=tuple(self.metrics.values()),
                artifacts=tuple(self._artifacts[path] for path in sorted(self._artifacts)),
                position=self.next_seq,
            )
        return self._whole

    def append(self, lines: Iterable[Mapping[str, Any]], *, soon: bool = False) -> None:
        """Add lines, as ``SharedLog.append``; the model's lock is held by the caller."""
        numbered = [{"seq": self.next_seq + at, **line} for at, line in enumerate(lines)]
        if numbered:
            self.log.append(*numbered, soon=soon)

    def _apply(self, line: dict[str, Any]) -> None:
        time, seq = int(line["time"]), int(line["seq"])
        match line["type"]:
            case "create" if self._created is None:
                self._created = _created(self.folder.model_id, line)
                self.made = time
                self._tags.update(texts(line["tags"], "tag"))
                self.params.update(texts(line["params"], "param"))
            case "param":
                self.params.setdefault(str(line["key"]), str(line["value"]))
            case "tag" if line["value"] is None:
                self._tags.pop(str(line["key"]), None)
            case "tag":
                self._tags[str(line["key"])] = str(line["value"])
            case "metric":
                metric = _metric(line)
                self.metrics.setdefault(identity(metric), metric)
            case "artifact" if line.get("deleted"):
                self._artifacts.pop(str(line["path"]), None)
            case "artifact":
                artifact = Artifact(str(line["path"]), int(line["size"]), str(line["sha256"]), time)
                self._artifacts[artifact.path] = artifact
            case "status" if self._created:
                status, message = str(line["status"]), line.get("message")
                self._update(time, status=status, status_message=message)
            case "lifecycle" if self._created:
                self._update(time, lifecycle_stage=str(line["stage"]))
        self._whole = None
        self._lines += 1
        self._last_seq = max(self._last_seq, seq)

    def _update(self, time: int, **fields: Any) -> None:
        assert self._created is not None
        self._created = replace(self._created, last_update_time=time // 1_000_000, **fields)


def identity(metric: ModelMetric) -> Identity:
    """What identifies the metric among those of its model."""
    return metric.run_id, metric.key, metric.step, metric.time


def is_same(held: ModelMetric, metric: ModelMetric) -> bool:
    """Whether two metrics of one identity say the same."""
    same_value = held.value == metric.value or (math.isnan(held.value) and math.isnan(metric.value))
    return same_value and held.dataset_name == metric.dataset_name and held.dataset_digest == metric.dataset_digest


def checked(metric: ModelMetric) -> ModelMetric:
    """The metric with its numbers as numbers.

    Raises:
        InvalidMetricError: its name, value, step or time is not valid.
    """
    key = check_key(metric.key)
    step, time = integer("step", metric.step), integer("time", metric.time)
    return replace(metric, key=key, value=as_float(key, metric.value), step=step, time=time)


def metric_line(metric: ModelMetric) -> dict[str, Any]:
    """A metric's line; NaN and infinities, which JSON does not have, are written as text."""
    value = metric.value if math.isfinite(metric.value) else _NOT_FINITE[str(metric.value)]
    return {
        "type": "metric",
        "run_id": metric.run_id,
        "key": metric.key,
        "value": value,
        "step": metric.step,
        "ms": metric.time,
        "dataset_name": metric.dataset_name,
        "dataset_digest": metric.dataset_digest,
    }


def _metric(line: Mapping[str, Any]) -> ModelMetric:
    return ModelMetric(
        key=str(line["key"]),
        value=float(line["value"]),
        step=int(line["step"]),
        time=int(line["ms"]),
        run_id=str(line["run_id"]),
        dataset_name=line.get("dataset_name"),
        dataset_digest=line.get("dataset_digest"),
        seq=int(line["seq"]),
    )


def _created(model_id: str, line: Mapping[str, Any]) -> LoggedModel:
    at = int(line["time"]) // 1_000_000
    return LoggedModel(
        model_id=model_id,
        experiment_id=str(line["experiment_id"]),
        name=str(line["name"]),
        creation_time=at,
        last_update_time=at,
        model_type=line.get("model_type"),
        source_run_id=line.get("source_run_id"),
    )


def as_event(line: Mapping[str, Any]) -> Event:
    """A line as an event, for syncers."""
    fields = {key: value for key, value in line.items() if key not in ("seq", "time", "type")}
    return Event("", int(line["seq"]), int(line["time"]), str(line["type"]), fields)


def texts(entries: Mapping[str, Any], kind: str) -> dict[str, str]:
    """Params or tags as they are stored; ``kind`` names one in a message.

    Raises:
        InvalidMetricError: a key is not a non-empty text.
    """
    return {check_key(key, kind): as_text(key, value) for key, value in entries.items()}
