"""Experiments: made, found, renamed, deleted and restored, on both stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import ExperimentTag, LifecycleStage, RunTag, ViewType
from mlflow.exceptions import MlflowException

from tests.support.plugin.codes import raises


def names(experiments: Any) -> list[str]:
    return [experiment.name for experiment in experiments]


def test_an_experiment_is_returned_as_created(tracking: Any) -> None:
    experiment_id = tracking.create_experiment("segmentation", tags=[ExperimentTag("team", "vision")])
    found = tracking.get_experiment(experiment_id)
    assert isinstance(experiment_id, str)
    assert int(experiment_id) > 0
    assert (found.experiment_id, found.name, found.lifecycle_stage) == (experiment_id, "segmentation", "active")
    assert found.tags == {"team": "vision"}
    assert found.creation_time == found.last_update_time > 1_600_000_000_000
    assert tracking.get_experiment_by_name("segmentation").experiment_id == experiment_id


def test_the_default_experiment_always_exists(tracking: Any) -> None:
    default = tracking.get_experiment("0")
    assert (default.name, default.lifecycle_stage) == ("Default", "active")
    assert default.creation_time > 1_600_000_000_000
    assert tracking.get_experiment(None).experiment_id == "0"


def test_what_does_not_exist_is_not_found(tracking: Any) -> None:
    assert tracking.get_experiment_by_name("nothing") is None
    with raises("RESOURCE_DOES_NOT_EXIST"):
        tracking.get_experiment("123456")
    with raises("INVALID_PARAMETER_VALUE"):
        tracking.get_experiment("abc")
    for call in (tracking.delete_experiment, tracking.restore_experiment):
        with raises("RESOURCE_DOES_NOT_EXIST"):
            call("123456")
    with raises("RESOURCE_DOES_NOT_EXIST"):
        tracking.rename_experiment("123456", "other")


@pytest.mark.parametrize("name", ["", None, 12, "x" * 501])
def test_an_invalid_name_is_refused(tracking: Any, name: Any) -> None:
    with raises("INVALID_PARAMETER_VALUE"):
        tracking.create_experiment(name)


def test_the_name_of_a_deleted_experiment_is_still_taken(tracking: Any) -> None:
    experiment_id = tracking.create_experiment("one")
    with raises("RESOURCE_ALREADY_EXISTS"):
        tracking.create_experiment("one")
    tracking.delete_experiment(experiment_id)
    with raises("RESOURCE_ALREADY_EXISTS"):
        tracking.create_experiment("one")


def test_an_experiment_is_renamed_while_it_is_active(tracking: Any) -> None:
    experiment_id = tracking.create_experiment("one")
    tracking.rename_experiment(experiment_id, "two")
    tracking.rename_experiment(experiment_id, "two")
    assert tracking.get_experiment(experiment_id).name == "two"
    assert tracking.get_experiment_by_name("one") is None
    tracking.delete_experiment(experiment_id)
    with raises("INVALID_STATE"):
        tracking.rename_experiment(experiment_id, "three")


def test_a_name_cannot_be_used_twice(tracking: Any, kind: str) -> None:
    tracking.create_experiment("one")
    other = tracking.create_experiment("two")
    # the SQL store passes on what the database says: BAD_REQUEST
    with raises("RESOURCE_ALREADY_EXISTS" if kind == "mltrack" else "BAD_REQUEST"):
        tracking.rename_experiment(other, "one")


def test_deleting_and_restoring_an_experiment_deletes_and_restores_its_runs(tracking: Any) -> None:
    experiment_id = tracking.create_experiment("one")
    run_ids = {tracking.create_run(experiment_id, "me", 0, [], None).info.run_id for _ in range(3)}
    other = tracking.create_run("0", "me", 0, [], None).info.run_id

    tracking.delete_experiment(experiment_id)
    assert tracking.get_experiment(experiment_id).lifecycle_stage == LifecycleStage.DELETED
    assert {tracking.get_run(run_id).info.lifecycle_stage for run_id in run_ids} == {"deleted"}
    assert tracking.get_run(other).info.lifecycle_stage == "active"
    with raises("RESOURCE_DOES_NOT_EXIST"):
        tracking.delete_experiment(experiment_id)
    with raises("INVALID_PARAMETER_VALUE"):
        tracking.create_run(experiment_id, "me", 0, [], None)
    with raises("INVALID_PARAMETER_VALUE"):
        tracking.set_experiment_tag(experiment_id, ExperimentTag("a", "b"))

    tracking.restore_experiment(experiment_id)
    assert tracking.get_experiment(experiment_id).lifecycle_stage == LifecycleStage.ACTIVE
    assert {tracking.get_run(run_id).info.lifecycle_stage for run_id in run_ids} == {"active"}
    with raises("RESOURCE_DOES_NOT_EXIST"):
        tracking.restore_experiment(experiment_id)


def test_tags_are_set_changed_and_deleted(tracking: Any) -> None:
    experiment_id = tracking.create_experiment("one", tags=[ExperimentTag("a", "1")])
    tracking.set_experiment_tag(experiment_id, ExperimentTag("a", "2"))
    tracking.set_experiment_tag(experiment_id, ExperimentTag("b", "x" * 10_000))
    assert tracking.get_experiment(experiment_id).tags == {"a": "2", "b": "x" * 10_000}
    tracking.delete_experiment_tag(experiment_id, "a")
    assert set(tracking.get_experiment(experiment_id).tags) == {"b"}
    with raises("RESOURCE_DOES_NOT_EXIST"):
        tracking.delete_experiment_tag(experiment_id, "a")
    for tag in (ExperimentTag("", "x"), ExperimentTag("k" * 251, "x"), ExperimentTag("a", "x" * 20_001)):
        with raises("INVALID_PARAMETER_VALUE"):
            tracking.set_experiment_tag(experiment_id, tag)


def test_runs_of_an_experiment_with_an_artifact_location_keep_their_files_in_it(tracking: Any, tmp_path: Path) -> None:
    experiment_id = tracking.create_experiment("one", artifact_location=str(tmp_path / "elsewhere"))
    location = tracking.get_experiment(experiment_id).artifact_location
    assert location == str(tmp_path / "elsewhere")
    run = tracking.create_run(experiment_id, "me", 0, [], None)
    assert run.info.artifact_uri == f"{location}/{run.info.run_id}/artifacts"
    assert tracking.get_run(run.info.run_id).info.artifact_uri == run.info.artifact_uri
    found = tracking.search_runs([experiment_id], "", ViewType.ALL)
    assert [other.info.artifact_uri for other in found] == [run.info.artifact_uri]


def test_an_artifact_location_has_its_scheme_kept(tracking: Any) -> None:
    experiment_id = tracking.create_experiment("one", artifact_location="s3://bucket/folder?x=1")
    run = tracking.create_run(experiment_id, "me", 0, [], None)
    assert run.info.artifact_uri == f"s3://bucket/folder/{run.info.run_id}/artifacts?x=1"


# --- searching ---


@pytest.fixture
def several(tracking: Any) -> Any:
    for name, team in (("alpha", "x"), ("Beta", "y"), ("gamma", None)):
        tags = [ExperimentTag("team", team)] if team else []
        tracking.create_experiment(name, tags=tags)
    return tracking


@pytest.mark.parametrize(
    ("filter_string", "expected"),
    [
        ("", ["Beta", "Default", "alpha", "gamma"]),
        ("name = 'alpha'", ["alpha"]),
        ("attribute.name != 'alpha'", ["Beta", "Default", "gamma"]),
        ("name LIKE '%a'", ["Beta", "alpha", "gamma"]),
        ("name LIKE 'b%'", []),
        ("name ILIKE 'b%'", ["Beta"]),
        ("tags.team = 'x'", ["alpha"]),
        ("tag.team != 'x'", ["Beta"]),
        ("tags.team IS NULL", ["Default", "gamma"]),
        ("tags.team IS NOT NULL", ["Beta", "alpha"]),
        ("tags.team = 'y' AND name ILIKE 'BETA'", ["Beta"]),
        ("creation_time > 0", ["Beta", "Default", "alpha", "gamma"]),
        ("last_update_time < 1000", []),
        ("experiment_id = '0'", ["Default"]),
        ("experiment_id IN ('0', '99')", ["Default"]),
        ("experiment_id != '0'", ["Beta", "alpha", "gamma"]),
    ],
)
def test_a_filter_finds_the_expected(several: Any, filter_string: str, expected: list[str]) -> None:
    found = several.search_experiments(filter_string=filter_string, order_by=["name"])
    assert names(found) == expected


@pytest.mark.parametrize(
    "filter_string",
    [
        "nonsense = 'a'",
        "name > 'a'",
        "tags.team > 'a'",
        "creation_time LIKE 'a'",
        "creation_time > 'a'",
        "experiment_id > '1'",
        "experiment_id = 'abc'",
        "metrics.loss > 1",
        "name = 'a' OR name = 'b'",
    ],
)
def test_an_invalid_filter_is_refused(several: Any, filter_string: str) -> None:
    with raises("INVALID_PARAMETER_VALUE"):
        several.search_experiments(filter_string=filter_string)


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [
        (["name"], ["Beta", "Default", "alpha", "gamma"]),
        (["name DESC"], ["gamma", "alpha", "Default", "Beta"]),
        (["creation_time", "name"], None),
        (["experiment_id"], None),
    ],
)
def test_an_order_is_applied(several: Any, order_by: list[str], expected: list[str] | None) -> None:
    found = several.search_experiments(order_by=order_by)
    if expected is None:
        keys = [
            [int(getattr(e, text)) if text.endswith("id") else getattr(e, text) for text in order_by] for e in found
        ]
        assert len(found) == 4
        assert keys == sorted(keys)
    else:
        assert names(found) == expected


def test_the_latest_comes_first(several: Any) -> None:
    times = [experiment.creation_time for experiment in several.search_experiments()]
    assert times == sorted(times, reverse=True)
    with raises("INVALID_PARAMETER_VALUE"):
        several.search_experiments(order_by=["tags.team"])


def test_views_distinguish_active_from_deleted(several: Any) -> None:
    several.delete_experiment(several.get_experiment_by_name("alpha").experiment_id)
    assert names(several.search_experiments(order_by=["name"])) == ["Beta", "Default", "gamma"]
    assert names(several.search_experiments(ViewType.DELETED_ONLY)) == ["alpha"]
    assert len(several.search_experiments(ViewType.ALL)) == 4


def test_pages_are_consecutive(several: Any) -> None:
    found: list[str] = []
    token = None
    for size in (2, 2):
        page = several.search_experiments(max_results=size, order_by=["name"], page_token=token)
        found += names(page)
        token = page.token
    assert found == ["Beta", "Default", "alpha", "gamma"]
    assert token is None


@pytest.mark.parametrize("max_results", [0, -1, 50_001, None])
def test_a_page_has_one_to_fifty_thousand_entries(tracking: Any, max_results: Any) -> None:
    with raises("INVALID_PARAMETER_VALUE"):
        tracking.search_experiments(max_results=max_results)


def test_an_invalid_page_token_is_refused(tracking: Any) -> None:
    with raises("INVALID_PARAMETER_VALUE"):
        tracking.search_experiments(page_token="nonsense")


def test_active_ids_are_distinguished_from_others(several: Any) -> None:
    gone = several.get_experiment_by_name("alpha").experiment_id
    there = several.get_experiment_by_name("Beta").experiment_id
    several.delete_experiment(gone)
    assert [str(i) for i in several.filter_active_experiment_ids([gone, there, "777"])] == [there]


# --- for good ---


def test_a_deleted_experiment_can_be_removed_permanently(tracking: Any) -> None:
    experiment_id = tracking.create_experiment("one")
    run_id = tracking.create_run(experiment_id, "me", 0, [RunTag("a", "b")], None).info.run_id
    with raises("RESOURCE_DOES_NOT_EXIST"):
        tracking._hard_delete_experiment(experiment_id)
    tracking.delete_experiment(experiment_id)
    tracking._hard_delete_run(run_id)
    tracking._hard_delete_experiment(experiment_id)
    with raises("RESOURCE_DOES_NOT_EXIST"):
        tracking.get_experiment(experiment_id)
    assert tracking.create_experiment("one")


def test_removing_an_experiment_removes_its_runs_and_traces(tmp_path: Path) -> None:
    from mltrack.mlflow_plugin.tracking import TrackingStore

    store = TrackingStore(f"mltrack://{tmp_path}/.mltrack")
    experiment_id = store.create_experiment("one")
    traces = [store.deprecated_start_trace_v2(where, 5, {}, {}).request_id for where in (experiment_id, "0")]
    (tmp_path / ".mltrack" / "artifacts" / experiment_id / "traces" / traces[0]).mkdir(parents=True)
    other = TrackingStore(f"mltrack://{tmp_path}/.mltrack")
    assert len(other.search_traces()[0]) == 2
    run_id = store.create_run(experiment_id, "me", 0, [], None).info.run_id
    store.delete_experiment(experiment_id)
    store._hard_delete_experiment(experiment_id)
    with pytest.raises(MlflowException):
        store.get_run(run_id)
    assert not (tmp_path / ".mltrack" / "runs" / run_id).exists()
    assert [path.name for path in (tmp_path / ".mltrack").rglob(f"*{experiment_id}*")] == []
    for seen in (store, other):
        assert [trace.trace_id for trace in seen.search_traces()[0]] == traces[1:]
    assert store.create_experiment("one")
