"""Searching traces: each filter and order gives the same traces on both stores."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import AssessmentSource, Expectation, Feedback, IssueReference, TraceState

from mltrack.storage.traces.index import SAVED_MIN
from mltrack.storage.traces.index_file import index_path
from tests.support.plugin.codes import raises
from tests.support.plugin.traced import START_MS, info, prompt, span, trace_id_of
from tests.support.plugin.versions import differs_since

HUMAN = AssessmentSource("HUMAN", "ann")
CHEAP = '{"total_cost": 0.5}'
TOKENS = '{"input_tokens": 1, "total_tokens": 3}'


def fill(store: Any) -> None:
    """Five traces, the fifth in another experiment; each begins 10 ms after the one before."""
    fields: list[dict[str, Any]] = [
        {
            "tags": {"mlflow.traceName": "answer", "team": "nlp", "a b": "x"},
            "trace_metadata": {"mlflow.trace.session": "s-1", "mlflow.sourceRun": "run-1", "mlflow.trace.cost": CHEAP},
            "client_request_id": "mine",
        },
        {
            "tags": {"mlflow.traceName": "Answer", "team": "vision"},
            "trace_metadata": {"mlflow.trace.session": "s-1", "size": "XL", "mlflow.trace.tokenUsage": TOKENS},
            "state": TraceState.ERROR,
            "execution_duration": 500,
        },
        {"tags": {"team": "NLP\nand more"}, "execution_duration": None, "state": TraceState.IN_PROGRESS},
        {"tags": {"mlflow.traceName": "50%_done"}, "trace_metadata": {"mlflow.modelId": "m-1", "size": "XS"}},
    ]
    for number, given in enumerate(fields, 1):
        store.start_trace(info(number, request_time=START_MS + 10 * number, **given))
    store.start_trace(info(5, store.create_experiment("another"), request_time=START_MS + 50))
    first: dict[str, Any] = {"start_ms": START_MS + 10, "end_ms": START_MS + 20}
    store.log_spans("0", [span(1, 1, name="root", kind="CHAIN", **first, mlflow__spanInputs={"q": "größe"})])
    model: dict[str, Any] = {"mlflow__llm__model": "gpt-4", "mlflow__spanOutputs": "a 100% answer", **first}
    store.log_spans("0", [span(1, 2, 1, name="model", kind="LLM", status="ERROR", **model)])
    long_ago: dict[str, Any] = {"start_ms": START_MS - 60_000, "mlflow__chat__tokenUsage": {"input_tokens": 5}}
    store.log_spans("0", [span(2, 1, name="root", kind="AGENT", mlflow__llm__model="gpt-3", **long_ago)])
    assess(store)
    store.link_traces_to_run([trace_id_of(4)], "run-1")
    store.link_prompts_to_trace(trace_id_of(2), [prompt("greet", 1)])


def assess(store: Any) -> None:
    def add(number: int, kind: Any, name: str, value: Any, **fields: Any) -> Any:
        return store.create_assessment(
            kind(name=name, value=value, source=HUMAN, trace_id=trace_id_of(number), **fields)
        )

    add(1, Feedback, "score", 0.8)
    add(2, Feedback, "score", 3)
    old = add(4, Feedback, "score", 9)
    add(4, Feedback, "score", "7", overrides=old.assessment_id)
    add(3, Feedback, "good", True)
    add(4, Feedback, "good", "yes")
    add(1, Feedback, "whole", "fine", metadata={"mlflow.trace.session": "s-1"})
    add(3, Expectation, "answer", {"text": "größe"})
    store.create_assessment(IssueReference(issue_id="iss-1", issue_name="slow", source=HUMAN, trace_id=trace_id_of(3)))


def fill_until_saved(store: Any) -> None:
    """So many more traces, in an experiment of their own, that the next reader saves the index."""
    experiment_id = store.create_experiment("many")
    for number in range(6, SAVED_MIN + 6):
        given: dict[str, Any] = {"tags": {"team": "nlp"}, "trace_metadata": {"size": "XL"}}
        store.start_trace(info(number, experiment_id, request_time=START_MS + number % 60, **given))


@pytest.fixture(scope="module", params=["mltrack", "mltrack, saved", "sql"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Both stores, filled once; ours also as a later process finds it, which begins with the saved index."""
    folder = tmp_path_factory.mktemp("filled")
    store: Any
    if request.param != "sql":
        from mltrack.mlflow_plugin.tracking import TrackingStore

        store = TrackingStore(f"mltrack://{folder}/.mltrack")
        fill(store)
        if request.param == "mltrack, saved":
            fill_until_saved(store)
            for _ in range(2):
                store = TrackingStore(f"mltrack://{folder}/.mltrack")
                store.search_traces(["0"])
            assert index_path(folder / ".mltrack").exists()
        yield store
    else:
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        database: Path = request.getfixturevalue("empty_database")
        shutil.copy(database, folder / "mlflow.db")
        store = SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts"))
        fill(store)
        yield store
        store._dispose_engine()


