"""What the reading API returns: MLflow's entities in MLflow's terms, plus what mltrack knows beyond them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = [
    "ACTIVE",
    "DATASET_CONTEXT",
    "DEFAULT_EXPERIMENT_ID",
    "DEFAULT_EXPERIMENT_NAME",
    "DELETED",
    "LOGGED_MODEL_STATUSES",
    "MODEL_STAGES",
    "RUN_STATUSES",
    "Alert",
    "Artifact",
    "Dataset",
    "DatasetInput",
    "Event",
    "Experiment",
    "LoggedModel",
    "MetricSummary",
    "ModelMetric",
    "ModelOutput",
    "ModelVersion",
    "Position",
    "RegisteredModel",
    "RunData",
    "RunHead",
    "RunInfo",
    "WriterInfo",
]

LOGGED_MODEL_STATUSES = ("UNSPECIFIED", "PENDING", "READY", "FAILED")
MODEL_STAGES = ("None", "Staging", "Production", "Archived")
RUN_STATUSES = ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")
ACTIVE = "active"
DELETED = "deleted"
DEFAULT_EXPERIMENT_ID = "0"
DEFAULT_EXPERIMENT_NAME = "Default"
DATASET_CONTEXT = "mlflow.data.context"
"""The tag of a dataset input that says what it was used for: training, validation, test."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment. Times are ms since the epoch.

    ``artifact_location`` is a URI where MLflow keeps the files of its runs; empty: in the store, as mltrack does.
    """

    experiment_id: str
    name: str
    lifecycle_stage: str = ACTIVE
    creation_time: int = 0
    last_update_time: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)
    artifact_location: str = ""


def elapsed_ms(status: str, start_ms: int, end_ms: int | None, now_ms: int) -> int | None:
    """How long a run lasted, or has lasted; None for one that waits for a process to record it."""
    if status == "SCHEDULED":
        return None
    return max(0, (now_ms if end_ms is None else end_ms) - start_ms)


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run's identity, status and times, in ms since the epoch as in MLflow.

    ``crashed``: the process that wrote the run died without ending it; the status is then FAILED and the end time that
    of the last thing it wrote. ``live``: a process is writing to it now, or was in the store that this is a copy from.
    """

    run_id: str
    run_name: str
    experiment_id: str
    experiment_name: str
    status: str
    start_time: int
    end_time: int | None
    lifecycle_stage: str
    user_id: str
    parent_run_id: str | None
    crashed: bool
    live: bool
    artifact_uri: str

    @property
    def shown_status(self) -> str:
        """MLflow's status, or CRASHED if the run's process has died without ending it."""
        return "CRASHED" if self.crashed else self.status


@dataclass(frozen=True, slots=True)
class RunData:
    """A run's params, tags, and the latest value of each metric (greatest step, then time, then value)."""

    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """One metric of one run: its latest point (``time`` in ns), its extremes (NaN only if all are), its count."""

    key: str
    value: float
    step: int
    time: int
    min: float
    max: float
    count: int


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file of a run: its path inside the artifact folder, size in bytes, SHA-256 in hex, time of logging in ns.

    ``remote`` names the remote that has it, where the file was removed here to free space; else it is empty.
    """

    path: str
    size: int
    sha256: str
    time: int
    remote: str = ""


@dataclass(frozen=True, slots=True)
class Dataset:
    """The data a run used: a name, and a digest that changes with the content.

    ``source`` says where it came from, in the form that ``source_type`` names (for example a JSON text with a URI, type
    ``http``); ``schema`` and ``profile`` are JSON texts on its columns and its size, where known.
    """

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class DatasetInput:
    """A dataset that a run used, and the tags of that use."""

    dataset: Dataset
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def context(self) -> str | None:
        """What it was used for: the tag ``mlflow.data.context``."""
        return self.tags.get(DATASET_CONTEXT)


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """A logged model that a run made, and the step it was made at."""

    model_id: str
    step: int = 0


class Position(NamedTuple):
    """How far one writer's events and points go, or have been read: the seq after the last one of each."""

    events: int = 0
    points: int = 0


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Where a run is recorded of which this store has a copy: host and store id, and the time of the copy in ns."""

    host: str
    store_id: str
    time: int


@dataclass(frozen=True, slots=True)
class RunHead:
    """How far a run goes, cheaply: summed positions of its writers. Equal heads mean nothing was written in between."""

    run_id: str
    events: int
    points: int
    live: bool


@dataclass(frozen=True, slots=True)
class Event:
    """One fact of a run, as it was written: ``fields`` are all of the line's but seq, time (ns) and type."""

    writer: str
    seq: int
    time: int
    type: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Alert:
    """What a guard has found in a run; ``time`` says when, in ns.

    ``condition`` is the rule's text, ``episode`` (ns) when the run was last started or resumed before: a rule fires
    once in that time. ``metric``, ``step`` and ``value`` are of the point that decided it, if one did. ``actions`` has
    how each action went, by name: stop, tag, command, webhook; empty while it is not begun.
    """

    alert_id: str
    rule: str
    condition: str
    message: str
    time: int
    episode: int
    metric: str = ""
    step: int | None = None
    value: float | None = None
    actions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WriterInfo:
    """A process that wrote, or writes, to a run. ``role`` is create, resume, fork or edit; ``opened`` in ns."""

    writer: str
    role: str
    host: str
    pid: int
    opened: int
    ended: bool
    alive: bool
    position: Position


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A name in the registry. Times are ms since the epoch; ``aliases`` maps each alias to a version number."""

    name: str
    creation_time: int
    last_update_time: int
    description: str
    tags: Mapping[str, str]
    aliases: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One version of a registered model.

    ``source`` says where its files are, as ``runs:/<run_id>/<path>`` or ``models:/<model_id>/<path>`` where that is in
    the store. ``location`` says the same where the source is another version (``models:/<name>/<number>``), else it is
    None. ``as_address``: MLflow's API was given, and gives, the source as the address of the files.
    """

    name: str
    version: int
    source: str
    run_id: str | None
    creation_time: int
    last_update_time: int
    description: str = ""
    stage: str = "None"
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    model_id: str | None = None
    run_link: str | None = None
    location: str | None = None
    as_address: bool = False


@dataclass(frozen=True, slots=True)
class ModelMetric:
    """A metric that a run logged with a logged model. ``time`` is in ms since the epoch, as MLflow compares it.

    ``seq`` numbers the lines of the model; it is -1 for a metric that is not stored yet.
    """

    key: str
    value: float
    step: int
    time: int
    run_id: str
    dataset_name: str | None = None
    dataset_digest: str | None = None
    seq: int = -1


@dataclass(frozen=True, slots=True)
class LoggedModel:
    """A model as MLflow 3 logs it: files of its own, params, tags, and the metrics of the runs that tried it.

    Times are ms since the epoch; ``status`` is one of LOGGED_MODEL_STATUSES. ``position`` is how many lines the model's
    file has: it grows with each change, and a syncer that has sent all up to it continues from it.
    """

    model_id: str
    experiment_id: str
    name: str
    creation_time: int
    last_update_time: int
    status: str = "PENDING"
    status_message: str | None = None
    model_type: str | None = None
    source_run_id: str | None = None
    lifecycle_stage: str = ACTIVE
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[ModelMetric, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    position: int = 0
