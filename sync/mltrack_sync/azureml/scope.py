"""Which workspace is meant: its place in Azure's tree, from a path, a ``config.json`` or a tracking URI."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from mltrack.errors import NotFoundError, UsageError

__all__ = ["SCHEME", "Scope", "TrackingUri", "find_config", "read_config"]

SCHEME = "azureml"
FOLDERS = (".azureml", "aml_config", ".")
NAMES = ("config.json", "project.json")
LEVELS_MAX = 20

_PATH = re.compile(
    r"/subscriptions/([^/?#]+)/resourceGroups/([^/?#]+)"
    r"/providers/Microsoft\.MachineLearningServices/workspaces/([^/?#]+)",
    re.IGNORECASE,
)
_HINT = (
    "it looks like azureml://HOST/mlflow/v1.0/subscriptions/.../resourceGroups/.../providers/"
    "Microsoft.MachineLearningServices/workspaces/NAME"
)


@dataclass(frozen=True, slots=True)
class Scope:
    """Subscription, resource group and name of a workspace."""

    subscription_id: str
    resource_group: str
    workspace_name: str

    @classmethod
    def of_path(cls, path: str) -> Scope:
        """Read ``/subscriptions/.../workspaces/NAME``, percent-encoded or not.

        Raises:
            UsageError: it is not valid.
        """
        found = _PATH.fullmatch(path.rstrip("/"))
        if found is None:
            raise UsageError(f"{path!r} is not an Azure ML workspace", hint=_HINT)
        return cls(*(unquote(part) for part in found.groups()))

    @property
    def path(self) -> str:
        """As it stands in URLs."""
        parts = (self.subscription_id, self.resource_group, self.workspace_name)
        subscription, group, name = (quote(part, safe="") for part in parts)
        return (
            f"/subscriptions/{subscription}/resourceGroups/{group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{name}"
        )

    def is_same(self, other: Scope) -> bool:
        """Whether both name one workspace; Azure's names are case-insensitive."""
        return self.path.lower() == other.path.lower()


# --- config.json -------------------------------------------------------------------------------------------------


def find_config(start: Path) -> Path:
    """The config file that Azure's own tools would find from a folder: in it, in ``.azureml``, or further up.

    Raises:
        NotFoundError: no such file was found.
    """
    folder = Path(os.path.abspath(start))
    for level in [folder, *folder.parents][:LEVELS_MAX]:
        for part in FOLDERS:
            for name in NAMES:
                path = level / part / name
                if path.is_file():
                    return path
    raise NotFoundError(
        f"no config.json in {folder} or above it",
        hint="download it from the workspace's page in Azure, or say where it is: --config PATH",
    )


def read_config(path: Path | str | None = None) -> Scope:
    """The workspace that a config file names; ``path`` is a file, or a folder to search from (default: here).

    Raises:
        NotFoundError: the file does not exist.
        UsageError: it does not name a workspace.
    """
    found = Path(path) if path is not None else Path.cwd()
    if not found.is_file():
        if path is not None and not found.is_dir():
            raise NotFoundError(f"no file {found}", hint="give the path of a config.json, or of a folder with one")
        found = find_config(found)
    try:
        fields = json.loads(found.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{found} can't be read as JSON: {error}", hint="download it again from Azure") from error
    return _scope_in(fields, found)


def _scope_in(fields: Any, path: Path) -> Scope:
    wanted = ("subscription_id", "resource_group", "workspace_name")
    if isinstance(fields, dict):
        whole = fields.get("Scope")
        if whole:
            return Scope.of_path(str(whole))
        if all(isinstance(fields.get(name), str) and fields[name] for name in wanted):
            return Scope(*(fields[name] for name in wanted))
    raise UsageError(f"{path} does not name a workspace", hint=f"it needs {', '.join(wanted)}, or Scope")


# --- tracking URIs -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TrackingUri:
    """``azureml://HOST/mlflow/v1.0/SCOPE``; without a host (``azureml:/SCOPE``), the resource manager is asked for it.

    ``token`` is what an old-style URI carries; it is never shown, and ``str()`` leaves it out.
    """

    host: str
    scope: Scope
    token: str = field(default="", repr=False)

    @classmethod
    def parse(cls, uri: str) -> TrackingUri:
        """Take it apart.

        Raises:
            UsageError: it is not valid.
        """
        shown = uri.partition("?")[0].rpartition("@")[2]
        try:
            parts = urlsplit(uri)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise UsageError(f"{shown!r} is not a URI", hint=_HINT) from error
        found = _PATH.search(parts.path)
        before = parts.path[: found.start()] if found else ""
        good = bool(re.fullmatch(r"/mlflow/v[\d.]+", before)) if host else before == ""
        if parts.scheme != SCHEME or found is None or not good or parts.username is not None:
            raise UsageError(f"{shown!r} is not a tracking URI of Azure ML", hint=_HINT)
        token = parse_qs(parts.query).get("auth", [""])[0]
        return cls(parts.netloc if host else "", Scope.of_path(found[0]), token)

    def __str__(self) -> str:
        return f"{SCHEME}://{self.host}/mlflow/v1.0{self.scope.path}" if self.host else f"{SCHEME}:{self.scope.path}"
