"""Azure Machine Learning workspaces as remotes."""

from mltrack_sync.azureml.scope import Scope, TrackingUri
from mltrack_sync.azureml.workspace import AzureWorkspace

__all__ = ["AzureWorkspace", "Scope", "TrackingUri"]
