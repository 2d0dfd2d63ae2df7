"""Azure Resource Manager: tells where a workspace's MLflow front is, in all the ways that happen."""

from __future__ import annotations

from .exchange import Refused, Request, Response, as_json
from .identifiers import Scope


class ResourceManager:
    """``host`` is named in answers instead of the real front (as with a private link); set the switches at will."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.location = "westeurope"
        self.host: str | None = None
        self.tracking_uri_missing = False
        self.api_version = "v1.0"
        self.suffix = ""

    def answer(self, request: Request, front_url: str) -> Response:
        """The workspace; ``front_url`` is where its front listens now."""
        if "api-version" not in request.query:
            raise Refused(400, "MissingApiVersionParameter", "The api-version query parameter is required.")
        if request.method != "GET":
            raise Refused(405, "MethodNotAllowed", f"{request.method} is not supported here.")
        host = self.host or front_url.partition("://")[2]
        properties = {
            "friendlyName": self.scope.workspace,
            "workspaceId": self.scope.guid,
            "provisioningState": "Succeeded",
            "discoveryUrl": f"https://{host}/discovery",
            "mlFlowTrackingUri": self.tracking_uri(host),
        }
        if self.tracking_uri_missing:
            del properties["mlFlowTrackingUri"]
        fields = {
            "id": self.scope.path,
            "name": self.scope.workspace,
            "type": "Microsoft.MachineLearningServices/workspaces",
            "location": self.location,
            "identity": {"type": "SystemAssigned"},
            "properties": properties,
        }
        return as_json(fields)

    def tracking_uri(self, host: str) -> str:
        """The URI that MLflow is given."""
        return f"azureml://{host}/mlflow/{self.api_version}{self.scope.path}{self.suffix}"
