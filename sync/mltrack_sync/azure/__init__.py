"""Azure Machine Learning workspaces as remotes."""

from mltrack_sync.azure.scope import Scope, TrackingUri
from mltrack_sync.azure.workspace import AzureWorkspace

__all__ = ["AzureWorkspace", "Scope", "TrackingUri"]
