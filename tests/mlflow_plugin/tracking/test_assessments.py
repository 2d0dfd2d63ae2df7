"""Assessments: made, read, changed, overridden and deleted, on both stores with the same assertions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import AssessmentError, AssessmentSource, Expectation, Feedback, IssueReference
from mlflow.entities.assessment import ExpectationValue, FeedbackValue
from mlflow.entities.trace_metrics import AggregationType, MetricAggregation, MetricViewType

from mltrack.mlflow_plugin.tracking import TrackingStore
from mltrack.mlflow_plugin.tracking.shown_assessments import LOOKED_UP_MAX
from tests.support.plugin.codes import raises
from tests.support.plugin.traced import START_MS, info, trace_id_of

ONE = trace_id_of(1)
HUMAN = AssessmentSource("HUMAN", "ann@example.com")
TIMES: dict[str, Any] = {"create_time_ms": START_MS, "last_update_time_ms": START_MS + 1}


@pytest.fixture
def traced(tracking: Any) -> Any:
    """A store with one trace."""
    tracking.start_trace(info(1))
    return tracking


def feedback(name: str = "good", value: Any = True, **fields: Any) -> Feedback:
    return Feedback(name=name, value=value, source=HUMAN, trace_id=ONE, **fields)


def ids(store: Any) -> set[str]:
    return {one.assessment_id for one in store.get_trace_info(ONE).assessments}


@pytest.mark.parametrize(
    "made",
    [
        feedback(rationale="why", metadata={"m": "1"}, span_id="a1", **TIMES),
        feedback(value={"nested": [1, None, "größe"]}, **TIMES),
        feedback(value=None, error=AssessmentError("TIMEOUT", "too slow", "line 1\nline 2"), **TIMES),
        feedback(value=float("inf"), **TIMES),
        Expectation(name="answer", value={"text": "größe"}, source=HUMAN, trace_id=ONE, metadata={"m": "1"}, **TIMES),
        IssueReference(issue_id="iss-1", issue_name="slow", source=HUMAN, trace_id=ONE, run_id="r", **TIMES),
    ],
    ids=["feedback", "nested", "error", "infinite", "expectation", "issue"],
)
def test_an_assessment_is_returned_as_created(traced: Any, made: Any) -> None:
    made.assessment_id = None
    returned = traced.create_assessment(made)
    found = traced.get_assessment(ONE, returned.assessment_id)
    (told,) = traced.get_trace_info(ONE).assessments
    assert found == returned == told
    assert type(found) is type(made)
    for name in ("name", "value", "source", "trace_id", "span_id", "rationale", "metadata", "run_id"):
        assert getattr(found, name, None) == getattr(made, name, None)
    assert found.valid is True
    assert (found.create_time_ms, found.last_update_time_ms) == (START_MS, START_MS + 1)
    assert found.assessment_id.startswith("a-")


def test_an_assessment_needs_a_trace_and_a_unique_id(traced: Any) -> None:
    made = traced.create_assessment(feedback())
    again = feedback()
    again.assessment_id = made.assessment_id
    with raises("INTERNAL_ERROR"):
        traced.create_assessment(again)
    nowhere = feedback()
    nowhere.trace_id = "tr-none"
    with raises("RESOURCE_DOES_NOT_EXIST"):
        traced.create_assessment(nowhere)
    assert ids(traced) == {made.assessment_id}


def test_what_does_not_exist_is_not_found(traced: Any) -> None:
    for trace_id in (ONE, "tr-none"):
        with raises("RESOURCE_DOES_NOT_EXIST"):
            traced.get_assessment(trace_id, "a-none")
        with raises("RESOURCE_DOES_NOT_EXIST"):
            traced.update_assessment(trace_id, "a-none", name="x")
        traced.delete_assessment(trace_id, "a-none")


def test_an_overridden_assessment_is_valid_again_when_the_other_is_deleted(traced: Any) -> None:
    old = traced.create_assessment(feedback())
    new = traced.create_assessment(feedback(value=False, overrides=old.assessment_id))
    assert (new.valid, new.overrides) == (True, old.assessment_id)
    assert traced.get_assessment(ONE, old.assessment_id).valid is False
    traced.delete_assessment(ONE, new.assessment_id)
    assert traced.get_assessment(ONE, old.assessment_id).valid is True
    assert ids(traced) == {old.assessment_id}


def test_an_overridden_assessment_must_exist(traced: Any) -> None:
    with raises("RESOURCE_DOES_NOT_EXIST"):
        traced.create_assessment(feedback(overrides="a-none"))
    assert ids(traced) == set()


def test_only_the_given_fields_of_a_feedback_are_changed(traced: Any) -> None:
    made = traced.create_assessment(feedback(rationale="why", metadata={"a": "1", "b": "1"}, span_id="s", **TIMES))
    changed = traced.update_assessment(
        ONE,
        made.assessment_id,
        name="better",
        feedback=feedback(value=None, error=AssessmentError("E", "no")).feedback,
        metadata={"b": "2"},
    )
    found = traced.get_assessment(ONE, made.assessment_id)
    assert found.to_dictionary() == changed.to_dictionary()
    assert (found.name, found.value, found.error.error_code, found.rationale) == ("better", None, "E", "why")
    assert (found.metadata, found.source, found.span_id) == ({"a": "1", "b": "2"}, HUMAN, "s")
    assert found.create_time_ms == START_MS
    assert found.last_update_time_ms > START_MS + 1
    found = traced.update_assessment(ONE, made.assessment_id, feedback=FeedbackValue(value=0.5), rationale="since")
    assert (found.value, found.error, found.rationale) == (0.5, None, "since")


def test_a_changed_expectation_stays_an_expectation(traced: Any) -> None:
    made = traced.create_assessment(Expectation(name="answer", value=1, source=HUMAN, trace_id=ONE))
    changed = traced.update_assessment(ONE, made.assessment_id, expectation=ExpectationValue(value=[2]))
    assert (changed.value, changed.name, type(changed)) == ([2], "answer", Expectation)
    with raises("INVALID_PARAMETER_VALUE"):
        traced.update_assessment(ONE, made.assessment_id, feedback=FeedbackValue(value=1))
    with raises("INVALID_PARAMETER_VALUE"):
        traced.update_assessment(
            ONE, made.assessment_id, feedback=FeedbackValue(value=1), expectation=ExpectationValue(value=1)
        )


def test_a_feedback_cannot_become_an_expectation(traced: Any) -> None:
    made = traced.create_assessment(feedback())
    with raises("INVALID_PARAMETER_VALUE"):
        traced.update_assessment(ONE, made.assessment_id, expectation=ExpectationValue(value=1))


def test_changing_an_overridden_assessment_leaves_it_overridden(traced: Any) -> None:
    old = traced.create_assessment(feedback())
    traced.create_assessment(feedback(overrides=old.assessment_id))
    assert traced.update_assessment(ONE, old.assessment_id, rationale="x").valid is False
    assert traced.get_assessment(ONE, old.assessment_id).valid is False


def test_a_trace_includes_its_assessments(tracking: Any) -> None:
    brought = feedback(**TIMES)
    brought.trace_id = None
    tracking.log_spans("0", [])
    tracking.start_trace(info(1, assessments=[brought]))
    (found,) = tracking.get_trace_info(ONE).assessments
    assert (found.name, found.value, found.trace_id) == ("good", True, ONE)
    tracking.start_trace(info(1, assessments=[feedback("second")]))
    assert {one.name for one in tracking.get_trace_info(ONE).assessments} == {"good", "second"}


@pytest.fixture
def evaluated(traced: Any) -> tuple[Any, str]:
    """A store whose trace a person and an evaluation run assessed, and the run's id."""
    run_id: str = traced.create_run("0", "ann", START_MS, [], "evaluation").info.run_id
    traced.create_assessment(feedback("kind", 1.0))
    traced.create_assessment(feedback("score", 0.5, metadata={"mlflow.assessment.sourceRunId": run_id}))
    return traced, run_id


