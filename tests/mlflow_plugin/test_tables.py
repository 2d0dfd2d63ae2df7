"""Evaluation datasets, scorers, issues, label schemas and review queues: as on MLflow's SQL store, which keeps them."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from mlflow.entities import (
    GatewayEndpointModelConfig,
    GatewayModelLinkageType,
    IssueReference,
    TraceInfo,
    TraceLocation,
    TraceState,
)
from mlflow.exceptions import MlflowException
from mlflow.genai.label_schemas import InputCategorical, LabelSchemaType
from mlflow.store.db.utils import _get_alembic_config, create_sqlalchemy_engine
from mlflow.store.tracking.dbmodels.initial_models import Base as InitialBase

from mltrack.mlflow_plugin.tracking import TrackingStore
from mltrack.storage.check.check import check_store

SCORER = json.dumps({"name": "short", "builtin_scorer_class": None, "call_source": "return True"})


@pytest.fixture
def tracking(tracking: Any, kind: str, tmp_path: Path, empty_database: Path) -> Any:
    """Both stores with MLflow's tables, which take seconds to make."""
    if kind == "mltrack":
        shutil.copy(empty_database, tmp_path / ".mltrack" / "workspace" / "mlflow.db")
    return tracking


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
    assert [each.to_proto().scorer_version for each in tracking.list_scorers_across_experiments([experiment])] == [2]
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


