"""Comparing traces with the remote: info, tags, metadata, spans, assessments; each difference is named alone."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import mlflow
import pytest

from mltrack.store import Store
from mltrack_sync import Remote, Selection, push
from mltrack_sync.engine.verify import VerifyReport, verify
from mltrack_sync.http.retry import RetryPolicy
from tests.support.command_line import run as command
from tests.support.mlflow_recording import mlflow_on, trace_once, uri_of
from tests.support.proxy import Answer, FaultyProxy
from tests.support.server import MlflowServer

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # warnings of MLflow's, and its libraries'

NOT_KNOWN = Answer(404, b'{"detail": "Not Found"}')
WAITS = "(waits to be pushed)"


def record(store: Store, experiment: str) -> tuple[str, str, str]:
    """A trace of a run, with assessments of all kinds, and one of no run; returns the run's id and theirs."""
    with mlflow_on(uri_of(store), experiment):
        with mlflow.start_run() as run:
            first = trace_once("first", kind="a")
        with mlflow.start_span("odd") as span:
            span.set_attributes({"nan": float("nan"), "inf": float("inf"), "none": None, "no": [], "text": "[1"})
        kept = mlflow.log_feedback(trace_id=first, name="good", value=0.5, rationale="why", metadata={"n": "1"})
        mlflow.override_feedback(trace_id=first, assessment_id=str(kept.assessment_id), value=0.25)
        mlflow.log_feedback(trace_id=first, name="failed", error=ValueError("no answer"))
        mlflow.log_expectation(trace_id=first, name="wanted", value={"words": ["a", 1]})
    return run.info.run_id, first, span.trace_id


def told(report: VerifyReport) -> list[tuple[str, str, str, str]]:
    """Each difference: of which trace, what, here and there; without ids."""
    return [(d.subject.removeprefix("trace "), d.thing.split(" (")[0], d.local, d.remote) for d in report.differences]


@pytest.mark.parametrize("quick", [False, True])
def test_traces_are_the_same_after_a_sync(quick: bool, store: Store, remote: Remote, experiment: str) -> None:
    record(store, experiment)
    push(store, remote)
    report = verify(store, remote, quick=quick)
    assert (report.differences, report.unsupported) == ((), ())
    assert (report.traces, report.assessments, report.spans) == (2, 4, 0 if quick else 3)


def test_a_trace_not_pushed_or_changed_since_is_reported_as_pending(
    store: Store, remote: Remote, experiment: str
) -> None:
    _, first, second = record(store, experiment)
    missing = ("trace", "present", f"nothing {WAITS}")
    assert {line for line in told(verify(store, remote)) if line[0]} == {(first, *missing), (second, *missing)}
    push(store, remote)
    with mlflow_on(uri_of(store), experiment) as client:
        client.set_trace_tag(first, "late", "1")
        client.delete_trace_tag(first, "kind")
        mlflow.log_feedback(trace_id=second, name="new", value=True)
    for quick in (False, True):
        assert sorted(told(verify(store, remote, quick=quick))) == sorted(
            [
                (first, "tag 'kind'", "nothing", f"'a' {WAITS}"),
                (first, "tag 'late'", "'1'", f"nothing {WAITS}"),
                (second, "assessment 'new'", "present", f"nothing {WAITS}"),
            ]
        )
    push(store, remote)
    assert verify(store, remote).same


