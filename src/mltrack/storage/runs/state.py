"""The fold: a run's event lines and points become its state. The same files give the same state, in any order read.

Where two writers disagree, the order of (time, writer, seq) decides: the first param stands, the last tag does.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mltrack.disk.codec import placeholder_name
from mltrack.disk.damage import Damage
from mltrack.disk.fields import COUNT_MAX
from mltrack.disk.jsonlog import read_log
from mltrack.disk.line_types import EVENTS
from mltrack.disk.liveness import is_alive
from mltrack.entities import (
    ACTIVE,
    DEFAULT_EXPERIMENT_ID,
    DEFAULT_EXPERIMENT_NAME,
    Artifact,
    Dataset,
    DatasetInput,
    Event,
    ModelOutput,
    Position,
    RunInfo,
    WriterInfo,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mltrack.disk.layout import RunFolder
    from mltrack.errors import CorruptionError

__all__ = ["RunState", "WriterState"]

_SUFFIX = ".jsonl"


@dataclass(slots=True)
class WriterState:
    """What one events file says of its writer, and how far it has been read."""

    writer: str
    role: str = "edit"
    host: str = ""
    pid: int = 0
    opened: int = 0
    locked: bool = True
    ended: bool = False
    alive: bool = False
    events: int = 0  # the seq after the last event read
    end_byte: int = 0
    last_time: int = 0
    keys: list[str] = field(default_factory=list)  # metric names by number
    damaged: bool = False  # a line can't be read: it may have named a metric

    def info(self, points: int) -> WriterInfo:
        """The public view, with the writer's points counted by the caller."""
        position = Position(self.events, points)
        return WriterInfo(self.writer, self.role, self.host, self.pid, self.opened, self.ended, self.alive, position)


