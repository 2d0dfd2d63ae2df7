"""MLflow's own tracing, unmodified: decorators, exports, feedback, charts; and a server on a store, with its files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlflow import MlflowClient

from mltrack.storage.check.check import check_store
from mltrack.store import Store
from tests.support.plugin.traced import START_MS, trace_id_of
from tests.support.recording import run_python
from tests.support.server import MlflowServer

PROGRAM = """
import sys, mlflow
from mlflow import MlflowClient
from mlflow.entities import AssessmentSource
mlflow.set_tracking_uri(sys.argv[1])
experiment_id = mlflow.set_experiment("tracing").experiment_id

@mlflow.trace(span_type="LLM")
def model(question):
    mlflow.get_current_active_span().set_attribute("mlflow.chat.tokenUsage",
        {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7})
    return f"an answer to {question}"

@mlflow.trace(name="ask", span_type="CHAIN")
def ask(question):
    mlflow.update_current_trace(tags={"team": "nlp"}, metadata={"mlflow.trace.session": "s-1"})
    if question == "bad":
        raise ValueError("no answer")
    return model(question)

with mlflow.start_run() as run:
    for question in ("why", "how"):
        ask(question)
    try:
        ask("bad")
    except ValueError:
        pass
mlflow.flush_trace_async_logging()

found = mlflow.search_traces(locations=[experiment_id], return_type="list")
traces = sorted(found, key=lambda t: t.info.request_preview)  # they may be of one millisecond
assert [t.info.request_preview for t in traces] == ['{"question": "bad"}', '{"question": "how"}', '{"question": "why"}']
assert [t.info.state.value for t in traces] == ["ERROR", "OK", "OK"]
trace = mlflow.get_trace(traces[-1].info.trace_id)
assert [(s.name, s.span_type) for s in trace.data.spans] == [("ask", "CHAIN"), ("model", "LLM")]
assert trace.data.spans[1].parent_id == trace.data.spans[0].span_id
assert trace.data.spans[0].outputs == trace.info.response_preview.strip('"') == "an answer to why"
assert trace.info.token_usage == {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
assert trace.info.tags["team"] == "nlp"
assert trace.info.trace_metadata["mlflow.sourceRun"] == run.info.run_id
assert trace.info.trace_metadata["mlflow.trace.session"] == "s-1"
assert "mlflow.trace.sizeStats" in trace.info.trace_metadata
assert len(mlflow.search_traces(locations=[experiment_id], run_id=run.info.run_id)) == 3
assert len(mlflow.search_traces(locations=[experiment_id], filter_string="span.type = 'LLM'")) == 2

source = AssessmentSource("HUMAN", "ann")
feedback = mlflow.log_feedback(trace_id=trace.info.trace_id, name="good", value=True, source=source)
mlflow.log_expectation(trace_id=trace.info.trace_id, name="answer", value="because", source=source)
mlflow.override_feedback(trace_id=trace.info.trace_id, assessment_id=feedback.assessment_id, value=False)
mlflow.set_trace_tag(trace.info.trace_id, "seen", "yes")
(found,) = mlflow.search_traces(locations=[experiment_id], filter_string="feedback.good = 'false'", return_type="list")
assert {(a.name, a.value, a.valid is False) for a in found.info.assessments} == {
    ("good", True, True), ("good", False, False), ("answer", "because", False)}
assert found.info.tags["seen"] == "yes"
assert MlflowClient().delete_traces(experiment_id, trace_ids=[traces[0].info.trace_id]) == 1
assert len(mlflow.search_traces(locations=[experiment_id])) == 2
"""

HURRIED = """
import sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])

@mlflow.trace
def work(n):
    return n

for n in range(20):
    work(n)
