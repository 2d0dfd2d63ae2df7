"""One session of ClearML's: the task, its events, and what it printed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from mltrack.environment import NOTE_TAG, SOURCE_NAME_TAG
from mltrack.importers.batches import make_batch
from mltrack.importers.clearml.sessions import LOG, METRICS, TASK
from mltrack.importers.json_fields import number_of, parse_json
from mltrack.importers.kept_points import KeptPoints
from mltrack.importers.logged_rows import BATCH_ITEMS, LoggedRows, is_step
from mltrack.importers.png_image import PNG, PngImage
from mltrack.importers.source import SourceError, SourceValue
from mltrack.importers.times import ns_of_ms
from mltrack.importers.zip_members import lines_of, read_small

if TYPE_CHECKING:
    import pyarrow as pa

    from mltrack.importers.batches import Columns
    from mltrack.importers.findings import Findings
    from mltrack.importers.zip_members import Members

__all__ = ["ClearmlRun", "Media", "read_task"]

TASK_BYTES_MAX, VALUE_BYTES_MAX = 64 << 20, 64 << 20
NO_STEP = -(2**31)
"""The step of single values, which ClearML shows in a table of their own."""
MONITORS = (":monitor:machine", ":monitor:gpu")
DAMAGE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Media:
    """A file that was logged with a step; ``name`` is that of its metric and variant."""

    member: str
    name: str
    step: int
    time: int


def read_task(members: Members) -> dict[str, Any]:
    """What the session says of the task.

    Raises:
        SourceError: it can't be read.
    """
    try:
        found = parse_json(read_small(members, TASK, TASK_BYTES_MAX))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{TASK} is not JSON: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("id"), str):
        raise SourceError(f"{TASK} has no id")
    return found


@dataclass(slots=True)
class ClearmlRun:
    """It."""

    members: Members
    where: str
    task: dict[str, Any]
    findings: Findings
    start: int = 0
    end: int = 0
    media: list[Media] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    """Files that are texts in the task or in events, by name."""
    console: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    _kept: KeptPoints = field(default_factory=KeptPoints)

    def scan(self) -> None:
        """Read all of it."""
        for part in self._parts(note=True):
            self._kept.add(part)
        first = 0
        for event, place in self._events(LOG):
            try:
                time = self._see(event)
                first = first or time
                self.console.append(f"{event['msg']}\n")
            except DAMAGE as error:
                self.findings.problem(place, f"can't be read: {' '.join(str(error).split())[:200]}")

        self.start = min(filter(None, (self.start, first)), default=0)

    # --- facts ---

    @property
    def params(self) -> dict[str, str]:
        """Hyperparameters; those outside of the section General with the name of theirs."""
        found: dict[str, str] = {}
        for section, params in _fields(self.task.get("hyperparams")).items():
            for name, param in _fields(params).items():
                key = name if section == "General" else f"{section}/{name}"
                found[key] = str(_fields(param).get("value", ""))
        return found

    @property
    def tags(self) -> dict[str, str]:
        """The note, tags, type of task and git."""
        script, labels = _fields(self.task.get("script")), self.task.get("tags")
        known = {
            NOTE_TAG: self.task.get("comment"),
            "clearml.type": self.task.get("type"),
            SOURCE_NAME_TAG: script.get("entry_point"),
            "mlflow.source.git.repoURL": script.get("repository"),
            "mlflow.source.git.branch": script.get("branch"),
            "mlflow.source.git.commit": script.get("version_num"),
        }
        if isinstance(labels, list) and labels:
            known["clearml.tags"] = json.dumps(sorted(map(str, labels)), ensure_ascii=False)
        return {key: str(value) for key, value in known.items() if value}

    def described(self) -> dict[str, str]:
        """Files of what the task says: configurations, packages, what was not committed."""
        script = _fields(self.task.get("script"))
        texts = {"uncommitted.diff": script.get("diff")}
        texts["requirements.txt"] = _fields(script.get("requirements")).get("pip")
        for name, each in _fields(self.task.get("configuration")).items():
            texts[f"configuration/{name}"] = _fields(each).get("value")
        return {name: str(text) for name, text in texts.items() if text}

    def artifacts(self) -> Iterator[tuple[str, str]]:
        """Name and member of each artifact; those that are elsewhere are counted."""
        found = _fields(self.task.get("execution")).get("artifacts")
        for each in found if isinstance(found, list) else ():
            artifact = _fields(each)
            member = self.member_of(artifact.get("uri"))
            if member is None:
                self.left_out["artifacts that are not in the session"] += 1
            else:
                yield f"artifacts/{artifact.get('key')}/{PurePosixPath(member).name}", member

    def member_of(self, uri: object) -> str | None:
        """A file of the session by the address that it had where it was written; None where it is not there."""
        folder = str(self.task.get("offline_folder") or "")
        text = str(uri).replace("\\", "/")
        prefix = f"{folder}/".replace("\\", "/")
        if not folder or not text.startswith(prefix):
            return None
        member = text.removeprefix(prefix)
        return member if self.members.size(member) is not None else None

    # --- events ---

    def _events(self, name: str) -> Iterator[tuple[dict[str, Any], str]]:
        """The task's own events in a file, and where they are. What can't be read is named."""
        if self.members.size(name) is None:
            return
        try:
            for number, line in lines_of(self.members, name):
                place = f"{self.where}: {name}: line {number:,}"
                try:
                    events = parse_json(line)
                except (ValueError, RecursionError) as error:
                    self.findings.problem(place, f"not JSON: {' '.join(str(error).split())[:100]}")
                    continue
                for event in events if isinstance(events, list) else ():
                    if isinstance(event, dict) and event.get("task") == self.task["id"]:
                        yield event, place
        except SourceError as error:
            self.findings.problem(self.where, str(error))

    def _see(self, event: dict[str, Any]) -> int:
        """The time of an event in ns."""
        time = ns_of_ms(event.get("timestamp"))
        if time:
            self.start = self.start or time
            self.end = max(self.end, time)
        return time

    def points(self) -> Iterator[pa.RecordBatch]:
        """All numbers, with those of the machine."""
        for part in self._kept.parts if self._kept.complete else self._parts(note=False):
            yield make_batch(part.keys, part.codes, part.steps, part.times, part.values)

    def _parts(self, note: bool) -> Iterator[Columns]:
        rows = LoggedRows()
        for event, place in self._events(METRICS):
            try:
                time = self._see(event)
                if event["type"] == "training_stats_scalar":
                    _add_number(rows, event, time)
                elif note:
                    self._note(event, time)
            except DAMAGE as error:
                self.findings.problem(place, f"can't be read: {' '.join(str(error).split())[:200]}")
            if len(rows) >= BATCH_ITEMS:
                yield rows.take()[0]
        yield rows.take()[0]

    def _note(self, event: dict[str, Any], time: int) -> None:
        kind, name = str(event["type"]), _name(event)
        step = int(event["iter"]) if is_step(event.get("iter")) and event["iter"] != NO_STEP else 0
        if kind == "plot" and isinstance(event.get("plot_str"), str):
            self.texts[f"plots/{name}_{step}.json"] = event["plot_str"]
        elif "url" in event:
            member = self.member_of(event["url"])
            if member is None:
                self.left_out["images and media that are not in the session"] += 1
            else:
                self.media.append(Media(member, name, step, time))
        else:
            self.left_out[f"events of the type {kind[:40]}"] += 1

    # --- values ---

    def is_value(self, media: Media) -> bool:
        """Whether a file comes as a value: a PNG image."""
        with self.members.open(media.member) as stream:
            return stream.read(len(PNG)) == PNG

    def values(self) -> Iterator[SourceValue]:
        """Images that are PNG files."""
        for media in self.media:
            try:
                if self.is_value(media):
                    data = read_small(self.members, media.member, VALUE_BYTES_MAX)
                    yield SourceValue(media.name, media.step, media.time, PngImage(data))
            except SourceError as error:
                self.findings.problem(self.where, f"{media.name}: {error}")


def _fields(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _name(event: dict[str, Any]) -> str:
    """The name of a metric: its title and its series, or one of them where both are the same."""
    metric, variant = str(event["metric"]), str(event["variant"])
    if metric in MONITORS:
        name = {"cpu_usage": "cpu_utilization_percentage"}.get(variant, variant)
        gpu = name.startswith("gpu_") and name.endswith("_utilization")
        return f"system/{name}{'_percentage' if gpu else ''}"
    return metric if metric == variant or not variant else f"{metric}/{variant}"


def _add_number(rows: LoggedRows, event: dict[str, Any], time: int) -> None:
    value, step = number_of(event["value"]), event["iter"]
    if value is None:
        raise ValueError(f"{event['value']!r:.60} is not a number")
    if not is_step(step):
        raise ValueError(f"{step!r:.60} is not a step")
    rows.add(0 if step == NO_STEP else step, time, {_name(event): value})
