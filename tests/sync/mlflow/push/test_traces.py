"""Traces pushed to an MLflow server: each there once, with equal spans, tags, metadata, assessments and ties."""

from __future__ import annotations

import base64
import json
import threading
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.data.pandas_dataset import from_pandas
from mlflow.entities import LoggedModelInput
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from mltrack.storage.traces.trace import SpanHead, SpanPlace, Trace
from mltrack_sync import Selection
from mltrack_sync.daemon.daemon import Daemon, PollConfig
from mltrack_sync.daemon.loop import Trigger
from mltrack_sync.mlflow.plan.otlp import UnsendableSpanError, span_bodies
from mltrack_sync.mlflow.push.batching import TRACES_MAX, batches_of
from tests.support.mlflow_recording import log_adder, mlflow_on, trace_once, uri_of
from tests.support.pair import Pair
from tests.support.proxy import Answer, Cut, Fault, LoseAnswer, Seen
from tests.support.syncers import Syncers

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's and its libraries', not ours

NOT_KNOWN = Answer(404, b'{"detail": "Not Found"}')
PLACE = "mlflow.artifactLocation"


def fields_of(client: MlflowClient, trace: Any) -> dict[str, Any]:
    """All of a trace in a form that compares; ids of runs are left to the caller."""
    info = trace.info
    return {
        "trace_id": info.trace_id,
        "time": (info.request_time, info.execution_duration),
        "state": info.state,
        "previews": (info.request_preview, info.response_preview, info.client_request_id),
        "tags": {key: value for key, value in info.tags.items() if key != PLACE},
        "metadata": {key: value for key, value in info.trace_metadata.items() if not key.startswith("mlflow.source.")},
        "spans": sorted((span.to_dict() for span in trace.data.spans), key=lambda span: str(span["span_id"])),
        "assessments": {each.assessment_id: assessment_fields(each) for each in info.assessments},
    }


def assessment_fields(each: Any) -> dict[str, Any]:
    held = each.to_dictionary()
    if "expectation" in held:
        held.pop("valid", None)  # MLflow's client drops it on the way
    return {key: value for key, value in held.items() if value}


def traces_of(uri: str, experiment: str) -> dict[str, dict[str, Any]]:
    with mlflow_on(uri) as client:
        made = client.get_experiment_by_name(experiment)
        assert made is not None
        found = mlflow.search_traces(locations=[made.experiment_id], return_type="list", max_results=100)
        assert isinstance(found, list)
        fields = [fields_of(client, trace) for trace in found]
    assert len({each["trace_id"] for each in fields}) == len(fields)
    return {each["trace_id"]: each for each in fields}


def assert_traces_equal(pair: Pair) -> dict[str, dict[str, Any]]:
    """Each trace is there with equal contents; returns those of the pair.store."""
    here, there = traces_of(uri_of(pair.store), pair.experiment), traces_of(pair.server.url, pair.experiment)
    runs = {run_id: run["info"]["run_id"] for run_id, run in pair.server.runs(pair.experiment).items()}
    for trace in here.values():
        source = trace["metadata"].get("mlflow.sourceRun")
        if source is not None:
            trace["metadata"]["mlflow.sourceRun"] = runs[source]
    assert there == here
    return here


