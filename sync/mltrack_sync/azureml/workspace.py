"""An Azure Machine Learning workspace: found by its ``config.json`` or tracking URI, it hands out endpoints."""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltrack.environment import MLTRACK_AZURE_TOKEN_COMMAND, MLTRACK_AZURE_TOKEN_FILE
from mltrack.errors import UsageError
from mltrack_sync.azureml import service
from mltrack_sync.azureml.limits import AZURE_LIMITS
from mltrack_sync.azureml.scope import TrackingUri, read_config
from mltrack_sync.azureml.tokens import (
    CommandTokens,
    EnvironmentTokens,
    FileTokens,
    FirstTokens,
    IdentityTokens,
    Token,
    TokenSource,
)
from mltrack_sync.errors import RemoteAuthError, RemoteUnavailableError
from mltrack_sync.http.certificates import others_context, server_context
from mltrack_sync.http.endpoint import Endpoint

if TYPE_CHECKING:
    from mltrack_sync.http.transport import Transport
    from mltrack_sync.limits import Limits
    from mltrack_sync.mlflow.api.client import MlflowClient

__all__ = ["AzureWorkspace"]

REFRESH_AHEAD_S = 300.0
REFRESH_AHEAD_SHARE = 0.25


class AzureWorkspace:
    """One workspace. Its credentials come from the first of these that is set:

    a token file, a token command, the token in an old-style ``MLFLOW_TRACKING_URI`` of this workspace, a job's
    ``MLFLOW_TRACKING_TOKEN``, and azure-identity. None of them is ever stored or shown.
    """

    def __init__(
        self,
        uri: TrackingUri,
        *,
        token_file: Path | str | None = None,
        token_command: str | None = None,
        environ: Mapping[str, str] = os.environ,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Makes no request yet. ``now`` gives seconds since the epoch."""
        self.shared_folder = ""
        self._uri = uri
        self._environ = environ
        self._now = now
        self._lock = threading.Lock()
        self._place: service.Place | None = service.Place(uri.host, "") if uri.host else None
        self._held: Token | None = None
        self._ahead_s = REFRESH_AHEAD_S
        self._source = self._source_of(token_file or environ.get(MLTRACK_AZURE_TOKEN_FILE), token_command)

    @classmethod
    def from_config(
        cls, path: Path | str | None = None, *, token_file: Path | str | None = None, token_command: str | None = None
    ) -> AzureWorkspace:
        """The workspace that a ``config.json`` names: the file ``path``, or the one found from a folder (here).

        Raises:
            NotFoundError, UsageError: the file does not exist, or does not name a workspace.
        """
        return cls(TrackingUri("", read_config(path)), token_file=token_file, token_command=token_command)

    def __repr__(self) -> str:
        return f"Workspace({self.name!r}, subscription_id={self.subscription_id!r})"

    # --- what it is ---

    @property
    def name(self) -> str:
        """Its name."""
        return self._uri.scope.workspace_name

    @property
    def subscription_id(self) -> str:
        """The subscription it belongs to."""
        return self._uri.scope.subscription_id

    @property
    def resource_group(self) -> str:
        """The resource group it belongs to."""
        return self._uri.scope.resource_group

    @property
    def location(self) -> str:
        """Its region, such as ``westeurope``; asks the resource manager.

        Raises:
            RemoteError: that does not answer, or does not let us in.
        """
        with self._lock:
            if self._place is None or not self._place.location:
                self._place = self._ask_manager(self._token("").text)
            return self._place.location

    def get_mlflow_tracking_uri(self) -> str:
        """A URI for ``mlflow.set_tracking_uri`` (MLflow needs the package azureml-mlflow for it). It holds no token.

        Raises:
            RemoteError: the resource manager, which knows the host, does not answer or does not let us in.
        """
        with self._lock:
            return str(TrackingUri(self._host("", self._token("")), self._uri.scope))

    # --- what every remote's workspace provides ---

    @property
    def url(self) -> str:
        """Its URI, without what is secret."""
        return str(self._uri)

    @property
    def limits(self) -> Limits:
        """Azure's."""
        return AZURE_LIMITS

    @property
    def auth_hint(self) -> str:
        """What to do when the workspace refuses our credentials."""
        return "run az login, or give a fresh token: --token-file, --token-command, MLTRACK_AZURE_TOKEN_FILE"

    @property
    def place_hint(self) -> str:
        """Nothing: the URI names the workspace."""
        return ""

    def client(self, transport: Transport) -> MlflowClient:
        """A client for Azure's variant of the API."""
        from mltrack_sync.azureml.client import AzureClient

        return AzureClient(transport)

    def tls(self) -> ssl.SSLContext:
        """As MLflow's and its libraries' variables say, see certificates.py.

        Raises:
            UsageError: a certificate that they name can't be used.
        """
        return server_context(self._environ)

    def others_tls(self) -> ssl.SSLContext:
        """The same, without what is for the workspace alone."""
        return others_context(self._environ)

    def endpoint(self) -> Endpoint:
        """The endpoint to use now.

        Raises:
            RemoteError: no token can be had, or the workspace can't be found.
        """
        return self._fresh("")

    def refresh(self, *, refused: bool = False) -> Endpoint:
        """A fresh endpoint; its base URL may be another one.

        Raises:
            RemoteError: no fresh endpoint can be had.
        """
        return self._fresh(self._held.text if refused and self._held is not None else "")

    def _fresh(self, refused: str) -> Endpoint:
        with self._lock:
            token = self._token(refused)
            try:
                host = self._host(refused, token)
            except RemoteAuthError:
                if refused:
                    raise
                token = self._token(token.text)  # the one that was kept may have been revoked
                host = self._host(token.text, token)
            path = self._uri.scope.path
            return Endpoint(
                f"https://{host}/mlflow/v2.0{path}",
                self._headers,
                token.expires_at,
                refresh_ahead_s=self._ahead_s,
                services={service.HISTORY: f"https://{host}/history/v1.0{path}"},
            )

    def _headers(self) -> Mapping[str, str]:
        newer = self._source.newer()
        if newer is not None:
            self._held = newer
        return {"Authorization": f"Bearer {self._held.text}"} if self._held is not None else {}

    def _token(self, refused: str) -> Token:
        token = self._source.token(refused)
        if self._held is None or token.text != self._held.text:  # its age is counted from when it came
            left = REFRESH_AHEAD_S if token.expires_at is None else token.expires_at - self._now()
            self._ahead_s = min(REFRESH_AHEAD_S, max(0.0, left * REFRESH_AHEAD_SHARE))
        self._held = token
        return token

    # --- where it is ---

    def _host(self, refused: str, token: Token) -> str:
        """The given host; otherwise the one from the resource manager, or from the environment in its place."""
        if self._uri.host:
            return self._uri.host
        given = self._given_uri()
        if not self._source.for_resources and given is not None and given.host:
            return given.host
        try:
            self._place = self._ask_manager(token.text)
        except RemoteUnavailableError:
            if self._place is None:
                raise
        except RemoteAuthError:
            if self._place is None or refused:
                raise
        return self._place.host

    def _ask_manager(self, token: str) -> service.Place:
        manager, _ = service.cloud_of(self._environ)
        return service.locate(manager, self._uri.scope, token, self.tls)

    def _given_uri(self) -> TrackingUri | None:
        """``MLFLOW_TRACKING_URI``, where it is of this workspace."""
        try:
            given = TrackingUri.parse(self._environ.get("MLFLOW_TRACKING_URI", ""))
        except UsageError:
            return None
        return given if given.scope.is_same(self._uri.scope) else None

    # --- credentials ---

    def _source_of(self, token_file: Path | str | None, token_command: str | None) -> TokenSource:
        command = token_command or (None if token_file else self._environ.get(MLTRACK_AZURE_TOKEN_COMMAND))
        if token_file and token_command and not self._environ.get(MLTRACK_AZURE_TOKEN_FILE):
            raise UsageError("a token file and a token command were given", hint="give one of them")
        if command:
            return CommandTokens(command)
        if token_file:
            return FileTokens(token_file)
        environ = self._environ
        in_job = bool(environ.get("MLFLOW_RUN_ID") and environ.get("MLFLOW_EXPERIMENT_ID"))
        sources: list[TokenSource] = [
            EnvironmentTokens(self._token_in_uri, "the token in the tracking URI", now=self._now),
            EnvironmentTokens(
                self._job_token, "MLFLOW_TRACKING_TOKEN", renew=self._renew if in_job else None, now=self._now
            ),
            IdentityTokens(service.cloud_of(environ)[1]),
        ]
        return FirstTokens(sources, now=self._now)

    def _token_in_uri(self) -> str:
        given = self._given_uri()
        return (given.token if given is not None else "") or self._uri.token

    def _job_token(self) -> str:
        """The token that a job was given, unless it was given for another server."""
        uri = self._environ.get("MLFLOW_TRACKING_URI")
        return "" if uri and self._given_uri() is None else self._environ.get("MLFLOW_TRACKING_TOKEN", "")

    def _renew(self, token: str) -> dict[str, Any]:
        given = self._given_uri()
        host = self._uri.host or (given.host if given is not None else "")
        if not host:
            raise RemoteAuthError("MLFLOW_TRACKING_TOKEN can't be renewed: no host", hint="set MLFLOW_TRACKING_URI too")
        experiment_id, run_id = self._environ["MLFLOW_EXPERIMENT_ID"], self._environ["MLFLOW_RUN_ID"]
        return service.renew_run_token(host, self._uri.scope, experiment_id, run_id, token, self.tls)
