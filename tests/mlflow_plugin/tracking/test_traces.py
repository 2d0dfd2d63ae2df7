"""Traces: started, filled with spans, read, tagged, linked and deleted, on both stores with the same assertions."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import TraceState
from mlflow.entities.trace_status import TraceStatus
from mlflow.exceptions import MlflowException, MlflowTracingException

from tests.support.plugin.codes import raises
from tests.support.plugin.traced import START_MS, info, info_as_dict, prompt, span, trace_id_of
from tests.support.plugin.versions import differs_since

ONE = trace_id_of(1)
LOCATION = {"mlflow.trace.spansLocation": "TRACKING_STORE"}


def names(trace: Any) -> list[str]:
    return [one.name for one in trace.data.spans]


# --- starting ---


def test_a_trace_is_returned_as_started(tracking: Any) -> None:
    returned = tracking.start_trace(
        info(
            1,
            client_request_id="mine",
            request_preview="what is it?",
            response_preview="größer",
            tags={"mlflow.traceName": "answer", "team": "nlp"},
            trace_metadata={
                "mlflow.sourceRun": "abc",
                "mlflow.trace.session": "s-1",
                "mlflow.trace.tokenUsage": '{"total_tokens": 3, "input_tokens": 1, "strange": 7, "output_tokens": 2.5}',
                "mlflow.trace.cost": '{"total_cost": 0.25, "input_cost": "nan"}',
            },
        )
    )
    found = tracking.get_trace_info(ONE)
    assert info_as_dict(returned) == info_as_dict(found)
    assert (found.request_time, found.execution_duration, found.state) == (START_MS, 10, TraceState.OK)
    assert (found.client_request_id, found.request_preview, found.response_preview) == ("mine", "what is it?", "größer")
    assert found.experiment_id == "0"
    assert found.tags.keys() == {"mlflow.traceName", "team", "mlflow.artifactLocation"}
    assert found.trace_metadata == {
        "mlflow.sourceRun": "abc",
        "mlflow.trace.infoFinalized": "true",
        "mlflow.trace.session": "s-1",
        "mlflow.trace.tokenUsage": '{"input_tokens": 1, "total_tokens": 3}',
        "mlflow.trace.cost": '{"total_cost": 0.25}',
    }


def test_a_trace_is_not_started_in_a_missing_or_deleted_experiment(tracking: Any) -> None:
    with raises("RESOURCE_DOES_NOT_EXIST"):
        tracking.start_trace(info(1, "123456"))
    experiment_id = tracking.create_experiment("gone")
    tracking.delete_experiment(experiment_id)
    with raises("INVALID_PARAMETER_VALUE"):
        tracking.start_trace(info(1, experiment_id))
    with raises("RESOURCE_DOES_NOT_EXIST"):
        tracking.get_trace_info(ONE)


def test_starting_a_trace_again_merges_it(tracking: Any) -> None:
    differs_since("3.18", tracking, "a trace does not move to another experiment")
    tracking.start_trace(info(1, tags={"a": "1", "b": "1"}, trace_metadata={"m": "1"}, request_preview="first"))
    experiment_id = tracking.create_experiment("another")
    tracking.start_trace(
        info(1, experiment_id, state=TraceState.ERROR, tags={"b": "2"}, trace_metadata={"n": "2"}, request_time=5)
    )
    found = tracking.get_trace_info(ONE)
    assert (found.experiment_id, found.state, found.request_time) == (experiment_id, TraceState.ERROR, 5)
    assert (found.tags["a"], found.tags["b"], found.request_preview) == ("1", "2", "first")
    assert (found.trace_metadata["m"], found.trace_metadata["n"]) == ("1", "2")
    assert [one.trace_id for one in tracking.search_traces(["0"])[0]] == []


def test_a_trace_of_the_second_version_is_started_and_ended(tracking: Any) -> None:
    started = tracking.deprecated_start_trace_v2("0", START_MS, {"m": "1"}, {"mlflow.traceName": "old", "t": "1"})
    assert (started.status, started.execution_time_ms, started.experiment_id) == (TraceStatus.IN_PROGRESS, None, "0")
    ended = tracking.deprecated_end_trace_v2(
        started.request_id, START_MS + 25, TraceStatus.OK, {"n": "2"}, {"t": "2", "mlflow.traceName": "new"}
    )
    assert (ended.status, ended.execution_time_ms) == (TraceStatus.OK, 25)
    found = tracking.get_trace_info(started.request_id)
    assert found.trace_metadata == {"m": "1", "n": "2"}
    assert (found.tags["t"], found.tags["mlflow.traceName"]) == ("2", "new")
    with pytest.raises(MlflowTracingException, match="not stored in tracking store"):
        tracking.get_trace(started.request_id)


# --- spans ---


def test_spans_make_a_trace(tracking: Any) -> None:
    spans = [
        span(1, 2, 1, name="model", kind="CHAT_MODEL", start_ms=START_MS + 2, end_ms=START_MS + 8, x="größe"),
        span(1, 1, name="root", kind="CHAIN", mlflow__spanInputs={"q": "hi"}, mlflow__spanOutputs="there"),
    ]
    assert tracking.log_spans("0", spans) == spans
    found = tracking.get_trace(ONE)
    assert names(found) == ["root", "model"]
    assert [one.to_dict() for one in found.data.spans] == [one.to_dict() for one in reversed(spans)]
    assert info_as_dict(found.info) == {
        "trace_id": ONE,
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}},
        "request_time": "2023-11-14T22:13:20Z",
        "execution_duration_ms": 10,
        "state": "OK",
        "request_preview": '{"q": "hi"}',
        "response_preview": '"there"',
        "tags": LOCATION,
        "trace_metadata": {},
    }


def test_spans_of_several_traces_are_logged_in_one_call_and_asynchronously(tracking: Any) -> None:
    spans = [span(number, 1, name=f"root {number}") for number in (1, 2, 3)]
    assert asyncio.run(tracking.log_spans_async("0", spans)) == spans
    assert tracking.log_spans("0", []) == []
    found = tracking.batch_get_traces([trace_id_of(3), "tr-none", ONE])
    assert [names(trace) for trace in found] == [["root 3"], ["root 1"]]


def test_spans_are_not_logged_in_a_missing_experiment(tracking: Any) -> None:
    with raises("RESOURCE_DOES_NOT_EXIST"):
        tracking.log_spans("123456", [span(1, 1)])


def test_a_trace_without_its_root_is_in_progress_and_extends_with_its_spans(tracking: Any) -> None:
    tracking.log_spans("0", [span(1, 2, 1, start_ms=START_MS + 5, end_ms=None)])
    found = tracking.get_trace_info(ONE)
    assert (found.state, found.request_time, found.execution_duration) == (TraceState.IN_PROGRESS, START_MS + 5, None)
    tracking.log_spans("0", [span(1, 2, 1, start_ms=START_MS + 5, end_ms=START_MS + 9)])
    tracking.log_spans("0", [span(1, 3, 1, start_ms=START_MS + 3, end_ms=START_MS + 4)])
    found = tracking.get_trace_info(ONE)
    assert (found.state, found.request_time, found.execution_duration) == (TraceState.IN_PROGRESS, START_MS + 3, 6)
    tracking.log_spans("0", [span(1, 1, status="ERROR", end_ms=START_MS + 20)])
    found = tracking.get_trace_info(ONE)
    assert (found.state, found.request_time, found.execution_duration) == (TraceState.ERROR, START_MS, 20)
    assert len(tracking.get_trace(ONE).data.spans) == 3


@pytest.mark.parametrize("first", ["spans", "info"])
def test_the_info_of_a_trace_overrides_what_its_spans_say_in_either_order(tracking: Any, first: str) -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    spans = [
        span(1, 1, end_ms=START_MS + 99, mlflow__spanInputs="seen", mlflow__chat__tokenUsage=usage, session__id="s-2")
    ]
    metadata = {"mlflow.trace.tokenUsage": '{"input_tokens": 7}', "mlflow.trace.session": "s-1"}
    told = info(1, trace_metadata=metadata, state=TraceState.ERROR, request_preview="said")
    for step in ("spans", "info") if first == "spans" else ("info", "spans"):
        if step == "spans":
            tracking.log_spans("0", spans)
        else:
            tracking.start_trace(told)
    found = tracking.get_trace_info(ONE)
    assert (found.state, found.execution_duration, found.request_preview) == (TraceState.ERROR, 10, "said")
    assert found.trace_metadata["mlflow.trace.session"] == "s-1"
    tokens = json.loads(found.trace_metadata["mlflow.trace.tokenUsage"])
    assert tokens == ({**usage, "input_tokens": 7} if first == "spans" else {"input_tokens": 7})


def test_tokens_and_costs_are_summed_over_spans_and_a_parents_replace_its_childrens(tracking: Any) -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    cost = {"input_cost": 0.25, "output_cost": 0.5, "total_cost": 0.75}
    model: dict[str, Any] = {"mlflow__chat__tokenUsage": usage, "mlflow__llm__cost": cost}
    tracking.log_spans("0", [span(1, 3, 2, **model), span(1, 5, 1, **model)])
    tracking.log_spans("0", [span(1, 2, 1, mlflow__chat__tokenUsage={**usage, "cache_read_input_tokens": 9})])
    tracking.log_spans("0", [span(1, 1)])
    metadata = tracking.get_trace_info(ONE).trace_metadata
    assert json.loads(metadata["mlflow.trace.tokenUsage"]) == {
        "input_tokens": 2,
        "output_tokens": 4,
        "total_tokens": 6,
        "cache_read_input_tokens": 9,
    }
    assert json.loads(metadata["mlflow.trace.cost"]) == {"input_cost": 0.5, "output_cost": 1.0, "total_cost": 1.5}


def test_caller_resource_and_trace_attributes_of_spans_become_metadata_and_tags(tracking: Any) -> None:
    resource = {"service.name": "answers", "telemetry.sdk.name": "x", "mlflow.own": "x", "n": 3}
    root = span(1, 1, resource=resource, user__id="ann", session__id="s-1", mlflow__traceTag__team="nlp")
    tracking.log_spans("0", [root])
    found = tracking.get_trace_info(ONE)
    assert info_as_dict(found)["tags"] == {**LOCATION, "service.name": "answers", "n": "3", "team": "nlp"}
    assert found.trace_metadata == {"mlflow.trace.user": "ann", "mlflow.trace.session": "s-1"}


def test_contents_that_json_cannot_express_are_kept(tracking: Any) -> None:
    from opentelemetry.sdk.trace import Event

    made = span(1, 1, events=[Event("odd", {"value": float("nan")}, 5)], x=float("inf"))
    tracking.log_spans("0", [made])
    (found,) = tracking.get_trace(ONE).data.spans
    assert str(found.to_dict()["events"]) == str(made.to_dict()["events"])
    assert found.to_dict()["attributes"] == made.to_dict()["attributes"]


def test_an_incomplete_trace_is_returned_only_as_a_partial_one(tracking: Any) -> None:
    tracking.log_spans("0", [span(1, 1, name="root")])
    tracking.start_trace(info(1, trace_metadata={"mlflow.trace.sizeStats": '{"num_spans": 2}'}))
    assert names(tracking.get_trace(ONE, allow_partial=True)) == ["root"]
    assert tracking.batch_get_traces([ONE]) == []
    tracking.log_spans("0", [span(1, 2, 1, name="child", start_ms=START_MS + 1)])
    assert names(tracking.get_trace(ONE)) == ["root", "child"]


def test_a_trace_without_spans_in_the_store_returns_none(tracking: Any) -> None:
    tracking.start_trace(info(1))
    with pytest.raises(MlflowTracingException, match="not stored in tracking store"):
        tracking.get_trace(ONE)
    with raises("RESOURCE_DOES_NOT_EXIST"):
        tracking.get_trace("tr-none")
    with raises("RESOURCE_DOES_NOT_EXIST"):
        tracking.get_trace_info("tr-none")


def test_infos_are_returned_in_batches_within_the_requested_experiments(tracking: Any) -> None:
    experiment_id = tracking.create_experiment("another")
    for number in (1, 2, 3):
        tracking.log_spans(experiment_id if number == 2 else "0", [span(number, 1)])
    ids = [trace_id_of(number) for number in (3, 2, 1)]
    assert [one.trace_id for one in tracking.batch_get_trace_infos([*ids, "tr-none"])] == ids
    assert [one.trace_id for one in tracking.batch_get_trace_infos(ids, experiment_ids=[experiment_id])] == ids[1:2]
    assert [one.info.trace_id for one in tracking.batch_get_traces(ids, experiment_ids=["0"])] == [ids[0], ids[2]]
    assert tracking.batch_get_trace_infos([]) == tracking.batch_get_traces([]) == []


# --- changing ---


def test_tags_are_set_replaced_and_deleted(tracking: Any) -> None:
    tracking.start_trace(info(1, tags={"mlflow.traceName": "first"}))
    tracking.set_trace_tag(ONE, "team", "nlp")
    tracking.set_trace_tag(ONE, "team", "vision")
    tracking.set_trace_tag(ONE, "mlflow.traceName", "second")
    found = tracking.get_trace_info(ONE)
    assert (found.tags["team"], found.tags["mlflow.traceName"]) == ("vision", "second")
    tracking.delete_trace_tag(ONE, "team")
    tracking.delete_trace_tag(ONE, "mlflow.traceName")
    assert not {"team", "mlflow.traceName"} & tracking.get_trace_info(ONE).tags.keys()
    for key in ("team", "mlflow.traceName"):
        with raises("RESOURCE_DOES_NOT_EXIST"):
            tracking.delete_trace_tag(ONE, key)
    with raises("RESOURCE_DOES_NOT_EXIST"):
        tracking.delete_trace_tag("tr-none", "team")
    with raises("INVALID_PARAMETER_VALUE"):
        tracking.set_trace_tag(ONE, "no\nname", "x")


def test_a_tag_on_a_missing_trace_is_refused(tracking: Any) -> None:
    with pytest.raises(MlflowException):
        tracking.set_trace_tag("tr-none", "team", "nlp")


def test_traces_are_linked_to_a_run_before_and_after_they_arrive(tracking: Any) -> None:
    tracking.log_spans("0", [span(1, 1)])
    ids = [trace_id_of(number) for number in (1, 2)]
    for _ in range(2):
        tracking.link_traces_to_run(ids, "run-1")
    tracking.link_traces_to_run([], "run-1")
    tracking.log_spans("0", [span(2, 1), span(3, 1)])
    found, _ = tracking.search_traces(["0"], "attributes.run_id = 'run-1'")
    assert {one.trace_id for one in found} == set(ids)
    with raises("INVALID_PARAMETER_VALUE"):
        tracking.link_traces_to_run(["tr"] * 101, "run-1")


def test_prompts_are_linked_to_a_trace(tracking: Any) -> None:
    prompts = [prompt("greeting", version) for version in (1, 2)]
    with raises("RESOURCE_DOES_NOT_EXIST"):
        tracking.link_prompts_to_trace("tr-none", prompts)
    tracking.start_trace(info(1))
    tracking.start_trace(info(2))
    tracking.link_prompts_to_trace(ONE, prompts)
    tracking.link_prompts_to_trace(ONE, prompts)
    tracking.link_prompts_to_trace(ONE, [])
    found, _ = tracking.search_traces(["0"], 'prompt = "greeting/2"')
    assert [one.trace_id for one in found] == [ONE]
    assert tracking.search_traces(["0"], 'prompt = "greeting/3"')[0] == []


# --- deleting ---


def three(tracking: Any) -> list[str]:
    for number in (1, 2, 3):
        tracking.start_trace(info(number, request_time=START_MS + number))
    return [trace_id_of(number) for number in (1, 2, 3)]


def left(tracking: Any) -> list[str]:
    return [one.trace_id for one in reversed(tracking.search_traces(["0"])[0])]


def test_traces_are_deleted_by_id(tracking: Any) -> None:
    ids = three(tracking)
    tracking.create_experiment("another")
    assert tracking.delete_traces("0", trace_ids=[ids[0], ids[2], "tr-none"]) == 2
    assert left(tracking) == ids[1:2]
    assert tracking.delete_traces("0", trace_ids=ids[:1]) == 0
    assert tracking.delete_traces("1", trace_ids=ids[1:2]) == 0
    assert left(tracking) == ids[1:2]


def test_traces_are_deleted_by_time_the_oldest_first(tracking: Any) -> None:
    ids = three(tracking)
    assert tracking.delete_traces("0", max_timestamp_millis=START_MS + 2, max_traces=1) == 1
    assert left(tracking) == ids[1:]
    assert tracking.delete_traces("0", max_timestamp_millis=START_MS + 2) == 1
    assert left(tracking) == ids[2:]


@pytest.mark.parametrize(
    "criteria",
    [
        {},
        {"trace_ids": []},
        {"trace_ids": ["a"], "max_timestamp_millis": 5},
        {"trace_ids": ["a"], "max_traces": 5},
        {"max_timestamp_millis": 5, "max_traces": 0},
    ],
)
def test_traces_to_delete_are_given_by_exactly_one_criterion(tracking: Any, criteria: dict[str, Any]) -> None:
    with raises("INVALID_PARAMETER_VALUE"):
        tracking.delete_traces("0", **criteria)


def test_a_deleted_trace_can_be_logged_again(tracking: Any) -> None:
    tracking.log_spans("0", [span(1, 1, name="old"), span(1, 2, 1)])
    tracking.set_trace_tag(ONE, "team", "nlp")
    tracking.delete_traces("0", trace_ids=[ONE])
    with raises("RESOURCE_DOES_NOT_EXIST"):
        tracking.get_trace_info(ONE)
    tracking.log_spans("0", [span(1, 1, name="new")])
    found = tracking.get_trace(ONE)
    assert names(found) == ["new"]
    assert "team" not in found.info.tags


# --- ours alone ---


def test_another_store_object_on_the_same_folder_sees_everything_immediately(tmp_path: Path) -> None:
    from mltrack.mlflow_plugin.tracking import TrackingStore

    tracking, other = (TrackingStore(f"mltrack://{tmp_path}/.mltrack") for _ in range(2))
    for number in (1, 2, 3):
        (tracking if number % 2 else other).log_spans("0", [span(1, number, 1 if number > 1 else None)])
        assert len(other.get_trace(ONE).data.spans) == len(tracking.get_trace(ONE).data.spans) == number
    other.set_trace_tag(ONE, "by", "other")
    assert tracking.get_trace_info(ONE).tags["by"] == "other"


def test_attachments_of_a_trace_are_files_in_the_store(tmp_path: Path) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    from mltrack.mlflow_plugin.tracking import TrackingStore

    store = TrackingStore(f"mltrack://{tmp_path}/store")
    place = store.start_trace(info(1)).tags["mlflow.artifactLocation"]
    (tmp_path / "picture.png").write_bytes(b"picture")
    get_artifact_repository(place).log_artifact(tmp_path / "picture.png")
    folder = store._store.layout.trace_folder("0").files(ONE)
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("picture.png", b"picture")]


def test_a_lone_surrogate_in_a_span_is_kept(tmp_path: Path) -> None:
    from mltrack.mlflow_plugin.tracking import TrackingStore

    store = TrackingStore(f"mltrack://{tmp_path}/store")
    store.log_spans("0", [span(1, 1, name="half \ud800")])
    assert names(store.get_trace(ONE)) == ["half \ud800"]


def test_links_to_a_run_can_be_removed(store_uri: str, tracking: Any) -> None:
    tracking.start_trace(info(1))
    tracking.link_traces_to_run([ONE], "run-1")
    if not store_uri.startswith("mltrack:"):
        with pytest.raises(NotImplementedError):
            tracking.unlink_traces_from_run([ONE], "run-1")
        return
    tracking.unlink_traces_from_run([ONE], "run-1")
    assert tracking.search_traces(["0"], "attributes.run_id = 'run-1'")[0] == []


def test_a_moved_store_gives_its_new_place_for_attachments(tmp_path: Path) -> None:
    from mltrack.mlflow_plugin.tracking import TrackingStore

    before = TrackingStore(f"mltrack://{tmp_path}/one")
    before.start_trace(info(1))
    before._store.traces.close()
    (tmp_path / "one").rename(tmp_path / "two")
    found = TrackingStore(f"mltrack://{tmp_path}/two").get_trace_info(ONE)
    assert found.tags["mlflow.artifactLocation"] == f"{tmp_path}/two/artifacts/0/traces/{ONE}/artifacts"