def test_traces_arrive_whole_and_follow_changes(pair: Pair) -> None:
    with mlflow_on(uri_of(pair.store), pair.experiment):
        with mlflow.start_run():
            first = trace_once("first", kind="a")
        second = trace_once("second")
        kept = mlflow.log_feedback(trace_id=first, name="good", value=0.5, rationale="why", metadata={"n": "1"})
        mlflow.log_expectation(trace_id=first, name="wanted", value={"words": ["a", 1]})
    foreseen = pair.push(dry_run=True)
    assert foreseen.traces == pair.status().pending_traces == 2
    report = pair.push()
    assert (report.complete, report.traces) == (True, 2), report
    here = assert_traces_equal(pair)
    assert len(here[first]["spans"]) == 2
    again = pair.push()
    assert (again.requests, again.traces, pair.status().pending_traces) == (0, 0, 0)
    with mlflow_on(uri_of(pair.store), pair.experiment) as client:
        assert kept.assessment_id is not None
        over = mlflow.override_feedback(trace_id=first, assessment_id=kept.assessment_id, value=0.25)
        gone = mlflow.log_feedback(trace_id=second, name="gone", value=True)
        client.set_trace_tag(first, "late", "1")
        client.delete_trace_tag(first, "kind")
    assert pair.push().traces == 2
    assert_traces_equal(pair)
    with mlflow_on(uri_of(pair.store), pair.experiment) as client:
        client.set_trace_tag(first, "late", "2")
        mlflow.delete_assessment(trace_id=first, assessment_id=str(over.assessment_id))
        mlflow.delete_assessment(trace_id=second, assessment_id=str(gone.assessment_id))
    assert pair.push().traces == 2
    assert_traces_equal(pair)
    assert pair.push().requests == 0


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/v1/traces", "/mlflow/traces", "/assessments", "/tags", "/link-to-run"])
def test_a_lost_answer_duplicates_nothing(pair: Pair, path: str) -> None:
    with mlflow_on(uri_of(pair.store), pair.experiment) as client:
        trace_id = trace_once()
        kept = mlflow.log_feedback(trace_id=trace_id, name="good", value=1.0)
        mlflow.override_feedback(trace_id=trace_id, assessment_id=str(kept.assessment_id), value=2.0)
        with mlflow.start_run() as run:
            client.link_traces_to_run([trace_id], run.info.run_id)
    if path == "/tags":
        pair.push()
        with mlflow_on(uri_of(pair.store), pair.experiment) as client:
            client.set_trace_tag(trace_id, "kind", "a")
            pair.push()
            client.delete_trace_tag(trace_id, "kind")
    lost: list[str] = []

    def fault(seen: Seen) -> Fault:
        if not seen.path.endswith(path) or lost:
            return None
        lost.append(seen.path)
        return LoseAnswer()

    pair.proxy.fault = fault
    report = pair.push()
    assert (report.complete, len(lost)) == (True, 1), report
    assert_traces_equal(pair)


@pytest.mark.slow
def test_any_request_may_be_lost_and_a_killed_syncer_duplicates_nothing(pair: Pair, syncers: Syncers) -> None:
    with mlflow_on(uri_of(pair.store), pair.experiment):
        kept = [mlflow.log_feedback(trace_id=trace_once(f"trace {n}"), name="good", value=n) for n in range(9)]
        for each in kept[:4]:
            mlflow.override_feedback(trace_id=str(each.trace_id), assessment_id=str(each.assessment_id), value=9)
    moments = [(4, False), (5, True), (9, False), (13, True), (3, False), (4, True), (6, False)]
    assert pair.killed_at(syncers, moments) >= 3
    spoils = (LoseAnswer(), Cut(), Answer(503))
    pair.proxy.fault = lambda seen: spoils[seen.number % 3] if len(pair.proxy.seen) % 2 else None
    pair.push()
    pair.heal()
    assert pair.push().complete
    assert_traces_equal(pair)
    pair.ledger_path.unlink()
    assert pair.push().complete
    assert_traces_equal(pair)


@pytest.mark.slow
def test_spans_of_many_traces_and_their_links_to_a_run_are_sent_in_one_request(pair: Pair) -> None:
    with mlflow_on(uri_of(pair.store), pair.experiment) as client:
        made = [trace_once(f"trace {n}") for n in range(12)]
        with mlflow.start_run() as run:
            client.link_traces_to_run(made[:4], run.info.run_id)
    report = pair.push()
    assert (report.complete, report.traces) == (True, 12), report
    counted = {"/v1/traces": 1, "/link-to-run": 1, "/mlflow/traces": 12, "/batchGetInfos": 2, "/tags": 0}
    assert {path: pair.proxy.count(path) for path in counted} == counted
    assert_traces_equal(pair)
    (there,) = pair.server.runs(pair.experiment)
    with mlflow_on(pair.server.url) as client:
        run_id = pair.server.runs(pair.experiment)[there]["info"]["run_id"]
        linked = mlflow.search_traces(
            locations=[pair.server.runs(pair.experiment)[there]["info"]["experiment_id"]],
            filter_string=f"attributes.run_id = '{run_id}'",
            return_type="list",
        )
    assert {trace.info.trace_id for trace in linked} == set(made[:4])


@pytest.mark.parametrize(("status", "refused"), [(422, True), (400, True), (500, False)])
def test_a_trace_that_the_server_fails_on_holds_no_other_back(pair: Pair, status: int, refused: bool) -> None:
    with mlflow_on(uri_of(pair.store), pair.experiment):
        first, bad, last = [trace_once(f"trace {n}") for n in range(3)]
    words = b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "no"}'
    poison = bytes.fromhex(bad.removeprefix("tr-"))
    pair.proxy.fault = lambda seen: Answer(status, words) if poison in seen.body else None
    report = pair.push()
    assert (report.traces, [item.key for item in report.rejected]) == (2, [bad] if refused else [])
    assert len(report.problems) == (not refused)
    assert traces_of(pair.server.url, pair.experiment).keys() == {first, last}
    pair.heal()
    assert pair.push(retry_rejected=True).traces == 1
    assert_traces_equal(pair)


