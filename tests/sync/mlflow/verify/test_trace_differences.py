"""Traces compared with a server in memory: each difference is named alone."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

import mltrack
from mltrack.store import Store
from mltrack_sync import Remote, push
from mltrack_sync.engine.verify import VerifyReport, verify
from mltrack_sync.http.retry import RetryPolicy
from tests.support.fake_mlflow import FakeMlflow, Fields, Refused, busy_twice, unsupported
from tests.support.fake_traces import FakeTrace
from tests.support.small_records import assess, record_trace, tag_trace

POLICY = RetryPolicy(sleep=lambda seconds: None)
WAITS = "(waits to be pushed)"


@pytest.fixture
def home(store: Store) -> str:
    """The id of the experiment that traces are recorded into."""
    with mltrack.start_run() as run:
        pass
    return store.run(run.run_id).info.experiment_id


@pytest.fixture
def trace_id(store: Store, there: Remote, fake: FakeMlflow, home: str) -> str:
    """A trace that was pushed."""
    made = record_trace(store, home, 1, store.run_ids()[0])
    push(store, there, http=fake, policy=POLICY)
    return made


def compared(store: Store, remote: Remote, fake: FakeMlflow, *, quick: bool = False) -> VerifyReport:
    return verify(store, remote, http=fake, policy=POLICY, quick=quick)


@pytest.mark.parametrize("quick", [False, True])
def test_a_trace_that_was_pushed_is_the_same(
    quick: bool, store: Store, there: Remote, fake: FakeMlflow, trace_id: str
) -> None:
    report = compared(store, there, fake, quick=quick)
    assert (report.differences, report.lacking) == ((), ())
    assert (report.traces, report.assessments, report.spans) == (1, 1, 0 if quick else 2)


@pytest.mark.parametrize("quick", [False, True])
def test_a_pending_trace_is_reported_as_pending(
    quick: bool, store: Store, there: Remote, fake: FakeMlflow, home: str, trace_id: str
) -> None:
    tag_trace(store, home, trace_id, "late", "1")
    tag_trace(store, home, trace_id, "kind", None)
    other = record_trace(store, home, 2)
    found = [(d.subject, d.thing, d.here, d.there) for d in compared(store, there, fake, quick=quick).differences]
    assert sorted(found) == sorted(
        [
            (f"trace {trace_id}", "tag 'kind'", "nothing", f"'a' {WAITS}"),
            (f"trace {trace_id}", "tag 'late'", "'1'", f"nothing {WAITS}"),
            (f"trace {other}", "trace", "present", f"nothing {WAITS}"),
        ]
    )


def set_state(trace: FakeTrace) -> None:
    trace.info["state"] = "ERROR"


def set_time(trace: FakeTrace) -> None:
    trace.info["request_time"] = "2023-11-14T22:13:21Z"


def set_duration(trace: FakeTrace) -> None:
    trace.info["execution_duration"] = "1.007s"


def set_preview(trace: FakeTrace) -> None:
    trace.info["request_preview"] = "other words"


def set_tag(trace: FakeTrace) -> None:
    trace.tags["kind"] = "b"


def set_metadata(trace: FakeTrace) -> None:
    trace.metadata["m"] = "2"


def lose_assessment(trace: FakeTrace) -> None:
    trace.assessments.clear()


def set_feedback(trace: FakeTrace) -> None:
    trace.assessments["a-1"]["feedback"] = {"value": 0.75}


def lose_span(trace: FakeTrace) -> None:
    del trace.spans[f"{2:016x}"]


def rename_span(trace: FakeTrace) -> None:
    trace.spans[f"{2:016x}"]["name"] = "other"


def set_attribute(trace: FakeTrace) -> None:
    trace.spans[f"{2:016x}"]["attributes"] = [{"key": "n", "value": {"int_value": "3"}}]


OF_INFO = [
    (set_state, "state"),
    (set_time, "time"),
    (set_duration, "duration in ms"),
    (set_preview, "request preview"),
    (set_tag, "tag 'kind'"),
    (set_metadata, "metadata 'm'"),
    (lose_assessment, "assessment 'good' (a-1)"),
    (set_feedback, "assessment 'good' (a-1): value"),
]
OF_SPANS = [
    (rename_span, "span 'step 2' (0000000000000002): name"),
    (set_attribute, "span 'step 2' (0000000000000002): attribute 'n'"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "thing", "quick"),
    [*((*each, quick) for each in OF_INFO for quick in (False, True)), *((*each, False) for each in OF_SPANS)],
)
def test_only_what_was_changed_on_the_remote_is_named(
    store: Store,
    there: Remote,
    fake: FakeMlflow,
    trace_id: str,
    change: Callable[[FakeTrace], None],
    thing: str,
    quick: bool,
) -> None:
    change(fake.traces.held[trace_id])
    report = compared(store, there, fake, quick=quick)
    assert [(each.subject, each.thing) for each in report.differences] == [(f"trace {trace_id}", thing)]


def test_what_a_deleted_run_assessed_is_not_missed(
    store: Store, there: Remote, fake: FakeMlflow, home: str, trace_id: str
) -> None:
    with mltrack.start_run() as evaluation:
        pass
    made_by = json.dumps({"mlflow.assessment.sourceRunId": evaluation.run_id})
    assess(store, home, trace_id, "a-2", metadata=made_by)
    push(store, there, http=fake, policy=POLICY)
    on_server = fake.traces.held[trace_id].assessments
    assert on_server.keys() == {"a-1", "a-2"}
    store.delete_run(evaluation.run_id)
    push(store, there, http=fake, policy=POLICY)
    del on_server["a-2"]  # as MLflow does it with the run
    tag_trace(store, home, trace_id, "late", "1")
    push(store, there, http=fake, policy=POLICY)
    assert fake.traces.held[trace_id].assessments.keys() == {"a-1"}
    assert compared(store, there, fake).differences == ()
    store.restore_run(evaluation.run_id)
    push(store, there, http=fake, policy=POLICY)
    assert [each.thing for each in compared(store, there, fake).differences] == ["assessment 'good' (a-2)"]


def test_a_span_that_is_missing_is_named_and_counted(
    store: Store, there: Remote, fake: FakeMlflow, trace_id: str
) -> None:
    lose_span(fake.traces.held[trace_id])
    found = [(each.thing, each.here, each.there) for each in compared(store, there, fake).differences]
    assert found == [("number of spans", "2", "1"), ("span 'step 2' (0000000000000002)", "present", "nothing")]


@pytest.mark.parametrize("quick", [False, True])
def test_an_older_server_without_a_call_is_asked_by_another_call(
    quick: bool, store: Store, there: Remote, fake: FakeMlflow, trace_id: str
) -> None:
    def fault(call: str, fields: Fields) -> None:
        if call in ("GET traces/get", "POST traces/batchGetInfos"):
            raise Refused("Not Found", "ENDPOINT_NOT_FOUND", 404)

    fake.fault = fault
    fake.calls.clear()
    assert compared(store, there, fake, quick=quick).same
    assert [call for call, _ in fake.calls].count("GET traces") == 1


def test_a_server_without_traces_is_reported_as_such(
    store: Store, there: Remote, fake: FakeMlflow, trace_id: str
) -> None:
    fake.fault = unsupported("traces")
    report = compared(store, there, fake)
    assert report.differences == ()
    assert len(report.lacking) == 1 and "trace" in report.lacking[0]
    assert report.runs == 1


def test_a_busy_server_is_asked_again(store: Store, there: Remote, fake: FakeMlflow, trace_id: str) -> None:
    asked, fake.fault = busy_twice("GET traces/get")
    assert compared(store, there, fake).same
    assert len(asked) == 3