def told_of(store: Any) -> list[list[str]]:
    """The names of the assessments, as each way of reading tells them."""
    count = MetricAggregation(AggregationType.COUNT)
    searches = {name: store.search_traces(["0"], f"feedback.{name} IS NOT NULL")[0] for name in ("kind", "score")}
    points = store.query_trace_metrics(
        ["0"], MetricViewType.ASSESSMENTS, "assessment_count", [count], dimensions=["assessment_name"]
    )
    return [
        sorted(one.name for one in store.get_trace_info(ONE).assessments),
        sorted(one.name for one in store.search_traces(["0"])[0][0].assessments),
        [name for name, found in searches.items() if found],
        sorted(point.dimensions["assessment_name"] for point in points),
    ]


def test_what_a_deleted_run_assessed_does_not_count(evaluated: tuple[Any, str]) -> None:
    store, run_id = evaluated
    assert told_of(store) == [["kind", "score"]] * 4
    made = next(one for one in store.get_trace_info(ONE).assessments if one.name == "score")
    store.delete_run(run_id)
    assert told_of(store) == [["kind"]] * 4
    with raises("RESOURCE_DOES_NOT_EXIST"):
        store.get_assessment(ONE, made.assessment_id)


def test_what_a_restored_run_assessed_counts_again(evaluated: tuple[Any, str], kind: str) -> None:
    store, run_id = evaluated
    store.delete_run(run_id)
    store.restore_run(run_id)
    names = ["kind", "score"] if kind == "mltrack" else ["kind"]  # MLflow's store has it removed for good
    assert told_of(store) == [names] * 4


def test_what_a_run_assessed_is_gone_with_the_run(evaluated: tuple[Any, str]) -> None:
    store, run_id = evaluated
    store.delete_run(run_id)
    store._hard_delete_run(run_id)
    assert told_of(store) == [["kind"]] * 4


def test_of_many_evaluations_only_those_of_deleted_runs_are_left_out(tmp_path: Path) -> None:
    traced: Any = TrackingStore(f"mltrack://{tmp_path}/.mltrack")
    traced.start_trace(info(1))
    runs = [traced.create_run("0", "ann", START_MS, [], f"e-{n}").info.run_id for n in range(LOOKED_UP_MAX + 2)]
    for number, run_id in enumerate(runs):
        traced.create_assessment(feedback(f"n{number}", metadata={"mlflow.assessment.sourceRunId": run_id}))
    traced.delete_run(runs[0])
    traced.delete_run(runs[-1])
    told = {one.name for one in traced.get_trace_info(ONE).assessments}
    assert told == {f"n{number}" for number in range(1, len(runs) - 1)}
