"""The fold: a run's event lines become its state. The same files give the same state, in any order of reading.

Where two writers disagree, the order of (time, writer, seq) decides: the first value of a param, the last of a tag.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mltrack.disk.arriving import read_arriving
from mltrack.disk.codec import placeholder_name
from mltrack.disk.damage import Damage
from mltrack.disk.elsewhere import MARKER_SUFFIX, latest, read_marker
from mltrack.disk.fields import COUNT_MAX
from mltrack.disk.jsonlog import read_log
from mltrack.disk.line_types import EVENTS
from mltrack.disk.liveness import is_alive
from mltrack.entities import (
    ACTIVE,
    DEFAULT_EXPERIMENT_ID,
    DEFAULT_EXPERIMENT_NAME,
    Alert,
    Artifact,
    DatasetInput,
    Elsewhere,
    Event,
    ModelOutput,
    Position,
    RunInfo,
    WriterInfo,
)
from mltrack.environment import PARENT_TAG, RUN_NAME_TAG, USER_TAG
from mltrack.storage.runs.event_rules import ONLY, RULES, Order
from mltrack.storage.runs.visibility import Visibility

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mltrack.disk.layout import RunFolder
    from mltrack.errors import CorruptionError

__all__ = ["RunState", "WriterState", "running_elsewhere"]

_SUFFIX = ".jsonl"


@dataclass(slots=True)
class WriterState:
    """The state of one writer from its events file, and how far that was read."""

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
    elsewhere: Elsewhere | None = None  # it records in another store, where it was alive when this was copied

    def info(self, points: int) -> WriterInfo:
        """The public view, with the writer's points counted by the caller."""
        position = Position(self.events, points)
        return WriterInfo(self.writer, self.role, self.host, self.pid, self.opened, self.ended, self.alive, position)


