"""The methods of MLflow's tracking store that are not supported: each raises an error that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlflow.exceptions import MlflowNotImplementedException

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["REFUSED", "Unsupported", "refusal"]

REFUSED: dict[str, tuple[str, ...]] = {
    "archiving of traces; it needs none, as their spans are in files already": ("archive_traces",),
    "traces that Databricks keeps": ("get_online_trace_details",),
    "links of MCP servers to traces, nor does any other store of MLflow": (
        "get_mcp_server_versions_for_trace",
        "link_mcp_server_versions_to_trace",
    ),
}
"""The methods that raise ``NOT_IMPLEMENTED``, by what an mltrack store does not support."""


class Unsupported:
    """The methods that are not supported."""


def refusal(name: str, feature: str) -> MlflowNotImplementedException:
    """The error of a method that is not supported."""
    return MlflowNotImplementedException(
        f"{name}: an mltrack store does not support {feature} (see docs/mlflow-compatibility.md)"
    )


def _refuse(feature: str, name: str) -> Callable[..., Any]:
    def refuse(self: Unsupported, *args: Any, **kwargs: Any) -> Any:
        raise refusal(name, feature)

    return refuse


for _feature, _names in REFUSED.items():
    for _name in _names:
        setattr(Unsupported, _name, _refuse(_feature, _name))