def numbers(store: Any, filter_string: str | None = None, **arguments: Any) -> list[int]:
    arguments.setdefault("experiment_ids", ["0"])
    return [int(one.trace_id[3:], 16) for one in store.search_traces(filter_string=filter_string, **arguments)[0]]


FILTERS: dict[str, list[int]] = {
    "": [4, 3, 2, 1],
    # attributes
    "status = 'OK'": [4, 1],
    "trace.status != 'OK'": [3, 2],
    "attributes.status IN ('ERROR', 'IN_PROGRESS')": [3, 2],
    "status NOT IN ('ERROR')": [4, 3, 1],
    "status LIKE '%R%'": [3, 2],
    "status ILIKE 'err%'": [2],
    "status RLIKE '^(OK|ERR)'": [4, 2, 1],
    f"timestamp > {START_MS + 20}": [4, 3],
    f"timestamp_ms >= {START_MS + 20} AND timestamp_ms < {START_MS + 40}": [3, 2],
    f"trace.timestamp = {START_MS + 20}": [2],
    "execution_time >= 500": [2],
    "execution_time_ms < 500": [4, 1],
    "execution_time != 10": [2],
    f"end_time > {START_MS + 100}": [2],
    f"end_time_ms = {START_MS + 30}": [3],
    "client_request_id = 'mine'": [1],
    "client_request_id != 'yours'": [1],
    f"request_id = '{trace_id_of(3)}'": [3],
    f"request_id IN ('{trace_id_of(3)}', '{trace_id_of(1)}')": [3, 1],
    # tags
    "name = 'answer'": [1],
    "name ILIKE 'ANSWER'": [2, 1],
    "trace.name LIKE '50\\%%'": [],
    "name LIKE '50%_done'": [4],
    "tags.mlflow.traceName LIKE '%swer'": [2, 1],
    "tag.team = 'nlp'": [1],
    "tags.team != 'nlp'": [3, 2],
    "tags.team LIKE 'N%more'": [3],
    "tags.team ILIKE 'nlp%'": [3, 1],
    "tags.team LIKE '%v_sion%'": [2],
    "tags.team RLIKE 'and'": [3],
    "tags.team RLIKE '('": [],
    "tags.`a b` = 'x'": [1],
    "tags.team IS NULL": [4],
    "tags.team IS NOT NULL AND name IS NOT NULL": [2, 1],
    "name IS NULL": [3],
    # metadata
    "metadata.size = 'XL'": [2],
    "request_metadata.size LIKE 'X%'": [4, 2],
    "metadata.size IS NULL": [3, 1],
    "metadata.size IS NOT NULL": [4, 2],
    "request_metadata.`mlflow.modelId` = 'm-1'": [4],
    "metadata.`mlflow.trace.session` = 's-1'": [2, 1],
    "metadata.mlflow.trace.session IS NULL": [4, 3],
    "metadata.`mlflow.trace.session` LIKE 's%'": [2, 1],
    f"metadata.`mlflow.trace.tokenUsage` = '{TOKENS}'": [2],
    "metadata.`mlflow.trace.tokenUsage` != '{}'": [2],
    "metadata.`mlflow.trace.tokenUsage` IS NULL": [4, 3, 1],
    f"metadata.`mlflow.trace.cost` = '{CHEAP}'": [1],
    "metadata.`mlflow.trace.cost` IS NOT NULL": [1],
    "metadata.mlflow.trace.infoFinalized = 'true'": [4, 3, 2, 1],
    # runs and prompts
    "run_id = 'run-1'": [4, 1],
    "attributes.run_id = 'run-2'": [],
    "metadata.mlflow.sourceRun = 'run-1'": [4, 1],
    "prompt = 'greet/1'": [2],
    "prompt = 'greet/2'": [],
    # spans
    "span.name = 'root'": [2, 1],
    "span.name != 'root'": [1],
    "span.name IN ('model', 'tool')": [1],
    "span.type = 'AGENT'": [2],
    "span.status = 'ERROR'": [1],
    "span.type = 'LLM' AND span.status = 'ERROR'": [1],
    "span.type = 'CHAIN' AND span.status = 'ERROR'": [],
    "span.name ILIKE 'MOD%'": [1],
    "span.name RLIKE '^r'": [2, 1],
    "span.attributes.mlflow.llm.model LIKE '%gpt%'": [2, 1],
    "span.attributes.mlflow.llm.model LIKE '%gpt-4%'": [1],
    "span.attributes.`mlflow.llm.model` ILIKE '%GPT-3%'": [2],
    "span.attributes.mlflow.llm.model RLIKE 'gpt-[34]'": [2, 1],
    "span.attributes.mlflow.llm.model = 'gpt-4'": [],
    "span.attributes.mlflow.llm.model != 'gpt-4'": [2, 1],
    "span.attributes.mlflow.llm.model LIKE '%gpt%' AND span.type = 'AGENT'": [2],
    f"span.name = 'root' AND timestamp >= {START_MS}": [1],
    "trace.text LIKE '%größe%'": [1],
    "trace.text ILIKE '%A 100% ANSWER%'": [1],
    "trace.text LIKE '%100_ answer%'": [1],
    "trace.text LIKE '%nowhere%'": [],
    "span.content LIKE '%spanType%' AND status = 'ERROR'": [2],
    # assessments
    "feedback.score > 0.5": [2, 1],
    "feedback.score >= 3": [2],
    "feedback.score < 1": [1],
    "feedback.score = '0.8'": [1],
    "feedback.score = '7'": [4],
    "feedback.score != '3'": [4, 1],
    "feedback.score IS NULL": [3],
    "feedback.score IS NOT NULL": [4, 2, 1],
    "feedback.good = 'true'": [3],
    "feedback.good = 'yes'": [4],
    "feedback.good > 0": [],
    "feedback.whole = 'fine'": [2, 1],
    "feedback.whole IS NULL": [4, 3],
    "feedback.whole LIKE '%in%'": [2, 1],
    "expectation.answer LIKE '%text%'": [3],
    "expectation.score IS NOT NULL": [],
    "issue.id = 'iss-1'": [3],
    "issue.id = 'iss-2'": [],
    # several
    "status = 'OK' AND tags.team = 'nlp' AND span.type = 'LLM' AND feedback.score < 1": [1],
}


