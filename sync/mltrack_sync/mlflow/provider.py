"""An MLflow server as a remote: its endpoint, authorised by MLflow's own environment, its limits and its client."""

from __future__ import annotations

import base64
import configparser
import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from mltrack.text.redaction import remember
from mltrack_sync.http.certificates import others_context, server_context
from mltrack_sync.http.endpoint import Endpoint, EndpointSource
from mltrack_sync.http.netrc_file import netrc_login
from mltrack_sync.limits import MLFLOW_LIMITS, Limits
from mltrack_sync.secret_values import checked_password, checked_token, checked_user

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from mltrack_sync.http.transport import Transport
    from mltrack_sync.mlflow.api.client import MlflowClient

__all__ = ["MlflowWorkspace", "Workspace"]

TOKEN, USER, PASSWORD = "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
WORKSPACE_HEADER = "X-MLFLOW-WORKSPACE"


class Workspace(EndpointSource, Protocol):
    """Where to push: a server that speaks MLflow's REST API, or a variant of it."""

    @property
    def limits(self) -> Limits:
        """What it takes at once."""

    def client(self, transport: Transport) -> MlflowClient:
        """The client for it."""


class MlflowWorkspace:
    """An MLflow server over http(s): basic or bearer auth, read from the environment for each request.

    User and password come from MLflow's variables and its file, then the token; ``.netrc`` is the last source.
    """

    def __init__(
        self,
        url: str,
        *,
        shared_folder: str = "",
        workspace: str = "",
        environ: Mapping[str, str] = os.environ,
        home: Path | None = None,
    ) -> None:
        """``workspace`` is one of the server's, "" for its default; ``home`` the folder of ``.mlflow/credentials``."""
        self._workspace = workspace
        self.shared_folder = shared_folder
        self._url = url.rstrip("/")
        self._environ = environ
        self._home = home

    @property
    def url(self) -> str:
        """The server's URL."""
        return self._url

    @property
    def limits(self) -> Limits:
        """MLflow's documented limits."""
        return MLFLOW_LIMITS

    @property
    def auth_hint(self) -> str:
        """MLflow's variables."""
        return "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, MLFLOW_TRACKING_TOKEN, or use ~/.netrc"

    @property
    def place_hint(self) -> str:
        """How the server's workspace is named."""
        return "name one that the server has: mltrack remote set NAME workspace=W, or MLFLOW_WORKSPACE=W"

    def client(self, transport: Transport) -> MlflowClient:
        """The client for an MLflow server."""
        from mltrack_sync.mlflow.api.client import MlflowClient

        return MlflowClient(transport)

    def endpoint(self) -> Endpoint:
        """The URL itself; it does not expire.

        Raises:
            RemoteAuthError: user, password or token in the environment are not valid.
        """
        self._headers()  # now, not with the first request
        return Endpoint(self._url, self._headers)

    def refresh(self, *, refused: bool = False) -> Endpoint:
        """The same endpoint: the environment is read for each request anyway."""
        return self.endpoint()

    def tls(self) -> ssl.SSLContext:
        """As MLflow's and its libraries' variables say, see certificates.py.

        Raises:
            UsageError: a certificate that they name can't be used.
        """
        return server_context(self._environ)

    def others_tls(self) -> ssl.SSLContext:
        """The same, without what is for the tracking server only."""
        return others_context(self._environ)

    def _headers(self) -> Mapping[str, str]:
        return {**self._authorization(), **({WORKSPACE_HEADER: self._workspace} if self._workspace else {})}

    def _authorization(self) -> Mapping[str, str]:
        user, password = self._credentials()
        if user and password:
            pair = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
            remember(pair)
            return {"Authorization": f"Basic {pair}"}
        token = self._environ.get(TOKEN)
        return {"Authorization": f"Bearer {checked_token(token, TOKEN)}"} if token else self._from_netrc()

    def _from_netrc(self) -> Mapping[str, str]:
        """The ``.netrc`` entry of this host, where no other source has credentials."""
        try:
            home = self._home or Path.home()
        except RuntimeError:
            return {}
        user, password, path = netrc_login(urlsplit(self._url).hostname or "", self._environ, home)
        if not (user or password):
            return {}
        user = checked_user(user, f"the user in {path}") if user else ""
        password = checked_password(password, f"the password in {path}") if password else ""
        pair = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
        remember(pair)
        return {"Authorization": f"Basic {pair}"}

    def _credentials(self) -> tuple[str, str]:
        """User and password, each from its variable, else from MLflow's file; "" where neither has it."""
        user, password = self._environ.get(USER, ""), self._environ.get(PASSWORD, "")
        user = checked_user(user, USER) if user else ""
        password = checked_password(password, PASSWORD) if password else ""
        if user and password:
            return user, password
        path = Path(".mlflow") / "credentials"
        file = configparser.ConfigParser(interpolation=None)
        try:
            path = (self._home or Path.home()) / path
            file.read(path, encoding="utf-8")
            kept = file["mlflow"] if file.has_section("mlflow") else {}
        except (configparser.Error, OSError, RuntimeError, UnicodeDecodeError):
            kept = {}
        kept_user, kept_password = kept.get(USER.lower(), ""), kept.get(PASSWORD.lower(), "")
        return (
            user or (checked_user(kept_user, f"{USER.lower()} in {path}") if kept_user else ""),
            password or (checked_password(kept_password, f"{PASSWORD.lower()} in {path}") if kept_password else ""),
        )
