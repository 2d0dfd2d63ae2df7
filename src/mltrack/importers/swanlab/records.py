"""Records of a log: protocol buffers since SwanLab 0.8, JSON before; what each says, in the same words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mltrack.importers.json_fields import number_of, parse_json
from mltrack.importers.logged_rows import is_step
from mltrack.importers.protobuf import Fields, WireError
from mltrack.importers.times import ns_of

__all__ = ["Ended", "Facts", "Line", "Media", "Record", "Scalar", "json_record", "protobuf_record"]

STATES = {0: "KILLED", 1: "FINISHED", 2: "FAILED", 3: "KILLED"}
MEDIA = {2: "image", 3: "audio", 4: "text", 5: "video", 6: "echarts", 7: "object3d", 8: "molecule", 9: "html"}
START, FINISH, COLUMN, SCALAR, MEDIUM, LOG, SAVE = 10, 11, 12, 13, 14, 16, 20


@dataclass(frozen=True, slots=True)
class Facts:
    """What is said of the run; ``fields`` has those of ``id name project workspace description tags group job_type``.

    ``time`` is when it began, in ns since the epoch, 0 where the record does not say it.
    """

    fields: dict[str, Any]
    time: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """How the run ended: one of RUN_STATUSES."""

    status: str
    error: str
    time: int


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number."""

    key: str
    step: int
    time: int
    value: float


@dataclass(frozen=True, slots=True)
class Media:
    """Media logged together: names of files in ``folder`` below ``media``, or texts where that is empty."""

    key: str
    step: int
    time: int
    kind: str
    folder: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the console."""

    text: str
    time: int


Record = Facts | Ended | Scalar | Media | Line


def protobuf_record(data: bytes) -> Record | None:
    """What a record of the format's version 2 says; None for what is about charts, or files.

    Raises:
        WireError: it is damaged.
    """
    record = Fields(data)
    own = _time(record.inner(2))
    if START in record:
        start = record.inner(START)
        names = {1: "project", 2: "workspace", 4: "name", 5: "description", 7: "group", 8: "job_type", 10: "id"}
        fields: dict[str, Any] = {name: start.text(number) for number, name in names.items() if start.text(number)}
        fields["tags"] = [tag.decode("utf-8", "replace") for tag in start.contents(6)]
        return Facts(fields, _time(start.inner(12)) or own)
    if SCALAR in record:
        scalar = record.inner(SCALAR)
        return Scalar(scalar.text(1), scalar.integer(2), _time(scalar.inner(4)) or own, scalar.inner(5).double(1))
    if MEDIUM in record:
        media = record.inner(MEDIUM)
        kind = MEDIA.get(media.integer(3), "other")
        items = tuple(item.text(1) for item in media.inner(5).each(1))
        return Media(media.text(1), media.integer(2), _time(media.inner(4)) or own, kind, kind, items)
    if LOG in record:
        line = record.inner(LOG)
        return Line(line.text(1), _time(line.inner(3)) or own)
    if FINISH in record:
        end = record.inner(FINISH)
        return Ended(STATES.get(end.integer(1), "KILLED"), end.text(2), _time(end.inner(3)) or own)
    if COLUMN in record or SAVE in record:
        return None
    raise WireError("a record of a sort that is not known")


def _time(timestamp: Fields) -> int:
    seconds, rest = timestamp.integer(1), timestamp.integer(2)
    return seconds * 1_000_000_000 + rest if abs(seconds) < 9_000_000_000 and abs(rest) < 1_000_000_000 else 0


def json_record(data: bytes) -> Record | None:
    """What a record of the format's version 1 says; None for what is about charts, or files.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, RecursionError: it is damaged.
    """
    record = parse_json(data)
    sort, content = record["model_type"], record["data"]
    if sort == "Scalar":
        metric = content["metric"]
        number = number_of(metric["data"])
        if number is None:
            raise ValueError(f"{metric['data']!r:.60} is not a number")
        return Scalar(str(content["key"]), _step(content["step"]), ns_of(metric.get("create_time")), number)
    if sort == "Media":
        return _json_media(content)
    if sort == "Log":
        return Line(str(content["message"]), ns_of(content.get("create_time")))
    if sort == "Footer":
        return Ended("FINISHED" if content["success"] else "FAILED", "", ns_of(content.get("create_time")))
    if sort == "Header":
        return Facts({}, ns_of(content.get("create_time")))
    if sort == "Project":
        names = {"project": "name", "workspace": "workspace"}
        return Facts({name: str(content[field]) for name, field in names.items() if content.get(field)})
    if sort == "Experiment":
        fields = {name: str(content[name]) for name in ("id", "name", "description") if content.get(name)}
        return Facts({**fields, "tags": [str(tag) for tag in content.get("tags") or ()]})
    if sort in ("Column", "Runtime"):
        return None
    raise ValueError(f"a record of a sort that is not known: {sort!r:.40}")


def _json_media(content: dict[str, Any]) -> Media:
    metric, names = content["metric"], content.get("buffers_name")
    items = tuple(str(each) for each in (names or metric["data"]))
    kind = str(items[0]).partition("-step")[0] if names and items else "text"
    folder = str(int(content["kid"])) if names else ""
    return Media(str(content["key"]), _step(content["step"]), ns_of(metric.get("create_time")), kind, folder, items)


def _step(value: Any) -> int:
    if is_step(value):
        return value
    raise ValueError(f"{value!r:.60} is not a step")