@pytest.mark.parametrize("filter_string", FILTERS)
def test_a_filter_finds_the_expected_traces(filled: Any, filter_string: str) -> None:
    assert numbers(filled, filter_string) == FILTERS[filter_string]


@pytest.mark.parametrize(
    "filter_string",
    [
        "status",
        "status = OK",
        "nothing = 'x'",
        "params.a = 'x'",
        "status > 'OK'",
        "tags.team IN ('nlp')",
        "timestamp LIKE '5'",
        "execution_time IN ('5')",
        "status = 'OK' OR status = 'ERROR'",
        "prompt LIKE 'greet/%'",
        "prompt = 'greet'",
        "span.duration = '5'",
        "span.content = 'x'",
        "span.attributes. = 'x'",
        "feedback.score > 'x'",
        "feedback.score = 5",
        "issue.severity = 'x'",
        "issue.id LIKE 'x'",
        "metadata.`mlflow.trace.cost` LIKE '%'",
    ],
)
def test_an_invalid_filter_is_refused(filled: Any, filter_string: str) -> None:
    with raises("INVALID_PARAMETER_VALUE"):
        filled.search_traces(["0"], filter_string)


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [
        (["timestamp"], [1, 2, 3, 4]),
        (["timestamp_ms DESC"], [4, 3, 2, 1]),
        (["attributes.execution_time"], [4, 1, 2, 3]),
        (["execution_time_ms DESC", "timestamp ASC"], [2, 1, 4, 3]),
        (["status", "request_id DESC"], [2, 3, 4, 1]),
        (["name"], [4, 2, 1, 3]),
        (["trace.name DESC"], [1, 2, 4, 3]),
        (["tags.team"], [3, 1, 2, 4]),
        (["tag.team DESC"], [2, 1, 3, 4]),
        (["metadata.size"], [2, 4, 3, 1]),
        (["metadata.`mlflow.trace.session` DESC"], [2, 1, 4, 3]),
        (["run_id"], [1, 4, 3, 2]),
        (["experiment_id"], [4, 3, 2, 1]),
        (["request_id"], [1, 2, 3, 4]),
    ],
)
def test_traces_are_returned_in_the_expected_order(filled: Any, order_by: list[str], expected: list[int]) -> None:
    assert numbers(filled, order_by=order_by) == expected