class RunState:
    """The folded state of one run; ``update`` reads what was appended since."""

    def __init__(self, folder: RunFolder, *, report: Callable[[CorruptionError], None] | None = None) -> None:
        """``report`` is called with each piece of damage that is found."""
        self.folder = folder
        self.writers: dict[str, WriterState] = {}
        self.damage = Damage(report)
        self.lost = 0
        self._hidden: frozenset[str] = frozenset()  # writers that are being replaced, or take their place
        self._held: dict[str, dict[Any, tuple[Order, Any]]] = {rule.name: {} for rule in RULES.values()}

    @property
    def start(self) -> Mapping[str, Any]:
        """The fields of its first start event; empty if it has none."""
        fields: Mapping[str, Any] = self._only("start", {})[1]
        return fields

    def update(self) -> list[Event]:
        """Read the lines appended since the last call, and which writers are alive; returns the new events in order.

        Raises:
            OSError: a file exists and can't be read.
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
        finally:  # what was read won't be read again, even if an error stops the rest
            events.sort(key=lambda event: (event.time, event.writer, event.seq))
            for event in events:
                self._apply(event)
            self._hidden = read_arriving(self.folder.path).hidden  # last: what was in force before may be gone
        return events

    def _read(self, name: str) -> list[Event]:
        path = self.folder.events / name
        writer = self.writers.setdefault(name[: -len(_SUFFIX)], WriterState(name[: -len(_SUFFIX)]))
        # checked before the lines are read: a writer that is dead now will write no more
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
        self._look_elsewhere(writer)
        return events

    def _look_elsewhere(self, writer: WriterState) -> None:
        """A writer that is alive where this run was copied from counts as alive."""
        writer.elsewhere = None
        if not writer.alive and not writer.ended:
            writer.elsewhere = read_marker(self.folder.path, writer.writer)
            writer.alive = writer.elsewhere is not None

    def _apply_to(self, writer: WriterState, time: int, kind: str, line: Mapping[str, Any]) -> None:
        if kind == "writer" and not writer.opened:
            self._register_writer(writer, time, line, path_alive=writer.alive)
        elif kind == "metric":
            _set_at(writer.keys, line["number"], line["key"])
        elif kind == "close":
            writer.ended = True

    def _register_writer(self, writer: WriterState, time: int, line: Mapping[str, Any], *, path_alive: bool) -> None:
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
        if event.type == "lost":
            self.lost = min(self.lost + event.fields.get("points", 0), COUNT_MAX)
        rule = RULES.get(event.type)
        if rule is None:
            return
        order, key, held = (event.time, event.writer, event.seq), rule.key(event), self._held[rule.name]
        if key not in held or rule.wins(order, held[key][0]):
            held[key] = (order, rule.value(event))

    def _only(self, name: str, default: Any) -> tuple[Order, Any]:
        """The value of what a run has one of, with the order of its event."""
        return self._held[name].get(ONLY, ((0, "", 0), default))

    def _logged(self, name: str) -> list[tuple[Any, Any]]:
        """Keys and values in the order of their events."""
        return [(key, value) for key, (_, value) in sorted(self._held[name].items(), key=lambda item: item[1][0])]

    # --- the state ---

    @property
    def stage(self) -> str:
        """Its lifecycle stage: active or deleted."""
        return str(self._only("stage", ACTIVE)[1])

    @property
    def staged_at(self) -> int:
        """When the stage was last set, in ns; 0 if never."""
        return self._only("stage", ACTIVE)[0][0]

    @property
    def ended_at(self) -> int:
        """When an end or a status was last written, in ns; 0 if never."""
        return self._only("ending", None)[0][0]

    @property
    def exists(self) -> bool:
        """Whether this folder has a run: its start was written."""
        return bool(self.start)

    @property
    def params(self) -> dict[str, str]:
        """Params by key."""
        return {key: value for key, (_, value) in self._held["params"].items()}

    @property
    def tags(self) -> dict[str, str]:
        """Tags by key."""
        return {key: value for key, (_, value) in self._held["tags"].items() if value is not None}

    @property
    def artifacts(self) -> list[Artifact]:
        """Artifacts in order of path."""
        return [artifact for _, (_, artifact) in sorted(self._held["artifacts"].items()) if artifact is not None]

    @property
    def lost_artifacts(self) -> dict[str, str]:
        """The artifacts that could not be stored, or not whole, and were not logged again; the reason by path."""
        stored = self._held["artifacts"]
        return {
            name: reason
            for name, (order, reason) in sorted(self._held["lost_artifacts"].items())
            if name and (name not in stored or stored[name][0] < order)
        }

    @property
    def datasets(self) -> list[DatasetInput]:
        """The datasets it used, in the order they were logged."""
        return [used for _, used in self._logged("datasets")]

    @property
    def model_inputs(self) -> list[str]:
        """The ids of the logged models it used, in the order they were logged."""
        return [model_id for model_id, _ in self._logged("model_inputs")]

    @property
    def model_outputs(self) -> list[ModelOutput]:
        """The logged models it made, in the order they were logged."""
        return [made for _, made in self._logged("model_outputs")]

    @property
    def visibility(self) -> Visibility | None:
        """What counts of its points; None: all that its writers logged."""
        rewinds, fork = self._held["rewinds"], self._only("fork", None)[1]
        hidden = self._hidden & self.writers.keys()
        if not rewinds and fork is None and not hidden:
            return None
        undone = self._held["undone"]
        found = (rewind for _, rewind in sorted(rewinds.values(), key=lambda held: held[0]))
        return Visibility(tuple(replace(one, undone=one.rewind_id in undone) for one in found), fork, hidden)

    @property
    def alerts(self) -> list[Alert]:
        """What guards have found in it, in the order of their events."""
        done: dict[str, dict[str, str]] = {}
        for (alert_id, action), outcome in self._logged("alert_actions"):
            done.setdefault(alert_id, {})[action] = outcome
        return [
            replace(one, actions={**one.actions, **done.get(alert_id, {})}) for alert_id, one in self._logged("alerts")
        ]

    @property
    def episode(self) -> int:
        """When the run was last started or resumed, in ns: when a process opened it while no other one had it open."""
        opened = sorted(
            (w.opened, w.last_time, w.alive and not w.ended)
            for w in self.writers.values()
            if w.role in ("create", "resume") and w.opened
        )
        begun = end = 0
        for at, last, alive in opened:
            if at > end:
                begun = at
            end = max(end, 1 << 63 if alive else last)
        return begun

    @property
    def stop_requests(self) -> list[tuple[int, str]]:
        """When the run was asked to stop, in ns, and why, in the order of the events."""
        return [request for request, _ in self._logged("stops")]

    def stored_by(self, path: str) -> tuple[str, int]:
        """Which event says what an artifact is: its writer and seq."""
        _, writer, seq = self._held["artifacts"][path][0]
        return writer, seq

    @property
    def live(self) -> bool:
        """Whether a process that runs this run (not one that merely edited it) still has it open."""
        return any(w.alive and not w.ended and w.role != "edit" for w in self.writers.values())

    @property
    def elsewhere(self) -> Elsewhere | None:
        """Where it is recorded, if that is in another store only."""
        alive = [w for w in self.writers.values() if w.alive and not w.ended and w.role != "edit"]
        if any(w.elsewhere is None for w in alive):
            return None
        return latest(w.elsewhere for w in alive if w.elsewhere is not None)

    @property
    def last_time(self) -> int:
        """When its last event was written, in ns."""
        return max((w.last_time for w in self.writers.values()), default=0)

    def outcome(self) -> tuple[str, int | None, bool]:
        """Status, end time (ns; None while it runs), and whether it crashed.

        A process that has the run open makes it RUNNING, unless a status was set after that process opened it. If none
        has it open, its last end or status counts; it crashed if a process opened it later and died without an end.
        """
        (ended_at, _, _), (kind, status, end_time) = self._only("ending", ("", "", None))
        unended = [w for w in self.writers.values() if w.role in ("create", "resume") and not w.ended]
        if any(w.alive and not (kind == "status" and w.opened < ended_at) for w in unended):
            return "RUNNING", None, False
        if kind and all(w.opened < ended_at for w in unended):
            return status, end_time, False
        return "FAILED", None, True

    def info(self, *, end_of_points: int = 0) -> RunInfo:
        """MLflow's view of the run. ``end_of_points``: the time (ns) of the last point, which ends a crashed run."""
        status, end_time, crashed = self.outcome()
        if crashed:
            recorded = [writer.last_time for writer in self.writers.values() if writer.role != "edit"]
            end_time = max([*recorded, end_of_points])
        tags, start = self.tags, self.start
        return RunInfo(
            run_id=self.folder.run_id,
            run_name=tags.get(RUN_NAME_TAG, str(start.get("run_name", ""))),
            experiment_id=str(start.get("experiment_id", DEFAULT_EXPERIMENT_ID)),
            experiment_name=str(start.get("experiment_name", DEFAULT_EXPERIMENT_NAME)),
            status=status,
            start_time=int(start.get("start_time", 0)) // 1_000_000,
            end_time=None if end_time is None else end_time // 1_000_000,
            lifecycle_stage=self.stage,
            user_id=str(start.get("user_id", tags.get(USER_TAG, ""))),
            parent_run_id=tags.get(PARENT_TAG),
            crashed=crashed,
            live=self.live,
            artifact_uri=str(self.folder.artifacts),
        )


def running_elsewhere(folder: RunFolder) -> Elsewhere | None:
    """Where a run is recorded, if that is in another store only."""
    try:
        marked = any(name.endswith(MARKER_SUFFIX) for name in os.listdir(folder.path / "live"))
    except OSError:
        marked = False
    if not marked:
        return None
    state = RunState(folder)
    state.update()
    return state.elsewhere


def _set_at(keys: list[str], number: int, key: str) -> None:
    if number > len(keys):
        keys.extend(placeholder_name(n) for n in range(len(keys), number))
    if number == len(keys):
        keys.append(key)
    else:
        keys[number] = key
