"""What an export says of a run: attributes with one value, as name, times, status, tags and params."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from mltrack.environment import NOTE_TAG, PARENT_TAG

__all__ = ["TIME_MS_MAX", "VALUE_COLUMNS", "RunFacts"]

VALUE_COLUMNS = {
    "int": "int_value",
    "float": "float_value",
    "string": "string_value",
    "bool": "bool_value",
    "datetime": "datetime_value",
    "string_set": "string_set_value",
}
"""Where the value is of an attribute of each type."""

SYSTEM = "sys/"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIME_MS_MAX = 9_000_000_000_000
_NOT_TAGS = {"creation_time", "modification_time", "ping_time", "description", "owner", "trashed", "forking/parent"}


@dataclass(frozen=True, slots=True)
class Moment:
    """A time in ms since the epoch."""

    ms: int

    def __str__(self) -> str:
        """In ISO 8601; as a number where it is in no year that Python knows."""
        try:
            return (EPOCH + timedelta(milliseconds=self.ms)).isoformat()
        except OverflowError:
            return str(self.ms)


@dataclass(slots=True)
class RunFacts:
    """Collects them."""

    project: str = ""
    run_id: str = ""
    system: dict[str, Any] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)

    def take(self, path: str, kind: str, row: Mapping[str, Any]) -> None:
        """An attribute of a type in VALUE_COLUMNS."""
        value = row.get(VALUE_COLUMNS[kind])
        if value is None:
            return
        if kind == "datetime":
            value = Moment(value)
        if path.startswith(SYSTEM):
            self.system[path.removeprefix(SYSTEM)] = value
        else:
            self.params[path] = _text(value)

    @property
    def name(self) -> str:
        """What its author called it."""
        return str(self.system.get("custom_run_id") or self.system.get("name") or self.run_id)

    @property
    def status(self) -> str:
        """FAILED if Neptune says so; KILLED if it had not ended when it was exported, as it will not go on."""
        if self.system.get("failed"):
            return "FAILED"
        return "KILLED" if str(self.system.get("state")).lower() in ("active", "running") else "FINISHED"

    @property
    def start_time(self) -> int:
        """In ns since the epoch, 0 where it is not known."""
        return self._time("creation_time") or 0

    @property
    def end_time(self) -> int | None:
        """When it was last heard of, in ns since the epoch."""
        return self._time("ping_time") or self._time("modification_time")

    def _time(self, name: str) -> int | None:
        moment = self.system.get(name)
        if not isinstance(moment, Moment) or abs(moment.ms) >= TIME_MS_MAX:
            return None
        return moment.ms * 1_000_000

    def tags(self) -> dict[str, str]:
        """What Neptune says of it, as ``neptune.NAME``; the run that it was forked from as its parent."""
        found = {
            f"neptune.{name.replace('/', '.')}": _text(value)
            for name, value in self.system.items()
            if name not in _NOT_TAGS
        }
        if self.system.get("description"):
            found[NOTE_TAG] = str(self.system["description"])
        if self.system.get("forking/parent"):
            found[PARENT_TAG] = str(self.system["forking/parent"])
        return found


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)
