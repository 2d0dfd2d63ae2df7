"""Lists of what MLflow keeps in tables, while there are none: answered and refused as by MLflow's SQL store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from mltrack.mlflow_plugin.tracking import TrackingStore
from mltrack.mlflow_plugin.tracking.delegated import LISTED
from mltrack.mlflow_plugin.tracking.empty_lists import is_answered

ANSWERED: list[tuple[str, dict[str, Any]]] = [
    ("list_scorers", {"experiment_id": "0"}),
    ("list_review_queues", {"experiment_id": "0", "max_results": 50}),
    ("list_budget_policies", {"max_results": 10}),
    ("list_secret_infos", {"provider": "openai"}),
    ("get_dataset_experiment_ids", {"dataset_id": "d-1"}),
    ("search_datasets", {"filter_string": "name ILIKE '%x%'", "order_by": ["created_time DESC"], "max_results": 50}),
    ("search_issues", {"experiment_id": "0", "filter_string": "status = 'pending'", "include_trace_count": True}),
    ("search_mcp_servers", {"filter_string": "name LIKE 'x%'", "order_by": ["name ASC"]}),
    ("search_mcp_server_versions", {"name": "x"}),
    ("search_mcp_access_endpoints", {"server_name": "x"}),
    ("search_entities_by_source", {"source_ids": ["d-1"], "source_type": "x", "destination_type": "y"}),
    ("search_entities_by_destination", {"destination_ids": ["0"], "destination_type": "x", "source_type": "y"}),
    ("list_scorers_across_experiments", {"experiment_ids": ["0"]}),
    ("get_active_online_scorers", {}),
    ("get_online_scoring_configs", {"scorer_ids": ["1"]}),
    ("list_endpoint_bindings", {}),
    ("list_gateway_endpoints", {"provider": "openai"}),
    ("list_gateway_guardrails", {"max_results": 10}),
    ("list_gateway_model_definitions", {}),
]
REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("list_scorers", {"experiment_id": "77"}),
    ("list_scorers", {"experiment_id": "no number"}),
    ("list_review_queues", {"experiment_id": "77"}),
    ("list_budget_policies", {"max_results": 0}),
    ("search_datasets", {"max_results": 50_001}),
    ("search_datasets", {"filter_string": "nosuch = 1"}),
    ("search_datasets", {"order_by": ["tags.x"]}),
    ("search_datasets", {"page_token": "?"}),
    ("search_issues", {"filter_string": "nosuch = 'x'"}),
    ("search_mcp_servers", {"filter_string": "nosuch = 'x'"}),
]


def test_each_listed_method_is_tried() -> None:
    assert {name for name, _ in ANSWERED} == LISTED


@pytest.mark.parametrize(("name", "arguments"), ANSWERED, ids=lambda value: value if isinstance(value, str) else "")
def test_a_list_is_empty_and_makes_no_file(tmp_path: Path, name: str, arguments: dict[str, Any]) -> None:
    store = TrackingStore(f"mltrack://{tmp_path}/.mltrack")
    assert list(getattr(store, name)(**arguments)) == []
    assert not (tmp_path / ".mltrack" / "workspace" / "mlflow.db").exists()


@pytest.mark.parametrize(("name", "arguments"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_a_call_that_the_sql_store_refuses_is_left_to_it(name: str, arguments: dict[str, Any]) -> None:
    assert not is_answered(name, (), arguments, "0".__eq__)
    assert not is_answered(name, tuple(arguments.values()), {"unknown": 1}, "0".__eq__)


@pytest.mark.slow
def test_both_stores_answer_and_refuse_the_same(tracking: Any) -> None:
    for name, arguments in ANSWERED:
        assert list(getattr(tracking, name)(**arguments)) == []
    for name, arguments in REFUSED:
        with pytest.raises(MlflowException):
            getattr(tracking, name)(**arguments)
    with pytest.raises(MlflowException, match="Review queue with id 'rq-1' not found"):
        tracking.list_review_queue_items("rq-1")


@pytest.mark.slow
def test_a_deleted_experiment_has_no_list_of_scorers(tracking: Any) -> None:
    experiment = tracking.create_experiment("gone")
    assert tracking.list_scorers(experiment) == []
    tracking.delete_experiment(experiment)
    with pytest.raises(MlflowException, match="must be in the 'active' state"):
        tracking.list_scorers(experiment)
