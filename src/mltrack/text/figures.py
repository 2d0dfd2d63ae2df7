"""Numbers, sizes and durations in few characters, for people; times as text."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

__all__ = [
    "TIME_MS_MAX",
    "TIME_MS_MIN",
    "ago",
    "count",
    "duration",
    "number",
    "percentage",
    "plain_number",
    "size",
    "spread_text",
    "utc_ms",
    "utc_ns",
    "with_times",
]

DAY_MS = 86_400_000
TIME_MS_MIN, TIME_MS_MAX = (-62_135_596_800_000 + DAY_MS, 253_402_300_799_000 - DAY_MS)
"""The times that a calendar has in each time zone: the years 1 to 9999."""


def number(value: float) -> str:
    """A value in about nine characters at most."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == int(value) and abs(value) < 1e9:
        return str(int(value))
    return f"{value:.5g}" if 1e-4 <= abs(value) < 1e6 else f"{value:.4g}"


def plain_number(value: float) -> str:
    """A value for a pipe, in six digits; JSON has all of them."""
    return str(int(value)) if math.isfinite(value) and value == int(value) and abs(value) < 1e15 else f"{value:.6g}"


def count(value: int) -> str:
    """With commas: 100,000."""
    return f"{value:,}"


def size(size_bytes: float) -> str:
    """In bytes, kB, MB, GB (powers of 1,000)."""
    if size_bytes < 1000:
        return f"{size_bytes:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        size_bytes /= 1000
        if size_bytes < 999.5 or unit == "TB":
            break
    return f"{size_bytes:.3g} {unit}"


def duration(ms: float | None) -> str:
    """For example 0.4s, 12s, 3m 05s, 2h 10m, 3d 4h; nothing for None."""
    if ms is None:
        return ""
    seconds = max(ms, 0) / 1000
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600}h"


def ago(then_ms: int, now_ms: int) -> str:
    """The time since then, in one unit."""
    seconds = (now_ms - then_ms) // 1000
    if seconds < 5:
        return "just now" if seconds > -5 else "in the future"
    for name, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= length:
            return f"{seconds // length} {name} ago"
    return "just now"


def utc_ms(time_ms: int) -> str:
    """A time as ISO 8601 in UTC, with milliseconds: for JSON; one that no calendar has, in ms since the epoch."""
    if not TIME_MS_MIN <= time_ms <= TIME_MS_MAX:
        return f"{time_ms} ms"
    return f"{_utc_second(time_ms // 1000)}.{time_ms % 1000:03}Z"


def utc_ns(time_ns: int) -> str:
    """A time as ISO 8601 in UTC, with nanoseconds: for pipes and JSON, where a point's time must stay exact."""
    return f"{_utc_second(time_ns // 1_000_000_000)}.{time_ns % 1_000_000_000:09}Z"


def _utc_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def with_times(facts: Mapping[str, Any], *, ms: Collection[str] = (), ns: Collection[str] = ()) -> dict[str, Any]:
    """The facts for JSON: the named times, in ms or in ns since the epoch, as ISO 8601; None where one is not set."""
    shown = dict(facts)
    for names, as_text in ((ms, utc_ms), (ns, utc_ns)):
        for name in names:
            shown[name] = as_text(shown[name]) if shown[name] else None
    return shown


def percentage(value: float) -> str:
    """A change in percent, with its sign: +12.5, -0.04; as few digits as say something."""
    if abs(value) >= 1e5:
        return f"{value:+.3g}"
    return f"{value:+.1f}" if not value or abs(value) >= 0.05 else f"{value:+.1g}"


def spread_text(mean: float, deviation: float | None, shown: Callable[[float], str] = number) -> str:
    """A mean with its deviation, to two digits of the deviation: ``0.123 ± 0.012``; alone where there is none."""
    if deviation is None:
        return shown(mean)
    if not math.isfinite(mean) or not math.isfinite(deviation) or not 1e-6 < deviation < 1e6:
        return f"{shown(mean)} ± {shown(deviation)}"
    decimals = max(0, 1 - math.floor(math.log10(deviation)))
    return f"{mean:.{decimals}f} ± {deviation:.{decimals}f}"