def test_traces_are_grouped_by_experiment_number_and_size() -> None:
    def trace(number: int, experiment_id: str = "1", size: int = 10, writer: str = "w") -> Trace:
        place = SpanPlace(experiment_id, writer, number, size)
        heads = [
            SpanHead(f"s-{n}", None, "n", None, "OK", 1, 2, None, None, None, None, place, n) for n in range(size and 2)
        ]
        return Trace(f"tr-{number}", experiment_id, 1, spans={head.span_id: head for head in heads})

    def grouped(*traces: Trace, bytes_max: int = 1_000_000) -> list[list[str]]:
        return sorted([each.trace_id for each in group] for group in batches_of(traces, bytes_max))

    assert grouped() == []
    assert grouped(trace(1), trace(2, "2"), trace(3)) == [["tr-1", "tr-3"], ["tr-2"]]
    assert grouped(trace(1), trace(2), trace(3), bytes_max=20) == [["tr-1", "tr-2"], ["tr-3"]]
    assert grouped(trace(1), trace(2, size=99), trace(3), bytes_max=20) == [["tr-1"], ["tr-2"], ["tr-3"]]
    assert grouped(trace(1), trace(2, size=0), trace(3)) == [["tr-1", "tr-3"], ["tr-2"]]
    assert [len(group) for group in batches_of(map(trace, range(250)), 1_000_000)] == [TRACES_MAX, TRACES_MAX, 50]


def test_a_server_without_traces_is_asked_once_and_gets_them_once_it_has(pair: Pair) -> None:
    with mlflow_on(uri_of(pair.store), pair.experiment):
        for n in range(3):
            trace_once(f"trace {n}")
    pair.proxy.fault = lambda seen: NOT_KNOWN if "traces" in seen.path else None
    report = pair.push()
    assert report.unsupported == ("traces: this server does not take them; 3 wait",)
    assert (report.complete, report.problems, report.rejected) == (False, (), ())
    assert pair.proxy.count("traces") == 1
    pair.heal()
    assert pair.push().traces == 3
    assert_traces_equal(pair)


def test_an_unfinished_trace_is_pushed_as_far_as_it_is_recorded(pair: Pair) -> None:
    store, experiment = pair.store, pair.experiment
    with mlflow_on(uri_of(store), experiment) as client:
        whole = client.get_trace(trace_once())
    made = {each.name: each.experiment_id for each in store.experiments()}
    store.traces.add(made[experiment], {"type": "delete", "trace_id": whole.info.trace_id})
    root, child = whole.data.spans
    with mlflow_on(uri_of(store), experiment) as client:
        tracking = client._tracking_client.store
        tracking.log_spans(made[experiment], [child])
    assert pair.push().traces == 1
    there = traces_of(pair.server.url, experiment)[whole.info.trace_id]
    assert [span["name"] for span in there["spans"]] == ["asking"]
    with mlflow_on(uri_of(store), experiment) as client:
        client._tracking_client.store.log_spans(made[experiment], [root])
        client._tracking_client.store.start_trace(whole.info)
    assert pair.push().complete
    assert_traces_equal(pair)


def test_a_trace_that_is_deleted_locally_stays_on_the_remote(pair: Pair) -> None:
    with mlflow_on(uri_of(pair.store), pair.experiment) as client:
        trace_id = trace_once()
        pair.push()
        made = client.get_experiment_by_name(pair.experiment)
        assert made is not None
        client.delete_traces(made.experiment_id, trace_ids=[trace_id])
    report = pair.push()
    assert (report.complete, report.traces) == (True, 0)
    assert report.notes == ("1 trace was deleted here; where spoiled has it, delete it there by hand",)
    assert pair.push().notes == ()
    assert traces_of(pair.server.url, pair.experiment).keys() == {trace_id}


def test_a_background_syncer_sees_traces_and_models_although_no_run_changes(pair: Pair) -> None:
    daemon = Daemon(pair.store, pair.remote, Trigger(), PollConfig())
    with mlflow_on(uri_of(pair.store), pair.experiment) as client:
        trace_once()
        assert daemon.poll(threading.Event()).traces == 1
        assert daemon.poll(threading.Event()).requests == 0
        trace_once()
        made = client.get_experiment_by_name(pair.experiment)
        assert made is not None
        pair.store.logged_models.create(made.experiment_id, "net")
    report = daemon.poll(threading.Event())
    assert (report.traces, report.logged_models) == (1, 1)
    assert_traces_equal(pair)


