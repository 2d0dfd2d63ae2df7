"""Numbers, sizes and durations in few characters, for people."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ago", "clock_time", "count", "duration", "number", "plain_number", "size", "spread_text"]


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


def duration(ms: float) -> str:
    """For example 0.4s, 12s, 3m 05s, 2h 10m, 3d 4h."""
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


def clock_time(time_ns: int) -> str:
    """The local time of day with milliseconds."""
    return datetime.fromtimestamp(time_ns / 1e9).strftime("%H:%M:%S.%f")[:-3]


def spread_text(mean: float, deviation: float | None, shown: Callable[[float], str] = number) -> str:
    """A mean with its deviation, to two digits of the deviation: ``0.123 ± 0.012``; alone where there is none."""
    if deviation is None:
        return shown(mean)
    if not math.isfinite(mean) or not math.isfinite(deviation) or not 1e-6 < deviation < 1e6:
        return f"{shown(mean)} ± {shown(deviation)}"
    decimals = max(0, 1 - math.floor(math.log10(deviation)))
    return f"{mean:.{decimals}f} ± {deviation:.{decimals}f}"