@pytest.mark.slow
def test_the_tables_file_moves_with_the_store_follows_the_umask_and_is_not_a_finding(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    made = TrackingStore(f"mltrack://{tmp_path}/a b/.mltrack").create_dataset("questions", experiment_ids=["0"])
    (tmp_path / "a b").rename(tmp_path / "moved")
    moved = TrackingStore(f"mltrack://{tmp_path}/moved/.mltrack")
    assert moved.get_dataset(made.dataset_id).name == "questions"
    place = tmp_path / "moved" / ".mltrack" / "workspace" / "mlflow.db"
    assert stat.S_IMODE(place.stat().st_mode) == stat.S_IMODE((place.parents[1] / "store.json").stat().st_mode)
    assert check_store(tmp_path / "moved" / ".mltrack").findings == []


@pytest.mark.slow
def test_mcp_servers_and_gateway_endpoints_are_kept_with_an_experiment_for_traces(
    tracking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_CRYPTO_KEK_PASSPHRASE", "a long text that nobody knows")
    secret = tracking.create_gateway_secret("key", {"api_key": "sk-hidden-word"}, provider="openai")
    assert tracking._get_decrypted_secret(secret.secret_id) == {"api_key": "sk-hidden-word"}
    model = tracking.create_gateway_model_definition("small", secret.secret_id, "openai", "gpt")
    config = GatewayEndpointModelConfig(model.model_definition_id, GatewayModelLinkageType.PRIMARY)
    endpoint = tracking.create_gateway_endpoint("chat", [config])
    assert tracking.get_experiment(endpoint.experiment_id).name == "gateway/chat"
    assert [each.name for each in tracking.list_gateway_endpoints(provider="openai")] == ["chat"]
    assert tracking.sum_gateway_trace_cost(0, 2**62, endpoint_id=endpoint.endpoint_id) == 0.0
    tracking.create_mcp_server("com.example/weather")
    assert [each.name for each in tracking.search_mcp_servers()] == ["com.example/weather"]


def test_a_gateway_secret_without_a_passphrase_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_CRYPTO_KEK_PASSPHRASE", raising=False)
    store = TrackingStore(f"mltrack://{tmp_path}/.mltrack")
    for call in (store.create_gateway_secret, store.update_gateway_secret):
        with pytest.raises(MlflowException, match="MLFLOW_CRYPTO_KEK_PASSPHRASE set to") as caught:
            call("key", {"api_key": "sk-hidden-word"})
        assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
    assert not (tmp_path / ".mltrack" / "workspace" / "mlflow.db").exists()


def test_issues_are_listed_with_the_number_of_their_traces(tracking: Any) -> None:
    experiment = tracking.create_experiment("found")
    issues = [tracking.create_issue(experiment, name, "text") for name in ("rare", "frequent", "frequent too")]
    for number, issue in enumerate([issues[0], issues[1], issues[1], issues[2], issues[2]]):
        trace = tracking.start_trace(
            TraceInfo(f"tr-{number}", TraceLocation.from_experiment_id(experiment), 1, TraceState.OK)
        )
        tracking.create_assessment(IssueReference(issue.issue_id, issue.name, trace_id=trace.trace_id))
    found = tracking.search_issues(experiment, max_results=2, include_trace_count=True)
    assert [(each.name, each.trace_count) for each in found] == [("frequent too", 2), ("frequent", 2)]
    rest = tracking.search_issues(experiment, max_results=2, page_token=found.token, include_trace_count=True)
    assert [(each.name, each.trace_count, rest.token) for each in rest] == [("rare", 1, None)]


def test_what_belongs_to_an_experiment_goes_with_it(tracking: Any) -> None:
    experiment = tracking.create_experiment("gone")
    tracking.register_scorer(experiment, "short", SCORER)
    issue = tracking.create_issue(experiment, "slow", "answers take long")
    tracking.delete_experiment(experiment)
    tracking._hard_delete_experiment(experiment)
    with pytest.raises(MlflowException) as caught:
        tracking.get_issue(issue.issue_id)
    assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_a_deleted_trace_leaves_its_review_queues_and_a_removed_run_its_issues(tracking: Any) -> None:
    experiment = tracking.create_experiment("reviewed")
    queue = tracking.get_or_create_user_queue(experiment, user="me")
    for number in (1, 2):
        location = TraceLocation.from_experiment_id(experiment)
        tracking.start_trace(TraceInfo(f"tr-{number}", location, number, TraceState.OK))
    tracking.add_items_to_review_queue(queue.queue_id, item_ids=["tr-1", "tr-2"])
    assert tracking.delete_traces(experiment, max_timestamp_millis=1) == 1
    assert [item.item_id for item in tracking.list_review_queue_items(queue.queue_id)] == ["tr-2"]
    run = tracking.create_run(experiment_id=experiment, user_id="me", start_time=1, tags=[], run_name="finder")
    issue = tracking.create_issue(experiment, "slow", "answers take long", source_run_id=run.info.run_id)
    tracking.delete_run(run.info.run_id)
    tracking._hard_delete_run(run.info.run_id)
    assert tracking.get_issue(issue.issue_id).source_run_id is None


@pytest.mark.slow
def test_tables_of_an_older_mlflow_are_migrated_and_those_of_a_newer_one_refused(
    tmp_path: Path, migrations_read_once: None
) -> None:
    place = f"mltrack://{tmp_path}/.mltrack"
    store = TrackingStore(place)
    file = tmp_path / ".mltrack" / "workspace" / "mlflow.db"
    config = _get_alembic_config(f"sqlite:///{file}")
    head = ScriptDirectory.from_config(config).get_revision("head")
    engine = create_sqlalchemy_engine(f"sqlite:///{file}")
    InitialBase.metadata.create_all(engine)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, str(head.down_revision))
    engine.dispose()
    assert store.create_dataset("questions", experiment_ids=["0"]).name == "questions"
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchall() == [(head.revision,)]
        database.execute("UPDATE alembic_version SET version_num = 'from_the_future'")
    with pytest.raises(MlflowException, match=r"mlflow\.db was written by a newer MLflow than .* \(upgrade mlflow\)"):
        TrackingStore(place).search_datasets()


@pytest.mark.slow
def test_a_tables_file_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    store = TrackingStore(f"mltrack://{tmp_path}/.mltrack")
    file = tmp_path / ".mltrack" / "workspace" / "mlflow.db"
    store.create_dataset("first", experiment_ids=["0"])
    kept = file.read_bytes()
    store.create_dataset("second", experiment_ids=["0"])
    file.with_name("other").write_bytes(kept)
    file.with_name("other").replace(file)
    assert [each.name for each in store.search_datasets()] == ["first"]