"""


@pytest.mark.parametrize("background", [pytest.param("false", marks=pytest.mark.slow), "true"])
def test_a_program_that_uses_mlflow_traces_to_the_store(tmp_path: Path, background: str) -> None:
    environment = {"MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": background}
    run_python(PROGRAM, f"mltrack://{tmp_path}/store", env=environment)
    assert check_store(tmp_path / "store").sound


@pytest.mark.slow
def test_traces_in_flight_when_a_program_ends_arrive(tmp_path: Path) -> None:
    run_python(HURRIED, f"mltrack://{tmp_path}/store", env={"MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "true"})
    traces = Store.open(tmp_path / "store").traces
    assert sorted(trace.request_preview or "" for trace in traces.all()) == sorted(f'{{"n": {n}}}' for n in range(20))
    assert all(trace.state == "OK" and len(trace.spans) == 1 for trace in traces.all())


# --- a server ---


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """MLflow's own server, of two processes, on a store whose files it serves."""
    folder = tmp_path_factory.mktemp("served")
    uri = f"mltrack://{folder}/store"
    made = MlflowServer(folder, artifacts=uri, store=uri, workers=2)
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.mark.slow
def test_a_program_that_uses_mlflow_traces_to_a_server_on_the_store(server: MlflowServer) -> None:
    run_python(PROGRAM, server.url, env={"MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "true"})
    assert check_store(server.folder / "store").sound


@pytest.mark.slow
def test_opentelemetry_spans_are_accepted_and_shown_by_a_server(server: MlflowServer) -> None:
    spans = [
        {
            "traceId": f"{number:032x}",
            "spanId": f"{number:016x}",
            "name": f"otel {number}",
            "kind": 1,
            "startTimeUnixNano": str(START_MS * 1_000_000 + number),
            "endTimeUnixNano": str((START_MS + 5) * 1_000_000),
            "attributes": [{"key": "gen_ai.usage.input_tokens", "value": {"intValue": "3"}}],
            "status": {"code": 2 if number == 2 else 1},
        }
        for number in (1, 2)
    ]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "answers"}}]}
    body = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}
    with httpx.Client(base_url=server.url, timeout=60) as http:
        for _ in range(2):  # a client that got no answer sends again
            http.post("/v1/traces", json=body, headers={"x-mlflow-experiment-id": "0"}).raise_for_status()
        refused = http.post("/v1/traces", json=body, headers={"x-mlflow-experiment-id": "4711"})
        assert refused.status_code == 404
        shown = http.get("/ajax-api/2.0/mlflow/get-trace-artifact", params={"request_id": trace_id_of(1)})
        assert [span["name"] for span in shown.raise_for_status().json()["spans"]] == ["otel 1"]
        asked: dict[str, Any] = {"experiment_ids": ["0"], "view_type": "TRACES", "metric_name": "trace_count"}
        asked |= {"aggregations": [{"aggregation_type": "COUNT"}], "dimensions": ["trace_status"]}
        counted = http.post("/api/3.0/mlflow/traces/metrics", json=asked).raise_for_status().json()
    assert [(one["dimensions"], one["values"]) for one in counted["data_points"]] == [
        ({"trace_status": "ERROR"}, {"COUNT": 1.0}),
        ({"trace_status": "OK"}, {"COUNT": 1.0}),
    ]
    traces = Store.open(server.folder / "store").traces
    first = traces.get(trace_id_of(1))
    assert (first.state, first.duration, first.tags["service.name"]) == ("OK", 5, "answers")
    assert len(first.spans) == 1


@pytest.mark.slow
def test_files_sent_through_a_server_are_stored_in_the_store(server: MlflowServer, tmp_path: Path) -> None:
    client = MlflowClient(server.url)
    run, model = client.create_run("0"), client.create_logged_model("0", name="m")
    uri = run.info.artifact_uri
    assert uri == f"mlflow-artifacts:/runs/{run.info.run_id}/artifacts"
    assert model.artifact_location == f"mlflow-artifacts:/models/{model.model_id}/artifacts"
    client.log_text(run.info.run_id, "größe", "model/ü.txt")
    (tmp_path / "weights").write_bytes(b"abc")
    client.log_model_artifact(model.model_id, str(tmp_path / "weights"))
    assert [info.path for info in client.list_artifacts(run.info.run_id, "model")] == ["model/ü.txt"]
    there = client.download_artifacts(run.info.run_id, "model", str(tmp_path))
    assert Path(there, "ü.txt").read_text(encoding="utf-8") == "größe"
    client.create_registered_model("served")
    version = client.create_model_version("served", f"{uri}/model", run.info.run_id)
    assert client.get_model_version_download_uri("served", version.version) == version.source == f"{uri}/model"

    root = server.folder / "store"
    store = Store.open(root)
    assert [artifact.path for artifact in store.run(run.info.run_id).artifacts] == ["model/ü.txt"]
    assert [artifact.path for artifact in store.logged_models.artifacts(model.model_id)] == ["weights"]
    assert store.registry.get_version("served", version.version).source == f"runs:/{run.info.run_id}/model"
    direct = MlflowClient(f"mltrack://{root}").get_model_version_download_uri("served", version.version)
    assert direct == f"{root}/runs/{run.info.run_id}/artifacts/model"
    with httpx.Client(base_url=server.url, timeout=60) as http:
        for path in (
            "store.json",
            f"runs/{run.info.run_id}/events",
            "runs",
            f"runs/{run.info.run_id}/artifacts/../events",
        ):
            assert http.get(f"/api/2.0/mlflow-artifacts/artifacts/{path}").status_code == 400
