"""Tokens and costs of a trace: sums over its spans, made once for many spans that come one after the other."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mltrack.storage.traces.trace import SpanHead, Trace

__all__ = ["SpanSum"]


class SpanSum:
    """One of a trace's sums over its spans; the last one that could be made stands when no span tells figures."""

    def __init__(self, field: str, of: str, keys: tuple[str, ...], zero: float, heads: Iterable[SpanHead]) -> None:
        """The trace's ``field`` is the sum over what its spans (``heads`` so far) have as ``of``."""
        self.field = field
        self._figures = attrgetter(of)
        self._keys = keys
        self._zero = zero
        self._tell = self._count(heads)  # so many spans tell figures
        self._waits = False  # spans came since the sum was made

    def replacing(self, trace: Trace, spans: Mapping[str, SpanHead], new: Mapping[str, SpanHead]) -> Trace:
        """To be called before ``new`` spans come to those there are; the trace has the sum where it is the last."""
        old = [spans[span_id] for span_id in new if span_id in spans] if self._tell else ()
        after = self._tell + self._count(new.values()) - self._count(old)
        if not after and not trace.final:
            trace = self.summed(trace, spans)
        self._tell, self._waits = after, True
        return trace

    def summed(self, trace: Trace, spans: Mapping[str, SpanHead]) -> Trace:
        """The trace with the sum over its spans, if any tells figures and some came since it was made."""
        if not (self._tell and self._waits):
            return trace
        told = {span_id: self._figures(head) for span_id, head in spans.items()}
        self._waits = False
        total: dict[str, Any] = {self.field: _sum_of(told, spans, self._keys, self._zero)}
        return replace(trace, **total)

    def _count(self, heads: Iterable[SpanHead]) -> int:
        told = list(map(self._figures, heads))
        return len(told) - told.count(None)


def _sum_of(
    told: Mapping[str, Mapping[str, Any] | None], spans: Mapping[str, SpanHead], keys: tuple[str, ...], zero: float
) -> dict[str, Any]:
    """The sum over spans that tell something and have none above them that does: a parent's figures hold for all below.

    Further keys than ``keys`` are summed where a span has them.
    """
    totals: dict[str, Any] = dict.fromkeys(keys, zero)
    covered: dict[str, bool] = {}
    for span_id, values in told.items():
        if values is not None and not _is_covered(span_id, told, spans, covered):
            for key, value in values.items():
                totals[key] = totals.get(key, zero) + value
    return totals


def _is_covered(
    span_id: str,
    told: Mapping[str, Mapping[str, Any] | None],
    spans: Mapping[str, SpanHead],
    covered: dict[str, bool],
) -> bool:
    """Whether a span above this one tells figures; what is found on the way up is remembered in ``covered``."""
    path: list[str] = []
    found = False
    at = span_id
    while at not in covered:
        path.append(at)
        covered[at] = False  # a circle ends here
        parent = spans[at].parent_id
        if parent is None or parent not in spans:
            break
        if told[parent] is not None:
            found = True
            break
        at = parent
    else:
        found = covered[at]
    for each in path:
        covered[each] = found
    return found