def test_with_a_selection_only_traces_of_its_runs_and_experiments_are_sent(pair: Pair) -> None:
    with mlflow_on(uri_of(pair.store), pair.experiment):
        with mlflow.start_run() as run:
            mine = trace_once()
        other = trace_once()
    with mlflow_on(uri_of(pair.store), f"{pair.experiment} too"):
        elsewhere = trace_once()
    pair.push(selection=Selection(runs=(run.info.run_id,)))
    assert traces_of(pair.server.url, pair.experiment).keys() == {mine}
    assert pair.push(selection=Selection(experiments=(pair.experiment,))).traces == 1
    assert traces_of(pair.server.url, pair.experiment).keys() == {mine, other}
    assert pair.push().traces == 1
    assert traces_of(pair.server.url, f"{pair.experiment} too").keys() == {elsewhere}
    assert_traces_equal(pair)
    assert pair.push().requests == 0


def test_a_trace_that_cannot_keep_its_id_is_rejected(pair: Pair) -> None:
    with mlflow_on(uri_of(pair.store), pair.experiment) as client:
        fine = trace_once()
        made = client.get_experiment_by_name(pair.experiment)
        assert made is not None
    (trace,) = pair.store.traces.all()
    with pair.store.traces.spans() as reader:
        contents = [json.loads(text) for text in reader.read(trace.ordered_spans())]
    heads = [{"id": "a", "name": "a", "status": "OK", "start": 1}]
    fact = {"type": "spans", "trace_id": "tr-" + "0" * 31 + "1", "start": 1, "end": 2, "heads": heads}
    pair.store.traces.add_spans(made.experiment_id, [fact], [contents[:1]])
    report = pair.push()
    assert [(item.kind, item.key) for item in report.rejected] == [("trace", fact["trace_id"])]
    assert traces_of(pair.server.url, pair.experiment).keys() == {fine}
    assert pair.push().requests == 0


def test_spans_are_split_into_requests_and_unusual_values_keep_their_meaning() -> None:
    span = {
        "trace_id": "AAAAAAAAAAAAAAAAAAAAAQ==",
        "span_id": "AAAAAAAAAAE=",
        "parent_span_id": None,
        "name": "odd \ud800",
        "start_time_unix_nano": 1,
        "end_time_unix_nano": None,
        "status": {"code": "STATUS_CODE_ERROR", "message": "oh"},
        "attributes": {"big": str(2**70), "text": "no json", "nan": "NaN", "empty": "", "list": "[]", "none": "null"},
        "links": [{"trace_id": "tr-" + "0" * 31 + "2", "span_id": "0000000000000003", "attributes": None}],
    }
    trace_id = "tr-" + "0" * 31 + "1"
    bodies = list(span_bodies(trace_id, [json.dumps(span)] * 3, 500))
    assert len(bodies) == 3
    read = ExportTraceServiceRequest.FromString(bodies[0]).resource_spans[0].scope_spans[0].spans[0]
    values = {pair.key: pair.value for pair in read.attributes}
    assert (read.name, read.status.code, read.end_time_unix_nano) == ("odd ?", 2, 0)
    assert values["big"].string_value == str(2**70)
    assert values["nan"].double_value != values["nan"].double_value
    assert [values[key].WhichOneof("value") for key in ("list", "none", "text", "empty")] == [
        "array_value",
        None,
        "string_value",
        "string_value",
    ]
    assert read.links[0].span_id.hex() == "0000000000000003"
    with pytest.raises(UnsendableSpanError, match="id"):
        list(span_bodies("tr-" + "f" * 32, [json.dumps(span)], 1000))
    with pytest.raises(UnsendableSpanError, match="span"):
        list(span_bodies(trace_id, ["{}"], 1000))


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("0xAAAAAAAAA=", "d3100000" + "0" * 8),  # base64, though it begins like hex
        ("0x3", "0" * 15 + "3"),
        ("00000000000000ff", "00000000000000ff"),
    ],
)
def test_a_span_id_is_sent_unchanged_however_it_is_written(text: str, sent: str) -> None:
    trace_id = base64.b64encode(bytes.fromhex("d31" + "0" * 29)).decode()
    assert trace_id.startswith("0x")
    span = {"trace_id": trace_id, "span_id": text, "name": "n", "start_time_unix_nano": 1}
    (body,) = span_bodies("tr-d31" + "0" * 29, [json.dumps(span)], 1000)
    read = ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans[0]
    assert (read.trace_id.hex(), read.span_id.hex()) == ("d31" + "0" * 29, sent)