def test_each_change_on_the_remote_is_named(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    _, first, second = record(store, experiment)
    push(store, remote)
    with mlflow_on(server.url) as client:
        client.set_trace_tag(first, "kind", "b")
        client.set_trace_tag(first, "theirs", "is none of ours")
        held = {each.name: each for each in client.get_trace(first).info.assessments}
        mlflow.delete_assessment(trace_id=first, assessment_id=str(held["wanted"].assessment_id))
        mlflow.log_feedback(trace_id=first, name="of somebody", value=1)
    with closing(sqlite3.connect(server.folder / "mlflow.db")) as database, database:
        change(database, "trace_info", "execution_time_ms = 987654, status = 'ERROR'", "request_id", first)
        change(database, "trace_request_metadata", "value = 'x'", "key = 'mlflow.user' AND request_id", first)
        change(database, "assessments", "rationale = 'because'", "rationale IS NOT NULL AND trace_id", first)
        select = "SELECT content FROM spans WHERE trace_id = ? AND parent_span_id IS NOT NULL"
        ((content,),) = database.execute(select, [first]).fetchall()
        other = content.replace("tiny", "huge").replace("answered", "asked")
        change(database, "spans", "content = ?", "parent_span_id IS NOT NULL AND trace_id", first, other)
        database.execute("DELETE FROM spans WHERE trace_id = ?", [second])
    full = told(verify(store, remote))
    quick = [
        (first, "duration in ms", full[0][2], "987654"),
        (first, "state", "OK", "ERROR"),
        (first, "metadata 'mlflow.user'", full[2][2], "'x'"),
        (first, "tag 'kind'", "'a'", "'b'"),
        (first, "assessment 'good'", "why", "because"),
        (first, "assessment 'wanted'", "present", "nothing"),
    ]
    spans = [line for line in full if line not in quick]
    assert [line for line in full if line in quick] == quick
    assert [(trace, thing) for trace, thing, _, _ in spans] == [
        (first, "span 'asking'"),
        (first, "span 'asking'"),
        (second, "number of spans"),
        (second, "span 'odd'"),
    ]
    assert (spans[0][2:], spans[2][2:], spans[3][2:]) == (("tiny", "huge"), ("1", "0"), ("present", "nothing"))
    assert sorted(told(verify(store, remote, quick=True))) == sorted(quick)


def change(database: sqlite3.Connection, table: str, what: str, where: str, trace_id: str, *values: str) -> None:
    done = database.execute(f"UPDATE {table} SET {what} WHERE {where} = ?", [*values, trace_id])
    assert done.rowcount == 1


def test_a_trace_missing_on_the_remote_is_reported(
    store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    _, first, _ = record(store, experiment)
    push(store, remote)
    with mlflow_on(server.url) as client:
        client.delete_traces(server.experiment_id(experiment), trace_ids=[first])
    for quick in (False, True):
        assert told(verify(store, remote, quick=quick)) == [(first, "trace", "present", "nothing")]


def test_a_trace_that_was_rejected_differs_with_the_reason(store: Store, remote: Remote, experiment: str) -> None:
    with mlflow_on(uri_of(store), experiment) as client:
        trace_once()
        made = client.get_experiment_by_name(experiment)
        assert made is not None
    (trace,) = store.traces.all()
    with store.traces.spans() as reader:
        contents = [json.loads(text) for text in reader.read(trace.ordered_spans())]
    heads = [{"id": "a", "name": "a", "status": "OK", "start": 1}]
    fact = {"type": "spans", "trace_id": "tr-" + "0" * 31 + "1", "start": 1, "end": 2, "heads": heads}
    store.traces.add_spans(made.experiment_id, [fact], [contents[:1]])
    push(store, remote)
    ((trace_id, thing, here, there),) = told(verify(store, remote))
    assert (trace_id, thing, here) == (fact["trace_id"], "trace", "present")
    assert there.startswith("nothing (rejected: its id is not that of its spans")


def test_an_unfinished_trace_is_compared_as_far_as_it_is_recorded(
    store: Store, remote: Remote, experiment: str
) -> None:
    with mlflow_on(uri_of(store), experiment) as client:
        whole = client.get_trace(trace_once())
        made = client.get_experiment_by_name(experiment)
        assert made is not None
        store.traces.add(made.experiment_id, {"type": "delete", "trace_id": whole.info.trace_id})
        client._tracking_client.store.log_spans(made.experiment_id, [whole.data.spans[1]])
    push(store, remote)
    report = verify(store, remote)
    assert (report.differences, report.traces, report.spans) == ((), 1, 1)


def test_with_a_selection_only_traces_of_its_runs_and_experiments_are_compared(
    store: Store, remote: Remote, experiment: str
) -> None:
    run_id, _, second = record(store, experiment)
    push(store, remote, selection=Selection(runs=(run_id,)))
    report = verify(store, remote, selection=Selection(runs=(run_id,)))
    assert (report.same, report.runs, report.traces) == (True, 1, 1)
    (difference,) = verify(store, remote, selection=Selection(experiments=(experiment,))).differences
    assert difference.key == second


def test_a_remote_without_traces_is_asked_once_and_reported_in_one_line(
    store: Store, proxy: FaultyProxy, spoiled: Remote, experiment: str, hasty: RetryPolicy
) -> None:
    record(store, experiment)
    proxy.fault = lambda seen: NOT_KNOWN if "traces" in seen.path else None
    push(store, spoiled, policy=hasty)
    for quick in (False, True):
        report = verify(store, spoiled, quick=quick)
        assert (report.differences, report.traces) == ((), 0)
        assert report.unsupported == ("traces: this server does not take them; not compared: 2",)
    done = command(store, "verify", spoiled.name)
    assert (done.exit_code, report.unsupported[0] in done.output) == (0, True)


def test_if_a_server_returns_no_spans_the_rest_is_compared_and_this_is_reported(
    store: Store, proxy: FaultyProxy, spoiled: Remote, experiment: str
) -> None:
    record(store, experiment)
    push(store, spoiled)
    proxy.fault = lambda seen: NOT_KNOWN if seen.path.endswith(("traces/get", "batchGetInfos")) else None
    report = verify(store, spoiled)
    assert (report.differences, report.traces, report.spans, report.assessments) == ((), 2, 0, 4)
    assert report.unsupported == ("spans: this server does not give them back; traces compared without: 2",)
    assert verify(store, spoiled, quick=True).unsupported == ()


def test_quick_requests_many_traces_at_a_time(
    store: Store, proxy: FaultyProxy, spoiled: Remote, experiment: str
) -> None:
    record(store, experiment)
    push(store, spoiled)
    before = len(proxy.seen)
    assert verify(store, spoiled, quick=True).traces == 2
    assert [Path(seen.path).name for seen in proxy.seen[before:] if "traces" in seen.path] == ["batchGetInfos"]


def test_a_damaged_local_span_is_reported(store: Store, remote: Remote, experiment: str) -> None:
    record(store, experiment)
    push(store, remote)
    for file in store.layout.traces.glob("*/spans/*.jsonl"):
        file.unlink()
    report = verify(Store.open(store.path), remote)
    assert "damage" in {difference.thing for difference in report.differences}