class RunState:
    """The folded state of one run; ``update`` reads what was appended since."""

    def __init__(self, folder: RunFolder, *, tell: Callable[[CorruptionError], None] | None = None) -> None:
        """``tell`` is called with each piece of damage that is met."""
        self.folder = folder
        self.writers: dict[str, WriterState] = {}
        self.damage = Damage(tell)
        self._start: tuple[tuple[int, str, int], Mapping[str, Any]] = ((0, "", 0), {})
        self.lost = 0
        self._params: dict[str, tuple[tuple[int, str, int], str]] = {}
        self._tags: dict[str, tuple[tuple[int, str, int], str | None]] = {}
        self._artifacts: dict[str, tuple[tuple[int, str, int], Artifact | None]] = {}
        self._datasets: dict[tuple[str, str], tuple[tuple[int, str, int], DatasetInput]] = {}
        self._model_inputs: dict[str, tuple[int, str, int]] = {}
        self._model_outputs: dict[str, tuple[tuple[int, str, int], ModelOutput]] = {}
        self._stage: tuple[tuple[int, str, int], str] = ((0, "", 0), ACTIVE)
        self._ending: tuple[tuple[int, str, int], str, str, int | None] = ((0, "", 0), "", "", None)

    @property
    def start(self) -> Mapping[str, Any]:
        """The fields of its first start event; empty where there is none."""
        return self._start[1]

    def update(self) -> list[Event]:
        """Read the lines appended since the last call and look who is alive; returns the new events in their order.

        Raises:
            OSError: a file is there and can't be read.
        """
        try:
            names = sorted(os.listdir(self.folder.events))
        except FileNotFoundError:
            names = []
        events: list[Event] = []
        try:
            for name in names:
                if name.endswith(_SUFFIX) and not name.startswith("."):
                    events += self._read(name)
        finally:  # what was read won't be read again, whatever stops the rest
            events.sort(key=lambda event: (event.time, event.writer, event.seq))
            for event in events:
                self._apply(event)
        return events

    def _read(self, name: str) -> list[Event]:
        path = self.folder.events / name
        writer = self.writers.setdefault(name[: -len(_SUFFIX)], WriterState(name[: -len(_SUFFIX)]))
        # life is asked before the lines are read: a writer seen dead here has written all it ever will
        before = writer.alive
        if not writer.opened or before:
            writer.alive = is_alive(
                path, locked=writer.locked, host=writer.host, pid=writer.pid, opened_ns=writer.opened
            )
        elif os.stat(path).st_size == writer.end_byte:
            return []
        read = read_log(path, writer.end_byte, records=EVENTS)
        writer.end_byte = read.end
        self.damage += read.damage
        writer.damaged = writer.damaged or bool(read.damage)
        events = []
        for line in read.lines:
            seq, time, kind = line.pop("seq"), line.pop("time"), line.pop("type")
            events.append(Event(writer.writer, seq, time, kind, line))
            writer.events = max(writer.events, seq + 1)
            writer.last_time = max(writer.last_time, time)
            self._apply_to(writer, time, kind, line)
        return events

    def _apply_to(self, writer: WriterState, time: int, kind: str, line: Mapping[str, Any]) -> None:
        if kind == "writer" and not writer.opened:
            self._meet(writer, time, line, path_alive=writer.alive)
        elif kind == "metric":
            _set_at(writer.keys, line["number"], line["key"])
        elif kind == "close":
            writer.ended = True

    def _meet(self, writer: WriterState, time: int, line: Mapping[str, Any], *, path_alive: bool) -> None:
        writer.role = str(line.get("role", "edit"))
        writer.host = str(line.get("host", ""))
        writer.pid = int(line.get("pid", 0))
        writer.locked = bool(line.get("locked", True))
        writer.opened = time
        if not writer.locked:
            path = self.folder.events / f"{writer.writer}{_SUFFIX}"
            writer.alive = is_alive(path, locked=False, host=writer.host, pid=writer.pid, opened_ns=time)
        else:
            writer.alive = path_alive

    def _apply(self, event: Event) -> None:
        order = (event.time, event.writer, event.seq)
        fields = event.fields
        match event.type:
            case "start":
                if not self._start[1] or order < self._start[0]:
                    self._start = (order, fields)
            case "param":
                held = self._params.get(fields["key"])
                if held is None or order < held[0]:
                    self._params[fields["key"]] = (order, str(fields["value"]))
            case "tag":
                tag = self._tags.get(fields["key"])
                if tag is None or order > tag[0]:
                    self._tags[fields["key"]] = (order, None if fields["value"] is None else str(fields["value"]))
            case "artifact":
                path = fields["path"]
                if path not in self._artifacts or order > self._artifacts[path][0]:
                    gone = fields.get("deleted", False)
                    self._artifacts[path] = (order, None if gone else _artifact(event))
            case "dataset":
                key = (str(fields["name"]), str(fields["digest"]))
                if key not in self._datasets or order < self._datasets[key][0]:
                    self._datasets[key] = (order, _dataset_input(fields))
            case "model_input":
                model_id = str(fields["model_id"])
                self._model_inputs[model_id] = min(order, self._model_inputs.get(model_id, order))
            case "model_output":
                output = ModelOutput(str(fields["model_id"]), int(fields.get("step", 0)))
                made = self._model_outputs.get(output.model_id)
                if made is None or order < made[0]:
                    self._model_outputs[output.model_id] = (order, output)
            case "end" | "status":
                if order > self._ending[0]:
                    self._ending = (order, event.type, fields["status"], fields.get("end_time"))
            case "lifecycle":
                if order > self._stage[0]:
                    self._stage = (order, fields["stage"])
            case "lost":
                self.lost = min(self.lost + fields.get("points", 0), COUNT_MAX)

    # --- the state ---

    @property
    def stage(self) -> str:
        """Its lifecycle stage: active or deleted."""
        return self._stage[1]

    @property
    def staged_at(self) -> int:
        """When the stage was last set, in ns; 0 where it never was."""
        return self._stage[0][0]

    @property
    def ended_at(self) -> int:
        """When an end or a status was last written, in ns; 0 where there is none."""
        return self._ending[0][0]

    @property
    def exists(self) -> bool:
        """Whether this folder holds a run at all: its start was written."""
        return bool(self.start)

    @property
    def params(self) -> dict[str, str]:
        """Params by key."""
        return {key: value for key, (_, value) in self._params.items()}

    @property
    def tags(self) -> dict[str, str]:
        """Tags by key."""
        return {key: value for key, (_, value) in self._tags.items() if value is not None}

    @property
    def artifacts(self) -> list[Artifact]:
        """Artifacts in order of path."""
        return sorted((a for _, a in self._artifacts.values() if a is not None), key=lambda artifact: artifact.path)

    @property
    def datasets(self) -> list[DatasetInput]:
        """The datasets it used, in the order they were logged."""
        return [used for _, used in sorted(self._datasets.values(), key=lambda held: held[0])]

    @property
    def model_inputs(self) -> list[str]:
        """The ids of the logged models it used, in the order they were logged."""
        return sorted(self._model_inputs, key=lambda model_id: self._model_inputs[model_id])

    @property
    def model_outputs(self) -> list[ModelOutput]:
        """The logged models it made, in the order they were logged."""
        return [made for _, made in sorted(self._model_outputs.values(), key=lambda held: held[0])]

    @property
    def live(self) -> bool:
        """Whether a process that runs this run (not one that merely edited it) still has it open."""
        return any(w.alive and not w.ended and w.role != "edit" for w in self.writers.values())

    @property
    def last_time(self) -> int:
        """When its last event was written, in ns."""
        return max((w.last_time for w in self.writers.values()), default=0)

    def outcome(self) -> tuple[str, int | None, bool]:
        """Status, end time (ns; None while it runs), and whether it crashed.

        A process that has the run open makes it RUNNING, unless someone set a status after that process opened it. Of a
        run nobody has open the last ending holds; it crashed when a process opened it later and is gone without one.
        """
        (ended_at, _, _), kind, status, end_time = self._ending
        unended = [w for w in self.writers.values() if w.role in ("create", "resume") and not w.ended]
        if any(w.alive and not (kind == "status" and w.opened < ended_at) for w in unended):
            return "RUNNING", None, False
        if kind and all(w.opened < ended_at for w in unended):
            return status, end_time, False
        return "FAILED", None, True

    def info(self, *, end_of_points: int = 0) -> RunInfo:
        """MLflow's view. ``end_of_points`` is the time (ns) of the last point, which ends a run that crashed."""
        status, end_time, crashed = self.outcome()
        if crashed:
            recorded = [writer.last_time for writer in self.writers.values() if writer.role != "edit"]
            end_time = max([*recorded, end_of_points])
        tags, start = self.tags, self.start
        return RunInfo(
            run_id=self.folder.run_id,
            run_name=tags.get("mlflow.runName", str(start.get("run_name", ""))),
            experiment_id=str(start.get("experiment_id", DEFAULT_EXPERIMENT_ID)),
            experiment_name=str(start.get("experiment_name", DEFAULT_EXPERIMENT_NAME)),
            status=status,
            start_time=int(start.get("start_time", 0)) // 1_000_000,
            end_time=None if end_time is None else end_time // 1_000_000,
            lifecycle_stage=self._stage[1],
            user_id=str(start.get("user_id", tags.get("mlflow.user", ""))),
            parent_run_id=tags.get("mlflow.parentRunId"),
            crashed=crashed,
            live=self.live,
            artifact_uri=str(self.folder.artifacts),
        )


def _artifact(event: Event) -> Artifact:
    fields = event.fields
    logged, remote = int(fields.get("logged", event.time)), str(fields.get("remote", ""))
    return Artifact(fields["path"], fields["size"], fields["sha256"], logged, remote)


def _dataset_input(fields: Mapping[str, Any]) -> DatasetInput:
    schema, profile = fields.get("schema"), fields.get("profile")
    dataset = Dataset(
        str(fields["name"]),
        str(fields["digest"]),
        str(fields["source_type"]),
        str(fields["source"]),
        None if schema is None else str(schema),
        None if profile is None else str(profile),
    )
    tags = dict(fields.get("tags") or {})
    return DatasetInput(dataset, {str(key): str(value) for key, value in tags.items()})


def _set_at(keys: list[str], number: int, key: str) -> None:
    if number > len(keys):
        keys.extend(placeholder_name(n) for n in range(len(keys), number))
    if number == len(keys):
        keys.append(key)
    else:
        keys[number] = key
