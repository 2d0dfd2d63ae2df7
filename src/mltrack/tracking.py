"""The names of ``mlflow.tracking`` that scripts use: the client, and the tracking and registry URIs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.recording.tracking_uri import (
    get_registry_uri,
    get_tracking_uri,
    is_tracking_uri_set,
    set_registry_uri,
    set_tracking_uri,
)

if TYPE_CHECKING:
    from mltrack.client import MlflowClient

__all__ = [
    "MlflowClient",
    "get_registry_uri",
    "get_tracking_uri",
    "is_tracking_uri_set",
    "set_registry_uri",
    "set_tracking_uri",
]


if not TYPE_CHECKING:  # so that a checker knows a name that is not here

    def __getattr__(name: str) -> object:
        if name != "MlflowClient":
            raise AttributeError(f"module 'mltrack.tracking' has no attribute {name!r}")
        from mltrack.client import MlflowClient

        return MlflowClient
