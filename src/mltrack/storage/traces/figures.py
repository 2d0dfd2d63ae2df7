"""Tokens and costs of a trace: read from what clients give, and summed over its spans for many consecutive facts."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from mltrack.storage.traces.trace import COST_KEYS, TOKEN_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mltrack.storage.traces.trace import SpanHead, Trace

__all__ = ["SpanSum", "cost_of", "finite", "json_object", "token_usage_of"]


class SpanSum:
    """One of a trace's sums over its spans; once no span has figures any more, the last sum is kept."""

    def __init__(self, field: str, of: str, keys: tuple[str, ...], zero: float, heads: Iterable[SpanHead]) -> None:
        """Sum an attribute of a trace's spans.

        Args:
            field: The trace's field for the sum.
            of: The attribute of its spans.
            keys: Keys that the sum always has.
            zero: The sum of none, 0 or 0.0.
            heads: The spans so far.
        """
        self.field = field
        self._figures = attrgetter(of)
        self._keys = keys
        self._zero = zero
        self._count = self._with_figures(heads)  # spans that have figures
        self._stale = False  # spans came since the sum was made

    def replacing(self, trace: Trace, spans: Mapping[str, SpanHead], new: Mapping[str, SpanHead]) -> Trace:
        """Call it before ``new`` spans are added: if no figures are left then, the trace gets the last sum."""
        old = [spans[span_id] for span_id in new if span_id in spans] if self._count else ()
        after = self._count + self._with_figures(new.values()) - self._with_figures(old)
        if not after and not trace.final:
            trace = self.summed(trace, spans)
        self._count, self._stale = after, True
        return trace

    def summed(self, trace: Trace, spans: Mapping[str, SpanHead]) -> Trace:
        """The trace with the sum over its spans, if any has figures and spans came since the last sum."""
        if not (self._count and self._stale):
            return trace
        figures = {span_id: self._figures(head) for span_id, head in spans.items()}
        self._stale = False
        total: dict[str, Any] = {self.field: _sum_of(figures, spans, self._keys, self._zero)}
        return replace(trace, **total)

    def _with_figures(self, heads: Iterable[SpanHead]) -> int:
        figures = list(map(self._figures, heads))
        return len(figures) - figures.count(None)


def _sum_of(
    figures: Mapping[str, Mapping[str, Any] | None], spans: Mapping[str, SpanHead], keys: tuple[str, ...], zero: float
) -> dict[str, Any]:
    """The sum over the topmost spans with figures: a parent's figures include those of all spans below it.

    Keys other than ``keys`` are summed where a span has them.
    """
    totals: dict[str, Any] = dict.fromkeys(keys, zero)
    covered: dict[str, bool] = {}
    for span_id, values in figures.items():
        if values is not None and not _is_covered(span_id, figures, spans, covered):
            for key, value in values.items():
                totals[key] = totals.get(key, zero) + value
    return totals


def _is_covered(
    span_id: str,
    figures: Mapping[str, Mapping[str, Any] | None],
    spans: Mapping[str, SpanHead],
    covered: dict[str, bool],
) -> bool:
    """Whether a span above this one has figures; the answers for spans on the way up are cached in ``covered``."""
    path: list[str] = []
    found = False
    at = span_id
    while at not in covered:
        path.append(at)
        covered[at] = False  # a circle ends here
        parent = spans[at].parent_id
        if parent is None or parent not in spans:
            break
        if figures[parent] is not None:
            found = True
            break
        at = parent
    else:
        found = covered[at]
    for each in path:
        covered[each] = found
    return found


# --- figures as they are given ---

_BIGINT_MAX = 2**63 - 1


def json_object(value: Any) -> dict[str, Any] | None:
    """``value`` as a JSON object, given as one or as text; None if it is neither."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, dict) else None


def token_usage_of(values: Mapping[str, Any], *, unusable: bool = False) -> dict[str, int | None]:
    """Counts of tokens by kind; those that are not whole numbers are omitted, or None with ``unusable``."""
    counts = {key: _whole(values[key]) for key in TOKEN_KEYS if key in values}
    return {key: count for key, count in counts.items() if unusable or count is not None}


def cost_of(values: Mapping[str, Any], *, unusable: bool = False) -> dict[str, float | None]:
    """Costs in USD by kind; those that are not finite numbers are omitted, or None with ``unusable``."""
    costs = {key: finite(values[key]) for key in COST_KEYS if key in values}
    return {key: cost for key, cost in costs.items() if unusable or cost is not None}


def _whole(value: Any) -> int | None:
    if value is None or isinstance(value, bool):
        return None
    try:
        number = Decimal(str(value))
    except (InvalidOperation, ValueError):
        return None
    if not number.is_finite() or number != number.to_integral_value() or abs(number) > _BIGINT_MAX:
        return None
    return int(number)


def finite(value: Any) -> float | None:
    """A number, given as one or as text; None where it is none, or not finite."""
    if value is None or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
