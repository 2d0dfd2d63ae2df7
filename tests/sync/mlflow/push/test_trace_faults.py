"""Traces and their faults, on a server in memory: each once and whole, refusals alone, what waits waits."""

from __future__ import annotations

import httpx
import pytest

import mltrack
from mltrack.store import Store
from mltrack_sync import PushReport, Remote, push
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.status import status_of
from tests.support.fake_mlflow import AnswerLost, FakeMlflow, Fields, Refused, failing_once
from tests.support.fake_traces import PLACE, FakeTrace
from tests.support.small_records import assess, record_trace, tag_trace


@pytest.fixture
def run_id(store: Store) -> str:
    with mltrack.start_run() as run:
        return run.run_id


@pytest.fixture
def home(store: Store, run_id: str) -> str:
    """The id of the experiment that traces are recorded into."""
    return store.run(run_id).info.experiment_id


def pushed(store: Store, remote: Remote, fake: FakeMlflow, *, retry_rejected: bool = False) -> PushReport:
    policy = RetryPolicy(sleep=lambda seconds: None)
    return push(store, remote, http=fake, policy=policy, jobs=1, retry_rejected=retry_rejected)


def assert_whole(fake: FakeMlflow, trace_id: str, number: int) -> FakeTrace:
    """The trace, after it was seen to hold all that was recorded."""
    trace = fake.traces.held[trace_id]
    (run_id,) = fake.runs
    assert trace.info["request_time"] == "2023-11-14T22:13:20.000Z"
    assert (trace.info["execution_duration"], trace.info["state"]) == ("0.007s", "OK")
    assert {key: text for key, text in trace.tags.items() if key != PLACE} == {"kind": "a"}
    assert trace.metadata["m"] == "1"
    assert sorted(span["name"] for span in trace.spans.values()) == ["step 1", "step 2"]
    assert list(trace.assessments) == [f"a-{number}"]
    assert trace.assessments[f"a-{number}"]["feedback"] == {"value": 0.5}
    assert trace.runs == {run_id}
    return trace


def test_traces_arrive_whole_in_one_batch_and_follow_changes(
    store: Store, there: Remote, fake: FakeMlflow, home: str, run_id: str
) -> None:
    traces = [record_trace(store, home, number, run_id) for number in (1, 2, 3)]
    report = pushed(store, there, fake)
    assert (report.complete, report.traces) == (True, 3)
    for number, trace_id in enumerate(traces, 1):
        assert_whole(fake, trace_id, number)
    calls = [call for call, _ in fake.calls]
    assert (calls.count("v1/traces"), calls.count("traces/link-to-run")) == (1, 1)
    assert pushed(store, there, fake).requests == 0
    tag_trace(store, home, traces[0], "late", "1")
    tag_trace(store, home, traces[0], "kind", None)
    assess(store, home, traces[0], "a-late", overrides="a-1", value="0.25")
    assert pushed(store, there, fake).traces == 1
    first = fake.traces.held[traces[0]]
    assert {key: text for key, text in first.tags.items() if key != PLACE} == {"late": "1"}
    assert [(each["assessment_id"], each["valid"]) for each in first.assessments.values()] == [
        ("a-1", False),
        ("a-late", True),
    ]
    assert pushed(store, there, fake).requests == 0


@pytest.mark.parametrize("call", ["v1/traces", "POST traces", "traces/link-to-run"])
@pytest.mark.parametrize(
    "error",
    [
        AnswerLost(),
        httpx.ConnectTimeout("no answer"),
        Refused("busy", "TEMPORARILY_UNAVAILABLE", 503),
        Refused("slow down", "REQUEST_LIMIT_EXCEEDED", 429),
    ],
    ids=["answer lost", "no connection", "503", "429"],
)
def test_unanswered_and_deferred_requests_are_sent_again(
    store: Store, there: Remote, fake: FakeMlflow, home: str, run_id: str, call: str, error: Exception
) -> None:
    trace_id = record_trace(store, home, 1, run_id)
    fake.fault = failing_once(call, error)
    assert pushed(store, there, fake).complete
    assert [asked for asked, _ in fake.calls].count(call) > 1
    assert_whole(fake, trace_id, 1)
    assert pushed(store, there, fake).requests == 0