def test_everything_that_mlflow_records_through_the_plugin_is_equal_on_the_server(pair: Pair, tmp_path: Path) -> None:
    prompt_name = f"greet-{pair.experiment[-8:]}"
    with mlflow_on(pair.server.url):  # so that versions have other numbers there
        mlflow.genai.register_prompt(name=prompt_name, template="of another")
    with mlflow_on(uri_of(pair.store), pair.experiment) as client:
        prompt = mlflow.genai.register_prompt(name=prompt_name, template="Grüß {{name}}", commit_message="first")
        mlflow.genai.set_prompt_alias(prompt_name, "live", prompt.version)
        with mlflow.start_run(run_name="training") as run:
            table = from_pandas(pd.DataFrame({"x": [1.0, 2.0]}), name="table")
            mlflow.log_input(table, context="training")
            info = log_adder(tmp_path, params={"by": "1"}, tags={"team": "v"})
            mlflow.log_metric("acc", 0.5, step=1, model_id=info.model_id, dataset=table)
            mlflow.set_active_model(model_id=info.model_id)
            mlflow.genai.load_prompt(f"prompts:/{prompt_name}/{prompt.version}")
            with mlflow.start_span("asked") as span:
                mlflow.genai.load_prompt(f"prompts:/{prompt_name}/{prompt.version}")
            mlflow.log_feedback(trace_id=span.trace_id, name="good", value=True)
        mlflow.clear_active_model()
        with mlflow.start_run(run_name="evaluation") as evaluation:
            client.log_inputs(evaluation.info.run_id, models=[LoggedModelInput(info.model_id)])
        version = mlflow.register_model(info.model_uri, f"adder {pair.experiment[-8:]}", tags={"checked": "yes"})
        client.set_registered_model_alias(version.name, "champion", version.version)
        trace = client.get_trace(span.trace_id)
    report = pair.push()
    assert (report.complete, report.logged_models, report.traces, report.datasets) == (True, 1, 1, 1), report
    with mlflow_on(pair.server.url) as there:
        made = there.get_experiment_by_name(pair.experiment)
        assert made is not None
        runs = {each.info.run_name: there.get_run(each.info.run_id) for each in there.search_runs([made.experiment_id])}
        assert len(there.search_runs([made.experiment_id], "dataset.name = 'table'")) == 1
        (model,) = mlflow.search_logged_models(experiment_ids=[made.experiment_id], output_format="list")
        assert (model.name, model.source_run_id, model.params) == ("adder", runs["training"].info.run_id, {"by": "1"})
        (metric,) = model.metrics or []
        assert (metric.key, metric.value, metric.dataset_name, metric.run_id) == (
            "acc",
            0.5,
            "table",
            runs["training"].info.run_id,
        )
        made_by, used_by = runs["training"].outputs, runs["evaluation"].inputs
        assert made_by is not None and [each.model_id for each in made_by.model_outputs] == [model.model_id]
        assert used_by is not None and [each.model_id for each in used_by.model_inputs] == [model.model_id]
        assert runs["training"].data.metrics == {"acc": 0.5}
        loaded = mlflow.pyfunc.load_model(f"models:/{version.name}@champion")
        assert loaded.predict([1.0]) == [2.0]
        assert there.get_model_version(version.name, "1").tags["checked"] == "yes"
        other = mlflow.genai.load_prompt(f"prompts:/{prompt_name}@live")
        assert (other.template, other.commit_message, other.version) == ("Grüß {{name}}", "first", 2)
        found = there.get_trace(span.trace_id)
        assert found.info.trace_metadata["mlflow.sourceRun"] == runs["training"].info.run_id
        assert found.info.trace_metadata["mlflow.modelId"] == model.model_id
        linked = [{"name": prompt_name, "version": "2"}]
        assert json.loads(found.info.tags["mlflow.linkedPrompts"]) == linked
        assert json.loads(runs["training"].data.tags["mlflow.linkedPrompts"]) == linked
        assert [span.to_dict() for span in found.data.spans] == [span.to_dict() for span in trace.data.spans]
        assert [each.value for each in found.info.assessments] == [True]
    assert run.info.run_id != runs["training"].info.run_id
    assert pair.verify().differences == ()
    assert pair.push().requests == 0
