"""Times as all commands show them: on a screen local with their offset from UTC, else as ISO 8601 in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

from mltrack.text.figures import TIME_MS_MAX, TIME_MS_MIN, utc_ns
from mltrack.text.printing import is_terminal

__all__ = ["moment", "point_time"]


def moment(ms: int) -> str:
    """A point in time, to the second; one that no calendar has, in ms since the epoch."""
    if not TIME_MS_MIN <= ms <= TIME_MS_MAX:
        return f"{ms} ms"
    if is_terminal():
        return datetime.fromtimestamp(ms / 1000, UTC).astimezone().isoformat(" ", "seconds")
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def point_time(time_ns: int) -> str:
    """The time of a point or an event: on a screen to the millisecond, else exact."""
    if is_terminal():
        return datetime.fromtimestamp(time_ns // 1_000_000 / 1000, UTC).astimezone().isoformat(" ", "milliseconds")
    return utc_ns(time_ns)