def test_an_assessment_created_although_the_answer_was_lost_is_not_created_again(
    store: Store, there: Remote, fake: FakeMlflow, home: str, run_id: str
) -> None:
    trace_id = record_trace(store, home, 1, run_id)
    assess(store, home, trace_id, "a-over", overrides="a-1")
    fake.fault = failing_once("POST traces/assessments", AnswerLost())
    assert pushed(store, there, fake).complete
    assert [call for call, _ in fake.calls].count("POST traces/assessments") == 1
    assert set(fake.traces.held[trace_id].assessments) == {"a-1", "a-over"}


def test_a_refused_trace_holds_no_other_back_and_is_retried_on_request(
    store: Store, there: Remote, fake: FakeMlflow, home: str, run_id: str
) -> None:
    bad, good = (record_trace(store, home, number, run_id) for number in (1, 2))

    def fault(call: str, fields: Fields) -> None:
        if call == "POST traces" and fields["trace"]["trace_info"]["trace_id"] == bad:
            raise Refused("not this one")

    fake.fault = fault
    report = pushed(store, there, fake)
    assert [(item.kind, item.key, item.reason) for item in report.rejected] == [("trace", bad, "not this one")]
    assert report.traces == 1
    assert_whole(fake, good, 2)
    assert pushed(store, there, fake).requests == 0
    fake.fault = lambda call, fields: None
    assert pushed(store, there, fake, retry_rejected=True).rejected == ()
    assert_whole(fake, bad, 1)


def test_spans_that_are_refused_together_are_sent_one_by_one(
    store: Store, there: Remote, fake: FakeMlflow, home: str, run_id: str
) -> None:
    bad, good = (record_trace(store, home, number, run_id) for number in (1, 2))

    def fault(call: str, fields: Fields) -> None:
        if call == "v1/traces" and bytes.fromhex(bad.removeprefix("tr-")) in fields["body"]:
            raise Refused("no such spans")

    fake.fault = fault
    report = pushed(store, there, fake)
    assert [(item.kind, item.key, item.reason) for item in report.rejected] == [("trace", bad, "no such spans")]
    assert_whole(fake, good, 2)
    assert bad not in fake.traces.held


def test_a_tag_that_is_refused_is_rejected_alone(
    store: Store, there: Remote, fake: FakeMlflow, home: str, run_id: str
) -> None:
    trace_id = record_trace(store, home, 1, run_id)
    tag_trace(store, home, trace_id, "odd", "1")

    def fault(call: str, fields: Fields) -> None:
        info = fields.get("trace", {}).get("trace_info", {})
        if "odd" in info.get("tags", {}) or fields.get("key") == "odd":
            raise Refused("no odd tags")

    fake.fault = fault
    report = pushed(store, there, fake)
    assert [(item.kind, item.key, item.reason) for item in report.rejected] == [
        ("trace tag", f"{trace_id}/odd", "no odd tags")
    ]
    assert_whole(fake, trace_id, 1)
    assert pushed(store, there, fake).requests == 0


def test_a_server_that_keeps_failing_ends_the_push_and_the_next_push_continues(
    store: Store, there: Remote, fake: FakeMlflow, home: str, run_id: str
) -> None:
    traces = [record_trace(store, home, number, run_id) for number in range(1, 6)]

    def fault(call: str, fields: Fields) -> None:
        if call == "POST traces":
            raise Refused("out of order", "INTERNAL_ERROR", 500)

    fake.fault = fault
    with pytest.raises(RemoteUnavailableError):
        pushed(store, there, fake)
    fake.fault = lambda call, fields: None
    assert pushed(store, there, fake).complete
    for number, trace_id in enumerate(traces, 1):
        assert_whole(fake, trace_id, number)


def test_a_server_without_traces_is_asked_once_and_everything_else_arrives(
    store: Store, there: Remote, fake: FakeMlflow, home: str, run_id: str
) -> None:
    for number in (1, 2, 3):
        record_trace(store, home, number, run_id)

    def fault(call: str, fields: Fields) -> None:
        if "traces" in call:
            raise Refused("Not Found", "ENDPOINT_NOT_FOUND", 404)

    fake.fault = fault
    report = pushed(store, there, fake)
    assert len(report.lacking) == 1 and "trace" in report.lacking[0]
    assert (report.runs, report.traces, report.rejected) == (1, 0, ())
    assert sum("traces" in call for call, _ in fake.calls) == 1
    assert status_of(store, there).pending_traces == 3
    fake.fault = lambda call, fields: None
    assert pushed(store, there, fake).traces == 3
    assert pushed(store, there, fake).requests == 0
