"""Evaluation datasets, scorers, issues, label schemas and review queues: as on MLflow's SQL store, which keeps them."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.genai.label_schemas import InputCategorical, LabelSchemaType

from mltrack.mlflow_plugin.tracking import TrackingStore
from mltrack.storage.check.check import check_store

SCORER = json.dumps({"name": "short", "builtin_scorer_class": None, "call_source": "return True"})


def test_datasets_are_kept_with_their_records_tags_and_experiments(tracking: Any) -> None:
    experiment = tracking.create_experiment("evaluated")
    made = tracking.create_dataset("questions", tags={"team": "a"}, experiment_ids=[experiment])
    tracking.upsert_dataset_records(made.dataset_id, [{"inputs": {"q": 1}}, {"inputs": {"q": 2}, "tags": {"x": "y"}}])
    tracking.set_dataset_tags(made.dataset_id, {"more": "yes"})
    found = tracking.get_dataset(made.dataset_id)
    assert (found.name, found.tags["team"], found.tags["more"]) == ("questions", "a", "yes")
    records, _ = tracking._load_dataset_records(made.dataset_id, max_results=10, page_token=None)
    assert sorted(record.inputs["q"] for record in records) == [1, 2]
    assert [each.name for each in tracking.search_datasets(experiment_ids=[experiment])] == ["questions"]
    assert tracking.get_dataset_experiment_ids(made.dataset_id) == [experiment]
    tracking.delete_dataset(made.dataset_id)
    with pytest.raises(MlflowException) as caught:
        tracking.get_dataset(made.dataset_id)
    assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_scorers_have_versions_by_experiment(tracking: Any) -> None:
    experiment = tracking.create_experiment("scored")
    assert tracking.list_scorers(experiment) == []
    for version in (1, 2):
        assert tracking.register_scorer(experiment, "short", SCORER).scorer_version == version
    assert [each.scorer_version for each in tracking.list_scorers(experiment)] == [2]
    assert [each.scorer_version for each in tracking.list_scorer_versions(experiment, "short")] == [1, 2]
    tracking.delete_scorer(experiment, "short", None)
    assert tracking.list_scorers(experiment) == []
    tracking.delete_experiment(experiment)
    with pytest.raises(MlflowException):
        tracking.register_scorer(experiment, "short", SCORER)
    with pytest.raises(MlflowException):
        tracking.register_scorer("123456", "short", SCORER)


def test_issues_label_schemas_and_review_queues_belong_to_experiments(tracking: Any) -> None:
    experiment = tracking.create_experiment("reviewed")
    run = tracking.create_run(experiment_id=experiment, user_id="me", start_time=1, tags=[], run_name="finder")
    issue = tracking.create_issue(experiment, "slow", "answers take long", source_run_id=run.info.run_id)
    assert tracking.get_issue(issue.issue_id).source_run_id == run.info.run_id
    assert [each.name for each in tracking.search_issues(experiment)] == ["slow"]
    schema = tracking.create_label_schema(
        experiment, name="good", type=LabelSchemaType.FEEDBACK, input=InputCategorical(options=["yes", "no"])
    )
    assert tracking.get_label_schema(schema.schema_id).name == "good"
    queue = tracking.get_or_create_user_queue(experiment, user="me")
    tracking.add_items_to_review_queue(queue.queue_id, item_ids=["tr-1"])
    assert [item.item_id for item in tracking.list_review_queue_items(queue.queue_id)] == ["tr-1"]


def test_the_tables_file_moves_with_the_store_follows_the_umask_and_is_not_a_finding(tmp_path: Path) -> None:
    made = TrackingStore(f"mltrack://{tmp_path}/a b/.mltrack").create_dataset("questions", experiment_ids=["0"])
    (tmp_path / "a b").rename(tmp_path / "moved")
    moved = TrackingStore(f"mltrack://{tmp_path}/moved/.mltrack")
    assert moved.get_dataset(made.dataset_id).name == "questions"
    place = tmp_path / "moved" / ".mltrack" / "workspace" / "mlflow.db"
    assert stat.S_IMODE(place.stat().st_mode) == stat.S_IMODE((place.parents[1] / "store.json").stat().st_mode)
    assert check_store(tmp_path / "moved" / ".mltrack").findings == []
