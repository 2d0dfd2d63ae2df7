"""The methods of MLflow's tracking store that are not supported: each raises an error, or returns an empty list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlflow.exceptions import MlflowNotImplementedException
from mlflow.store.entities.paged_list import PagedList

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EMPTY_LISTS", "REFUSED", "Unsupported"]

REFUSED: dict[str, tuple[str, ...]] = {
    "online scoring": ("get_online_trace_details", "upsert_online_scoring_config"),
    "the AI gateway": (
        "add_guardrail_to_endpoint",
        "attach_model_to_endpoint",
        "create_budget_policy",
        "create_endpoint_binding",
        "create_gateway_endpoint",
        "create_gateway_guardrail",
        "create_gateway_model_definition",
        "create_gateway_secret",
        "delete_budget_policy",
        "delete_endpoint_binding",
        "delete_gateway_endpoint",
        "delete_gateway_endpoint_tag",
        "delete_gateway_guardrail",
        "delete_gateway_model_definition",
        "delete_gateway_secret",
        "detach_model_from_endpoint",
        "get_budget_policy",
        "get_gateway_endpoint",
        "get_gateway_guardrail",
        "get_gateway_model_definition",
        "get_secret_info",
        "remove_guardrail_from_endpoint",
        "set_gateway_endpoint_tag",
        "sum_gateway_trace_cost",
        "update_budget_policy",
        "update_endpoint_guardrail_config",
        "update_gateway_endpoint",
        "update_gateway_model_definition",
        "update_gateway_secret",
    ),
    "the registry of MCP servers": (
        "create_mcp_access_endpoint",
        "create_mcp_server",
        "create_mcp_server_version",
        "delete_mcp_access_endpoint",
        "delete_mcp_server",
        "delete_mcp_server_alias",
        "delete_mcp_server_tag",
        "delete_mcp_server_version",
        "delete_mcp_server_version_tag",
        "get_latest_mcp_server_version",
        "get_mcp_access_endpoint",
        "get_mcp_server",
        "get_mcp_server_version",
        "get_mcp_server_version_by_alias",
        "link_mcp_server_versions_to_trace",
        "set_mcp_server_alias",
        "set_mcp_server_tag",
        "set_mcp_server_version_tag",
        "update_mcp_access_endpoint",
        "update_mcp_server",
        "update_mcp_server_version",
    ),
    "archiving of traces": ("archive_traces",),
}
"""The methods that raise ``NOT_IMPLEMENTED``, by feature."""

EMPTY_LISTS: tuple[str, ...] = (
    "get_active_online_scorers",
    "get_mcp_server_versions_for_trace",
    "get_online_scoring_configs",
    "list_budget_policies",
    "list_endpoint_bindings",
    "list_endpoint_guardrail_configs",
    "list_gateway_endpoints",
    "list_gateway_guardrails",
    "list_gateway_model_definitions",
    "list_secret_infos",
    "search_mcp_access_endpoints",
    "search_mcp_server_versions",
    "search_mcp_servers",
)
"""The methods that return an empty list, as pages of MLflow's UI call them in any case."""


class Unsupported:
    """The methods that are not supported."""


def _refusal(feature: str, name: str) -> Callable[..., Any]:
    def refuse(self: Unsupported, *args: Any, **kwargs: Any) -> Any:
        raise MlflowNotImplementedException(
            f"{name}: an mltrack store does not support {feature} (see docs/mlflow-compatibility.md). "
            "A server with a database does."
        )

    return refuse


def _nothing(self: Unsupported, *args: Any, **kwargs: Any) -> Any:
    """Return an empty list."""
    return PagedList([], None)


for _feature, _names in REFUSED.items():
    for _name in _names:
        setattr(Unsupported, _name, _refusal(_feature, _name))
for _name in EMPTY_LISTS:
    setattr(Unsupported, _name, _nothing)
