"""Azure's services other than MLflow's: the resource manager, and the renewal of a run's token. Plain GETs."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import httpx

from mltrack.environment import MLTRACK_AZURE_RESOURCE_MANAGER
from mltrack.errors import UsageError
from mltrack.text.redaction import hide_in
from mltrack_sync.azureml.scope import Scope, TrackingUri
from mltrack_sync.errors import NotMlflowError, RemoteAuthError, RemoteRefusedError, RemoteUnavailableError
from mltrack_sync.http.body import ACCEPT_ENCODING, AnswerTooLargeError, json_object, read_answer
from mltrack_sync.http.pool import connections_to
from mltrack_sync.http.responses import error_words

__all__ = ["HISTORY", "Place", "cloud_of", "locate", "renew_run_token"]

API_VERSION = "2024-04-01"
TIMEOUT = httpx.Timeout(30)
CLOUDS = {
    "azurecloud": "https://management.azure.com",
    "azurechinacloud": "https://management.chinacloudapi.cn",
    "azureusgovernment": "https://management.usgovcloudapi.net",
}
HISTORY = "history"
"""The run history, a service of a workspace other than MLflow's."""


def cloud_of(environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """The resource manager's URL, and what tokens for it are asked for.

    Raises:
        UsageError: ``AZUREML_CURRENT_CLOUD`` is not a known cloud, or the URL is not https.
    """
    name = environ.get("AZUREML_CURRENT_CLOUD", "") or "AzureCloud"
    resource = CLOUDS.get(name.lower())
    if resource is None:
        raise UsageError(f"AZUREML_CURRENT_CLOUD={name!r} is not known", hint=f"one of {', '.join(CLOUDS)}")
    url = environ.get(MLTRACK_AZURE_RESOURCE_MANAGER, "").rstrip("/") or resource
    if not url.startswith("https://"):
        hint = "a token would be sent unprotected"
        raise UsageError(f"{MLTRACK_AZURE_RESOURCE_MANAGER}={url!r} is not https", hint=hint)
    return url, resource


class Place:
    """Where a workspace is, according to the resource manager: ``host`` of its MLflow API, and ``location``."""

    __slots__ = ("host", "location")

    def __init__(self, host: str, location: str) -> None:
        self.host = host
        self.location = location


def locate(manager: str, scope: Scope, token: str, tls: Callable[[], ssl.SSLContext]) -> Place:
    """Ask the resource manager.

    Raises:
        RemoteError: it does not answer, does not let us in, or knows no such workspace.
    """
    fields = _get(
        f"{manager}{scope.path}", {"api-version": API_VERSION}, token, tls, f"workspace {scope.workspace_name}"
    )
    properties = fields.get("properties")
    location = str(fields.get("location") or "")
    uri = str(properties.get("mlFlowTrackingUri") or "") if isinstance(properties, dict) else ""
    if uri:
        return Place(TrackingUri.parse(uri).host, location)
    if not location:
        raise NotMlflowError(f"{manager} gives neither a tracking URI nor a location for {scope.workspace_name}")
    return Place(f"{location}.api.azureml.ms", location)  # its address unless it has a private link


def renew_run_token(
    host: str, scope: Scope, experiment_id: str, run_id: str, token: str, tls: Callable[[], ssl.SSLContext]
) -> dict[str, Any]:
    """A new token for the run whose token this is.

    Raises:
        RemoteError: none could be had.
    """
    run = f"experimentids/{quote(experiment_id, safe='')}/runs/{quote(run_id, safe='')}"
    return _get(f"https://{host}/history/v1.0{scope.path}/{run}/token", {}, token, tls, "the run's token")


def _get(
    url: str, params: Mapping[str, str], token: str, tls: Callable[[], ssl.SSLContext], what: str
) -> dict[str, Any]:
    host = httpx.URL(url).netloc.decode("ascii")
    hint = "is the network up? What is recorded stays safe"
    headers = {"Authorization": f"Bearer {token}", "User-Agent": "mltrack", "Accept-Encoding": ACCEPT_ENCODING}
    extensions = {"timeout": TIMEOUT.as_dict(), "patience": (30.0, 30.0)}
    try:
        with contextlib.closing(connections_to(url, tls, 1)) as connection:
            request = httpx.Request("GET", httpx.URL(url, params=params), headers=headers, extensions=extensions)
            with contextlib.closing(connection.handle_request(request)) as response:
                answer = read_answer(response)
        fields = json_object(answer)
    except (httpx.HTTPError, httpx.InvalidURL, AnswerTooLargeError) as error:
        hide_in(error)  # it stays in the chain of causes, which a traceback shows
        words = str(error) or type(error).__name__
        raise RemoteUnavailableError(f"{host} can't be asked for {what}: {words}", hint=hint, in_doubt=False) from error
    status = answer.status_code
    if status == 200 and fields is not None:
        return fields
    code, words = error_words(fields)
    said = f"{host} answers {status} when asked for {what}{': ' + words if words else ''}"
    if status in (401, 403):
        raise RemoteAuthError(said, hint="is this the right account, and may it read the workspace?")
    if status in (408, 429) or status >= 500:
        raise RemoteUnavailableError(said, hint=hint, in_doubt=False, status=status)
    raise RemoteRefusedError(said, status=status, code=code, words=words, hint="is the workspace's name right?")
