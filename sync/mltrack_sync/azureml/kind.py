"""Azure Machine Learning workspaces as a kind of remote: they speak MLflow's API, in their own way."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mltrack.errors import UsageError
from mltrack.text.redaction import remember_url
from mltrack_sync.azureml.limits import AZURE_LIMITS
from mltrack_sync.azureml.scope import SCHEME, TrackingUri
from mltrack_sync.mlflow.kind import MlflowKind

if TYPE_CHECKING:
    from mltrack_sync.limits import Limits
    from mltrack_sync.mlflow.provider import Workspace
    from mltrack_sync.remotes.kind import Remote

__all__ = ["AzureKind"]


class AzureKind(MlflowKind):
    """A workspace, by its tracking URI."""

    @property
    def name(self) -> str:
        """``azure``."""
        return "azure"

    @property
    def limits(self) -> Limits:
        """Azure's."""
        return AZURE_LIMITS

    @property
    def settings(self) -> frozenset[str]:
        """``history``: how many points of a metric go; the URI names the workspace."""
        return frozenset({"history"})

    @property
    def takes_tokens(self) -> bool:
        """Yes."""
        return True

    @property
    def shares_folders(self) -> bool:
        """No: artifacts go to a blob store."""
        return False

    def workspace(self, remote: Remote) -> Workspace:
        """The source of a workspace's endpoints, and of the client for it.

        Raises:
            UsageError: its URI is not a valid one.
        """
        from mltrack_sync.azureml.workspace import AzureWorkspace

        return AzureWorkspace(
            TrackingUri.parse(remote.url),
            token_file=remote.token_file or None,
            token_command=remote.token_command or None,
        )

    def claims(self, url: str) -> bool:
        """Any URI with Azure's scheme."""
        return url.lower().startswith(f"{SCHEME}:")

    def keeps_artifacts(self, uri: str) -> bool:
        """At URIs with Azure's scheme."""
        return self.claims(uri)

    def check_url(self, url: str) -> str:
        """The URI in the form it is kept in.

        Raises:
            UsageError: it is not a workspace's, or holds a token.
        """
        remember_url(url)
        uri = TrackingUri.parse(url)
        if uri.token:
            raise UsageError(
                f"the URI of {uri} holds a token, and tokens are never written to disk",
                hint="leave out what follows '?'; set MLFLOW_TRACKING_URI to the whole URI to use its token",
            )
        return str(uri)

    def full_url(self, url: str, config: str | None) -> str:
        """The URI; for the scheme alone, that of the workspace that Azure's ``config.json`` names.

        Raises:
            UsageError, NotFoundError: the file does not exist, or was given with a whole URI.
        """
        if url not in (f"{SCHEME}:", f"{SCHEME}://"):
            if config is not None:
                raise UsageError("--config goes with azureml: alone", hint="leave one of them out")
            return url
        from mltrack_sync.azureml.workspace import AzureWorkspace

        return AzureWorkspace.from_config(config).url

    def name_for(self, url: str) -> str:
        """The workspace's own name."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", TrackingUri.parse(url).scope.workspace_name)[:64]

    def check_tokens(self, token_file: str, token_command: str) -> None:
        """Check a token file or a token command.

        Raises:
            UsageError: both were given, or the command does not parse.
        """
        if token_file and token_command:
            raise UsageError("a token file and a token command were given", hint="give one of them")
        if token_command:
            from mltrack_sync.azureml.tokens import CommandTokens

            CommandTokens(token_command)
