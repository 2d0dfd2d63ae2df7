"""Conditions on points, as pure functions: what they find in new points, given what was seen before."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mltrack.guards.conditions import Silence, Span, Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from mltrack.disk.segment import PointColumns

__all__ = ["Finding", "Seen", "advance", "overdue"]

FEW = 8
"""Of more metrics than these, those that are among the points are looked for first."""


class Finding(NamedTuple):
    """What a rule found: words, and the point that decided it, if one did, as metric, step and value.

    ``failed``: only that the rule can't be asked.
    """

    message: str
    point: tuple[str, int, float] | None = None
    failed: bool = False


class Streak(NamedTuple):
    """Since when a test holds for each point of a metric of one writer, and for how many points."""

    step: int
    time: int
    points: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What a condition has seen: by writer and metric since when its test holds.

    Of one about missing points: the time of the last point, in ns, and how many there were.
    """

    streaks: Mapping[tuple[str, str], Streak] = field(default_factory=dict)
    last_ns: int = 0
    count: int = 0


def advance(condition: Value | Silence, seen: Seen, writer: str, points: PointColumns) -> tuple[Seen, Finding | None]:
    """Go over more points of one writer, in the order of logging.

    Args:
        condition: The rule's condition.
        seen: What it has seen so far.
        writer: Whose points these are.
        points: The new points, at least one.

    Returns:
        What it has seen then, and what it found; after that it need not be asked again.
    """
    codes = [code for code, key in enumerate(points.keys) if condition.matches(key)]
    if not codes:
        return seen, None
    if isinstance(condition, Silence):
        mine = points.codes == codes[0] if len(codes) == 1 else np.isin(points.codes, codes)
        times = points.times[mine]
        if len(times):
            seen = replace(seen, last_ns=max(seen.last_ns, int(times.max())), count=seen.count + len(times))
        return seen, None
    if condition.span is None:
        return seen, _first(condition, codes, points)
    streaks = dict(seen.streaks)
    for code in codes if len(codes) <= FEW else np.intersect1d(codes, points.codes).tolist():
        at = np.flatnonzero(points.codes == code)
        if len(at):
            key = (writer, points.keys[code])
            streak, found = _continue(condition, condition.span, streaks.pop(key, None), points, at)
            if found is not None:
                return seen, found
            if streak is not None:
                streaks[key] = streak
    return replace(seen, streaks=streaks), None


def _first(condition: Value, codes: list[int], points: PointColumns) -> Finding | None:
    """The first point that passes the test."""
    with np.errstate(invalid="ignore"):
        passed = np.flatnonzero(condition.test(points.values))
    if not len(passed):
        return None
    passed = passed[np.isin(points.codes[passed], codes)]
    return _finding(condition, points, int(passed[0])) if len(passed) else None


def _continue(
    condition: Value, span: Span, streak: Streak | None, points: PointColumns, at: npt.NDArray[np.int64]
) -> tuple[Streak | None, Finding | None]:
    """Continue a streak with the points ``at`` these places, all of one metric."""
    steps, times = points.steps[at], points.times[at]
    with np.errstate(invalid="ignore"):
        holds = condition.test(points.values[at])
    numbers = np.arange(len(at))
    broken = np.maximum.accumulate(np.where(holds, -1, numbers))  # the last point before each that does not pass
    fresh = broken + 1
    inside = fresh < len(at)
    begin = np.where(inside, fresh, 0)
    first_steps, first_times, counts = steps[begin], times[begin], numbers - broken
    if streak is not None:
        carried = broken < 0
        first_steps = np.where(carried, streak.step, first_steps)
        first_times = np.where(carried, streak.time, first_times)
        counts = counts + np.where(carried, streak.points, 0)
    match span.unit:
        case "points":
            reached = counts >= span.amount
        case "steps":
            reached = np.abs(steps - first_steps) + 1 >= span.amount
        case _:
            reached = times - first_times >= span.amount * 1e9
    found = np.flatnonzero(holds & reached)
    if len(found):
        return None, _finding(condition, points, int(at[found[0]]))
    if not holds[-1]:
        return None, None
    return Streak(int(first_steps[-1]), int(first_times[-1]), int(counts[-1])), None


def _finding(condition: Value, points: PointColumns, at: int) -> Finding:
    metric, step, value = points.keys[points.codes[at]], int(points.steps[at]), float(points.values[at])
    shown = "NaN" if math.isnan(value) else f"{value:.6g}"
    found = f"{metric} is {shown}"
    why = "" if condition.text.lower() == found.lower() else f" ({condition.text})"
    return Finding(f"{found} at step {step}{why}", (metric, step, value))


def overdue(condition: Silence, seen: Seen, now_ns: int) -> Finding | None:
    """What a rule about missing points finds at a time; ``seen.last_ns`` is when waiting began, or the last point's."""
    silent_s = (now_ns - seen.last_ns) / 1e9
    if silent_s < condition.seconds:
        return None
    return Finding(f"no point for {_time(silent_s)} ({condition.text})")


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"
