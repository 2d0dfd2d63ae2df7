"""Views of traces: they follow each change as if they were made again."""

from __future__ import annotations

from functools import partial
from operator import attrgetter

from hypothesis import given
from hypothesis import strategies as st

from mltrack.storage.traces.trace import Trace
from mltrack.storage.traces.views import FEW_MAX, VALUES_MAX, VIEWS_MAX, SortKey, TraceField, TraceViews, in_order

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


def having(traces: dict[str, Trace], session: str | None) -> list[Trace]:
    return [trace for trace in traces.values() if trace.session == session]


@given(st.lists(A_TRACE), st.data())
def test_a_view_after_changes_equals_a_new_view(changes: list[Trace], data: st.DataObject) -> None:
    views, traces = TraceViews(), dict[str, Trace]()
    for new in changes:
        views.in_order(ONE, KEYS, traces.values)
        views.in_order(None, KEYS, traces.values)
        views.having(SESSION, "x", traces.values, lambda: having(traces, "x"))
        if data.draw(st.booleans(), label="is deleted"):
            views.replace(traces.pop(new.trace_id, None), None)
        else:
            views.replace(traces.get(new.trace_id), new)
            traces[new.trace_id] = new
        assert list(views.in_order(None, KEYS, list)) == in_order(traces.values(), KEYS)
        of_one = in_order((t for t in traces.values() if t.experiment_id == "1"), KEYS)
        assert list(views.in_order(ONE, KEYS, list)) == of_one
        for session in ("x", None):
            found = views.having(SESSION, session, list, lambda: having(traces, None))
            assert found is not None
            assert {t.trace_id for t in found} == {t.trace_id for t in having(traces, session)}
            assert all(trace is traces[trace.trace_id] for trace in found)


def test_a_view_of_all_values_is_made_after_many_of_them() -> None:
    views, traces = TraceViews(), [Trace(f"{number}", "1", 0, session=f"s-{number}") for number in range(20)]
    made: list[object] = []

    def every() -> list[Trace]:
        made.append(None)
        return traces

    for number, trace in enumerate(traces):
        assert views.having(SESSION, f"s-{number}", every, partial(list, [trace])) == [trace]
        assert len(made) == (1 if number >= VALUES_MAX else 0)


def test_many_traces_with_a_value_are_not_listed() -> None:
    views, traces = TraceViews(), [Trace(f"{number}", "1", 0, session="s") for number in range(FEW_MAX + 1)]
    assert views.having(SESSION, "s", list, lambda: traces) is None
    assert views.having(SESSION, "other", list, lambda: None) is None
    assert views.having(SESSION, "s", list, list) is None


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
