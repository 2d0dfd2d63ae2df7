"""Views of traces: they follow each change as if they were made again."""

from __future__ import annotations

from operator import attrgetter

from hypothesis import given
from hypothesis import strategies as st

from mltrack.storage.traces.trace import Trace
from mltrack.storage.traces.views import VIEWS_MAX, SortKey, TraceField, TraceViews, in_order

KEYS = (
    SortKey("duration", False, attrgetter("duration")),
    SortKey("session", True, attrgetter("session")),
    SortKey("trace_id", True, attrgetter("trace_id")),
)
SESSION = TraceField("session", lambda trace: (trace.session,))
ONE = frozenset({"1"})

A_TRACE = st.builds(
    Trace,
    trace_id=st.sampled_from("abcdef"),
    experiment_id=st.sampled_from("12"),
    request_time=st.just(0),
    duration=st.none() | st.integers(0, 3),
    session=st.none() | st.sampled_from("xy"),
)


@given(st.lists(A_TRACE), st.data())
def test_a_view_after_changes_equals_a_new_view(changes: list[Trace], data: st.DataObject) -> None:
    views, traces = TraceViews(), dict[str, Trace]()
    for new in changes:
        views.in_order(ONE, KEYS, traces.values)
        views.in_order(None, KEYS, traces.values)
        views.having(SESSION, "x", traces.values)
        if data.draw(st.booleans(), label="is deleted"):
            views.replace(traces.pop(new.trace_id, None), None)
        else:
            views.replace(traces.get(new.trace_id), new)
            traces[new.trace_id] = new
        assert views.in_order(None, KEYS, list) == in_order(traces.values(), KEYS)
        assert views.in_order(ONE, KEYS, list) == in_order((t for t in traces.values() if t.experiment_id == "1"), KEYS)
        for session in ("x", None):
            found = views.having(SESSION, session, list)
            assert {t.trace_id for t in found} == {t.trace_id for t in traces.values() if t.session == session}
            assert all(trace is traces[trace.trace_id] for trace in found)


def test_traces_without_a_value_come_last_in_either_order() -> None:
    traces = [Trace("a", "1", 0), Trace("b", "1", 0, 5), Trace("c", "1", 0, 7)]
    for ascending, expected in ((True, "bca"), (False, "cba")):
        ordered = in_order(traces, (SortKey("duration", ascending, attrgetter("duration")),))
        assert "".join(trace.trace_id for trace in ordered) == expected


def test_only_the_views_used_last_are_kept() -> None:
    made: list[object] = []

    def every() -> list[Trace]:
        made.append(None)
        return []

    views = TraceViews()
    for number in range(VIEWS_MAX + 1):
        views.in_order(frozenset({str(number)}), KEYS, every)
    views.in_order(frozenset({str(VIEWS_MAX)}), KEYS, every)
    assert len(made) == VIEWS_MAX + 1
    views.in_order(frozenset({"0"}), KEYS, every)
    assert len(made) == VIEWS_MAX + 2
