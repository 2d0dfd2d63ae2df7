"""Azure Machine Learning workspaces as remotes."""

from __future__ import annotations

from typing import TYPE_CHECKING

_MODULE_OF = {"AzureWorkspace": "workspace", "Scope": "scope", "TrackingUri": "scope"}

__all__ = ["AzureWorkspace", "Scope", "TrackingUri"]

if TYPE_CHECKING:
    from mltrack_sync.azureml.scope import Scope, TrackingUri
    from mltrack_sync.azureml.workspace import AzureWorkspace


def __getattr__(name: str) -> object:
    """Loads names on first use: recognising Azure's URLs needs no client."""
    from importlib import import_module

    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
