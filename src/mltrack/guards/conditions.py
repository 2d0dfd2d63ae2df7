"""The language of rules: ``loss is NaN``, ``loss > 10 for 100 steps``, ``no point for 10 min``, or a SQL query."""

from __future__ import annotations

import fnmatch
import math
import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from mltrack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ANY", "SYSTEM", "Condition", "Query", "Silence", "Span", "Value", "parse_condition"]

ANY = "*"
"""The pattern of any metric but those of the machine's load."""

SYSTEM = "system/"
"""How the names of the machine's load begin."""

EXAMPLES = "write for example: loss is NaN; loss > 10 for 100 steps; no point for 10 min; or a SELECT"

_UNITS = {
    "ms": 0.001,
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86_400.0),
}
_COUNTED = {"step": "steps", "steps": "steps", "point": "points", "points": "points"}
_COMPARISONS: dict[str, Callable[[Any, float], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    "==": operator.eq,
    "=": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}

_METRIC = r"(?P<metric>`[^`]+`|\"[^\"]+\"|any\s+metric|[^\s`\"<>=!]+)"
_SPAN = r"(?:\s+for\s+(?P<amount>[0-9][0-9_,]*(?:\.[0-9]+)?)\s*(?P<unit>[A-Za-z]+))?"
_STATE = re.compile(rf"{_METRIC}\s+is\s+(?P<state>not\s+finite|nan|inf|infinite|finite){_SPAN}", re.IGNORECASE)
_COMPARED = re.compile(rf"{_METRIC}\s*(?P<sign>>=|<=|!=|==|=|>|<)\s*(?P<bound>\S+?){_SPAN}", re.IGNORECASE)
_SILENT = re.compile(rf"no\s+points?(?:\s+of\s+{_METRIC})?{_SPAN}", re.IGNORECASE)
_SQL = re.compile(r"\s*(SELECT|WITH|FROM)\b", re.IGNORECASE)


class Span(NamedTuple):
    """For how long something must hold: an amount of "steps", "points" or seconds ("s")."""

    amount: float
    unit: str


@dataclass(frozen=True, slots=True)
class Value:
    """A test of a metric's values. ``test`` takes an array of them; ``pattern`` may name several metrics."""

    text: str
    pattern: str
    test: Callable[[Any], Any]
    span: Span | None = None

    def matches(self, metric: str) -> bool:
        """Whether it is about that metric."""
        return matches(self.pattern, metric)


@dataclass(frozen=True, slots=True)
class Silence:
    """That no point was logged for some seconds, of some metrics or of any."""

    text: str
    pattern: str
    seconds: float

    def matches(self, metric: str) -> bool:
        """Whether it is about that metric."""
        return matches(self.pattern, metric)


@dataclass(frozen=True, slots=True)
class Query:
    """A SQL query that finds something if it gives a row; ``$run_id`` in it is the run's id."""

    text: str


Condition = Value | Silence | Query


def matches(pattern: str, metric: str) -> bool:
    """Whether a metric is one that a pattern names; ``*`` alone leaves out the machine's load."""
    if pattern == ANY:
        return not metric.startswith(SYSTEM)
    return metric == pattern or ("*" in pattern and fnmatch.fnmatchcase(metric, pattern.replace("[", "[[]")))


def parse_condition(text: str) -> Condition:
    """The condition that a text states.

    Raises:
        UsageError: it states none; the message says which part is not understood.
    """
    words = text.strip()
    if not words:
        raise UsageError("a rule without a condition", hint=EXAMPLES)
    if _SQL.match(words):
        return Query(words)
    found = _SILENT.fullmatch(words)
    if found is not None:
        span = _span(words, found)
        if span is None or span.unit != "s":
            raise UsageError(f"rule {words!r} does not say for how long", hint="write: no point for 10 min")
        return Silence(words, _pattern(found["metric"]), span.amount)
    found = _STATE.fullmatch(words)
    if found is not None:
        return Value(
            words, _pattern(found["metric"]), _STATES[" ".join(found["state"].lower().split())], _span(words, found)
        )
    found = _COMPARED.fullmatch(words)
    if found is not None:
        return Value(words, _pattern(found["metric"]), _comparison(words, found), _span(words, found))
    raise UsageError(f"rule {words!r} is not understood", hint=EXAMPLES)


def _pattern(metric: str | None) -> str:
    """What a metric's name in a rule stands for; quotes make it a name and nothing else."""
    if metric is None or metric.lower() in ("metric", "any") or " ".join(metric.lower().split()) == "any metric":
        return ANY
    return metric[1:-1] if metric[0] in '`"' else metric.removeprefix("metrics.")


def _comparison(words: str, found: re.Match[str]) -> Callable[[Any], Any]:
    if found["bound"].lower() in ("nan", "+nan", "-nan"):
        raise UsageError(f"rule {words!r} compares with NaN, which nothing equals", hint="write: loss is NaN")
    try:
        bound = float(found["bound"].replace("_", ""))
    except ValueError:
        raise UsageError(f"rule {words!r}: {found['bound']!r} is not a number", hint=EXAMPLES) from None
    compare = _COMPARISONS[found["sign"]]
    return lambda values: compare(values, bound)


def _span(words: str, found: re.Match[str]) -> Span | None:
    if found["amount"] is None:
        return None
    amount, unit = float(found["amount"].replace(",", "").replace("_", "")), found["unit"].lower()
    if unit not in _UNITS and unit not in _COUNTED:
        known = "steps, points, ms, s, min, h or d"
        raise UsageError(f"rule {words!r}: {found['unit']!r} is not a unit", hint=f"use {known}")
    if not amount or (unit in _COUNTED and amount != int(amount)):
        raise UsageError(
            f"rule {words!r}: for {found['amount']} {unit}: how long?",
            hint="give a positive number, whole for steps and points",
        )
    return Span(amount, _COUNTED[unit]) if unit in _COUNTED else Span(amount * _UNITS[unit], "s")


def _is_nan(values: Any) -> Any:
    return values != values


def _is_infinite(values: Any) -> Any:
    return abs(values) == math.inf


def _is_not_finite(values: Any) -> Any:
    return ~(abs(values) < math.inf)


def _is_finite(values: Any) -> Any:
    return abs(values) < math.inf


_STATES = {
    "nan": _is_nan,
    "inf": _is_infinite,
    "infinite": _is_infinite,
    "not finite": _is_not_finite,
    "finite": _is_finite,
}
