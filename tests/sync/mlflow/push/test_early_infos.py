"""Infos of new traces go before their spans, on a server in memory; in the end each trace is as if they came after."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import httpx
import pytest

import mltrack
from mltrack.storage.traces.trace import SpanHead, SpanPlace, Trace
from mltrack.store import Store
from mltrack_sync import PushReport, Remote, Remotes, push
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.http.retry import RetryPolicy
from mltrack_sync.mlflow.push.early_infos import TRACES_MIN, may_come_first
from tests.support.fake_mlflow import FakeMlflow, Fields, Refused
from tests.support.small_records import record_trace, tag_trace

INFO, SPANS, READ, END = "POST traces", "v1/traces", "POST traces/batchGetInfos", "PATCH traces/end"
PLACE = SpanPlace("1", "w", 0, 10)
HEAD = SpanHead("s", None, "n", None, "OK", 1, 2, {"total_tokens": 3}, None, None, None, PLACE, 0)
BASIC = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
ENDED = Trace("tr-1", "1", 1, 7, "OK", final=True, spans={"s": HEAD})


@pytest.fixture
def home(store: Store) -> str:
    """The id of the experiment that traces are recorded into."""
    with mltrack.start_run() as run:
        return store.run(run.run_id).info.experiment_id


@pytest.fixture
def traces(store: Store, home: str) -> list[str]:
    """As many new traces as go together; the spans of every second one take longer than it."""
    return [record_trace(store, home, number, spans_ms=7 + number % 2) for number in range(1, TRACES_MIN + 1)]


def pushed(store: Store, remote: Remote, fake: FakeMlflow, **options: Any) -> PushReport:
    return push(store, remote, http=fake, policy=RetryPolicy(sleep=lambda seconds: None), **options)


def order_of(fake: FakeMlflow) -> list[str]:
    """The calls on traces, each once for those in a row."""
    calls = [call for call, _ in fake.calls if "traces" in call]
    return [call for number, call in enumerate(calls) if number == 0 or calls[number - 1] != call]


def assert_whole(fake: FakeMlflow, traces: list[str]) -> None:
    """Each is there with all that was recorded, as if its info had come last."""
    assert sorted(fake.traces.held) == sorted(traces)
    for trace_id in traces:
        trace = fake.traces.held[trace_id]
        assert (trace.info["execution_duration"], trace.info["state"]) == ("0.007s", "OK")
        assert (trace.tags["kind"], trace.metadata["m"], len(trace.spans), len(trace.assessments)) == ("a", "1", 2, 1)


def test_infos_of_new_traces_come_first_and_what_spans_changed_is_set_back(
    store: Store, there: Remote, fake: FakeMlflow, traces: list[str]
) -> None:
    report = pushed(store, there, fake, jobs=1)
    assert (report.complete, report.traces) == (True, len(traces))
    assert order_of(fake)[:4] == [READ, INFO, SPANS, READ]
    counted = Counter(call for call, _ in fake.calls)
    assert {call: counted[call] for call in (INFO, SPANS, READ, END)} == {
        INFO: len(traces),
        SPANS: 1,
        READ: 2,
        END: len(traces) // 2,
    }
    assert_whole(fake, traces)
    assert pushed(store, there, fake).requests == 0


def test_many_workers_send_each_info_once(store: Store, there: Remote, fake: FakeMlflow, traces: list[str]) -> None:
    assert pushed(store, there, fake, jobs=8).complete
    counted = Counter(call for call, _ in fake.calls)
    assert (counted[INFO], counted[SPANS], counted[READ]) == (len(traces), 1, 2)
    assert_whole(fake, traces)


@pytest.mark.parametrize("version", ["3.16.4", "2.22.0", "", "what"])
def test_an_older_server_gets_spans_first(
    store: Store, there: Remote, fake: FakeMlflow, traces: list[str], version: str
) -> None:
    fake.server_version = version
    assert pushed(store, there, fake).complete
    assert order_of(fake) == [SPANS, INFO]
    assert_whole(fake, traces)


@pytest.mark.slow
def test_a_push_that_ends_at_any_request_is_continued_by_the_next(store: Store, traces: list[str]) -> None:
    remotes, ended = Remotes(store), 0
    for moment in range(100):
        fake = FakeMlflow()
        remote = remotes.add(f"remote-{moment}", f"http://127.0.0.{moment + 1}:1")

        def fault(call: str, fields: Fields, fake: FakeMlflow = fake, moment: int = moment) -> None:
            if len(fake.calls) > moment:
                raise httpx.ConnectError("no answer")

        fake.fault = fault
        try:
            report = pushed(store, remote, fake, jobs=1)
        except RemoteUnavailableError:
            ended += 1
        else:
            assert report.complete
            break
        fake.fault = lambda call, fields: None
        assert pushed(store, remote, fake, jobs=1).complete
        assert_whole(fake, traces)
        assert pushed(store, remote, fake).requests == 0
    assert ended > 2 * len(traces)


def test_traces_that_the_server_has_already_get_spans_first(
    store: Store, there: Remote, fake: FakeMlflow, traces: list[str]
) -> None:
    pushed(store, there, fake)
    for trace_id in traces:
        fake.traces.held[trace_id].info["execution_duration"] = "0.009s"
    fake.calls.clear()
    other = Remotes(store).add("other", "http://127.0.0.9:1")
    assert pushed(store, other, fake).complete
    assert order_of(fake) == [READ, SPANS, INFO]
    assert_whole(fake, traces)


@pytest.mark.parametrize("call", [READ, END])
def test_without_a_call_that_sets_back_infos_are_sent_after_the_spans(
    store: Store, there: Remote, fake: FakeMlflow, traces: list[str], call: str
) -> None:
    def fault(asked: str, fields: Fields) -> None:
        if asked == call:
            raise Refused("Not Found", "ENDPOINT_NOT_FOUND", 404)

    fake.fault = fault
    assert pushed(store, there, fake).complete
    assert order_of(fake)[-1] in (INFO, END)
    assert_whole(fake, traces)


def test_a_trace_whose_spans_are_refused_leaves_no_info_behind(
    store: Store, there: Remote, fake: FakeMlflow, traces: list[str]
) -> None:
    bad, *good = traces

    def fault(call: str, fields: Fields) -> None:
        if call == SPANS and bytes.fromhex(bad.removeprefix("tr-")) in fields["body"]:
            raise Refused("no such spans")

    fake.fault = fault
    report = pushed(store, there, fake)
    assert [(item.key, item.reason) for item in report.rejected] == [(bad, "no such spans")]
    assert_whole(fake, good)
    fake.fault = lambda call, fields: None
    assert pushed(store, there, fake, retry_rejected=True).rejected == ()
    assert_whole(fake, traces)


def test_an_info_that_is_refused_is_rejected_and_holds_no_other_back(
    store: Store, there: Remote, fake: FakeMlflow, home: str, traces: list[str]
) -> None:
    tag_trace(store, home, traces[1], "odd", "1")

    def fault(call: str, fields: Fields) -> None:
        info = fields.get("trace", {}).get("trace_info", {})
        if info.get("trace_id") == traces[0] or "odd" in info.get("tags", {}) or fields.get("key") == "odd":
            raise Refused("not this one")

    fake.fault = fault
    report = pushed(store, there, fake)
    assert {(item.kind, item.key) for item in report.rejected} == {
        ("trace", traces[0]),
        ("trace tag", f"{traces[1]}/odd"),
    }
    assert report.traces == len(traces) - 1
    del fake.traces.held[traces[0]]
    assert_whole(fake, traces[1:])


@pytest.mark.parametrize(
    ("trace", "may"),
    [
        (ENDED, True),
        (replace(ENDED, final=False), False),
        (replace(ENDED, state="IN_PROGRESS"), False),
        (replace(ENDED, duration=None), False),
        (replace(ENDED, spans={}), False),
        (replace(ENDED, tokens=BASIC), True),
        (replace(ENDED, tokens={"total_tokens": 3}), False),
        (replace(ENDED, tokens=BASIC, spans={"s": HEAD._replace(usage={"cache_read_input_tokens": 1})}), False),
        (replace(ENDED, cost={"total_cost": 1.0}), False),
        (replace(ENDED, cost={"input_cost": 0.5, "output_cost": 0.5, "total_cost": 1.0}), True),
    ],
)
def test_only_an_info_that_spans_leave_as_it_is_comes_first(trace: Trace, may: bool) -> None:
    assert may_come_first(trace) is may
