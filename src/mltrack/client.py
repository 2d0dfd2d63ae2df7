"""MLflow's client on the current store. Importing this module imports MLflow, which takes seconds."""

from __future__ import annotations

from mltrack.extras import need
from mltrack.recording.tracking_uri import get_tracking_uri
from mltrack.values.arguments import text_argument

need("mlflow", "MlflowClient")
from mlflow import MlflowClient as _MlflowClient  # noqa: E402

__all__ = ["MlflowClient"]


class MlflowClient(_MlflowClient):
    """``mlflow.MlflowClient`` with this store as its tracking store and model registry, unless others are given.

    It writes to runs through a writer of its own, like another process. Its errors are MLflow's.
    """

    def __init__(self, tracking_uri: str | None = None, registry_uri: str | None = None) -> None:
        for what, uri in (("tracking_uri", tracking_uri), ("registry_uri", registry_uri)):
            if uri is not None:
                text_argument(what, uri)
        tracking_uri = tracking_uri or get_tracking_uri()
        super().__init__(tracking_uri, registry_uri or tracking_uri)