@pytest.mark.parametrize(
    "order_by", ["nothing", "status SIDEWAYS", "feedback.score", "span.name", "metadata.`mlflow.trace.cost`"]
)
def test_an_invalid_order_is_refused(filled: Any, order_by: str) -> None:
    with raises("INVALID_PARAMETER_VALUE"):
        filled.search_traces(["0"], order_by=[order_by])


def test_a_repeated_order_is_refused(filled: Any) -> None:
    with raises("INTERNAL_ERROR"):
        filled.search_traces(["0"], order_by=["status", "trace.status DESC"])


def test_pages_are_consecutive(filled: Any) -> None:
    differs_since("3.18", filled, "a last page that is full has no token")
    pages, token = [], None
    for _ in range(3):
        found, token = filled.search_traces(["0"], max_results=2, page_token=token, order_by=["timestamp"])
        pages.append([int(one.trace_id[3:], 16) for one in found])
    assert pages == [[1, 2], [3, 4], []]
    assert token is None
    assert filled.search_traces(["0"], max_results=5)[1] is None
    with raises("INVALID_PARAMETER_VALUE"):
        filled.search_traces(["0"], page_token="nonsense")


@pytest.mark.parametrize("max_results", [0, -1, 50_001])
def test_invalid_page_sizes_are_refused(filled: Any, max_results: int) -> None:
    with raises("INVALID_PARAMETER_VALUE"):
        filled.search_traces(["0"], max_results=max_results)


def test_a_search_is_limited_to_the_requested_experiments(filled: Any) -> None:
    another = filled.get_experiment_by_name("another").experiment_id
    assert numbers(filled, experiment_ids=[another]) == [5]
    assert numbers(filled, experiment_ids=None, locations=[another, "0"]) == [5, 4, 3, 2, 1]
    assert [number for number in numbers(filled, experiment_ids=None, max_results=500) if number <= 5] == [
        5,
        4,
        3,
        2,
        1,
    ]
    assert numbers(filled, experiment_ids=["4711"]) == []
    with raises("INVALID_PARAMETER_VALUE"):
        filled.search_traces(["0"], locations=["0"])
    with raises("INVALID_PARAMETER_VALUE"):
        filled.search_traces(locations=["catalog.schema"])


def test_found_traces_are_returned_with_all_their_data(filled: Any) -> None:
    for found in filled.search_traces(["0"])[0]:
        alone = filled.get_trace_info(found.trace_id)
        assert (found.tags, found.trace_metadata) == (alone.tags, alone.trace_metadata)
        assert {one.assessment_id for one in found.assessments} == {one.assessment_id for one in alone.assessments}


# --- sessions and correlations ---


@pytest.mark.parametrize(
    ("within", "filter_string", "expected"),
    [
        ((START_MS, START_MS + 20), None, [("s-1", START_MS + 10, START_MS + 20)]),
        ((START_MS + 20, START_MS + 20), "", [("s-1", START_MS + 10, START_MS + 20)]),
        ((START_MS + 21, START_MS + 99), None, []),
        ((START_MS, START_MS + 19), None, []),
        ((START_MS, START_MS + 20), "tags.team = 'nlp'", [("s-1", START_MS + 10, START_MS + 20)]),
        ((START_MS, START_MS + 20), "tags.team = 'vision'", []),
    ],
)
def test_sessions_are_complete_when_their_last_trace_is_in_the_interval(
    filled: Any, within: tuple[int, int], filter_string: str | None, expected: list[tuple[str, int, int]]
) -> None:
    found = filled.find_completed_sessions("0", *within, max_results=5, filter_string=filter_string)
    assert [(one.session_id, one.first_trace_timestamp_ms, one.last_trace_timestamp_ms) for one in found] == expected
    assert filled.find_completed_sessions("4711", *within) == []


def test_two_filters_find_their_intersection(filled: Any) -> None:
    found = filled.calculate_trace_filter_correlation(["0"], "status = 'OK'", "feedback.score IS NOT NULL")
    assert (found.filter1_count, found.filter2_count, found.joint_count, found.total_count) == (2, 3, 2, 4)
    assert found.npmi == pytest.approx(math.log(2 * 4 / (2 * 3)) / -math.log(2 / 4))
    found = filled.calculate_trace_filter_correlation(
        ["0"], "status = 'OK'", "feedback.score IS NOT NULL", "tags.team IS NOT NULL"
    )
    assert (found.filter1_count, found.filter2_count, found.joint_count, found.total_count) == (1, 2, 1, 3)
