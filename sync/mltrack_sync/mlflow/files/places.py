"""Where a server says that artifacts go, and whether they may: our credentials are not sent to a place it merely names.

- Its own artifact proxy, whatever way it is written: with our credentials.
- Another server over http(s): without any credentials, and never unencrypted where the remote itself is encrypted.
- A folder of this machine: only below the folder that the user said the two share (``mltrack remote set``).
- An object store: by MLflow's own repositories, with that store's own credentials, on that service's own hosts.
"""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from mltrack.disk.filesystem import safe_join
from mltrack.errors import InvalidPathError
from mltrack_sync.errors import RemoteRefusedError
from mltrack_sync.http.responses import capped, shown_url
from mltrack_sync.mlflow.api.client import ARTIFACTS
from mltrack_sync.remotes.kind import is_place_of_a_kind

if TYPE_CHECKING:
    from mltrack_sync.http.transport import Transport

__all__ = ["PROXY_SCHEME", "InCloud", "InFolder", "OnWeb", "Place", "Proxied", "place_of"]

PROXY_SCHEME = "mlflow-artifacts"
WEB = ("http", "https")
PORTS = {"http": 80, "https": 443}
NAMES_OTHERS = ("databricks", "databricks-uc", "dbfs", "models", "mltrack", "runs", "uc")
"""Schemes that refer to another place, which would not be checked."""

_AZURE_HOSTS = r"core\.(?:windows\.net|usgovcloudapi\.net|chinacloudapi\.cn)"
_HOSTS = {
    "wasbs": re.compile(rf"[^@]+@[a-z0-9-]+(?:\.z[0-9]+)?\.blob\.{_AZURE_HOSTS}", re.ASCII),
    "abfss": re.compile(rf"[^@]+@[a-z0-9-]+(?:\.z[0-9]+)?\.dfs\.(?:{_AZURE_HOSTS}|fabric\.microsoft\.com)", re.ASCII),
    "r2": re.compile(r"[^@]+@[a-z0-9-]+(?:\.(?:eu|fedramp))?\.r2\.cloudflarestorage\.com", re.ASCII),
    "b2": re.compile(r"[^@]+@s3\.[a-z0-9-]+\.backblazeb2\.com", re.ASCII),
}
"""For stores whose address names a host: the hosts that may get the credentials of such a store."""


@dataclass(frozen=True, slots=True)
class Proxied:
    """Through the server's own artifact proxy, below ``path``."""

    path: str

    def name(self, path: str) -> str:
        """The file's path in the proxy."""
        return posixpath.join(self.path, path)


@dataclass(frozen=True, slots=True)
class OnWeb:
    """On another server, below ``url``."""

    url: str

    def file_url(self, path: str) -> str:
        """The URL of a file."""
        return f"{self.url.rstrip('/')}/{quote(path)}"


@dataclass(frozen=True, slots=True)
class InFolder:
    """On this machine: in ``within``, below the shared folder ``root``."""

    root: Path
    within: str

    def file(self, path: str) -> Path:
        """The path of a file.

        Raises:
            RemoteRefusedError: it would lead out of the shared folder.
        """
        try:
            return safe_join(self.root, posixpath.join(self.within, path))
        except InvalidPathError as error:
            raise refused(str(error), "PERMISSION_DENIED") from error


@dataclass(frozen=True, slots=True)
class InCloud:
    """In a store that MLflow's own repositories handle."""

    uri: str


Place = Proxied | OnWeb | InFolder | InCloud


def place_of(transport: Transport, uri: str) -> Place:
    """Where artifacts at this URI are.

    Raises:
        RemoteRefusedError: they may not go to that place; the message says what can be done.
    """
    try:
        target = urlsplit(uri)
        host, port = target.hostname, target.port
    except ValueError:
        raise refused(f"the server says that artifacts go to {capped(uri)!r}, which is not an address") from None
    scheme = target.scheme
    if target.password is not None or ((scheme == PROXY_SCHEME or scheme in WEB) and "@" in target.netloc):
        raise refused(f"the server says that artifacts go to {shown_url(uri)}, with credentials of its own in it")
    if scheme == PROXY_SCHEME and not host:
        return Proxied(target.path.lstrip("/"))
    if scheme == PROXY_SCHEME or scheme in WEB:
        own = urlsplit(transport.base_url)
        scheme = own.scheme if scheme == PROXY_SCHEME else scheme
        path = target.path
        if target.scheme == PROXY_SCHEME and not path.startswith(ARTIFACTS.rstrip("/")):
            path = ARTIFACTS + path.lstrip("/")
        return _on_web(transport, scheme, str(host or ""), port or PORTS[scheme], path)
    if scheme in ("", "file") or len(scheme) == 1:
        return _in_folder(transport, uri)
    if scheme in NAMES_OTHERS or is_place_of_a_kind(uri):
        raise refused(f"the server says that artifacts go to {shown_url(uri)}: such an address refers to another one")
    if scheme in _HOSTS and not _HOSTS[scheme].fullmatch(target.netloc.lower()):
        words = (
            f"the server says that artifacts go to {shown_url(uri)}: credentials for {scheme} go to its own hosts only"
        )
        raise refused(words, "PERMISSION_DENIED")
    return InCloud(uri)


def _on_web(transport: Transport, scheme: str, host: str, port: int, path: str) -> Place:
    own = urlsplit(transport.base_url)
    own_path = own.path.rstrip("/") + ARTIFACTS
    mine = (own.scheme, own.hostname, own.port or PORTS[own.scheme])
    place = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{path}"
    if mine == (scheme, host, port):
        for before in (own_path, ARTIFACTS):
            if f"{path}/".startswith(before):
                return Proxied(unquote(path[len(before) :].strip("/")))
    if not host:
        raise refused("the server says that artifacts go to a host without a name")
    if own.scheme == "https" and scheme == "http":
        raise refused(f"the server says that artifacts go to {place}, which is not encrypted, as the server itself is")
    return OnWeb(place)


def _in_folder(transport: Transport, uri: str) -> InFolder:
    """Below the folder that the user said is shared with the server, and nowhere else."""
    target = urlsplit(uri)
    path = unquote(target.path) if target.scheme == "file" else uri
    shared = transport.shared_folder
    shown = capped(uri)
    if not shared:
        words = (
            f"the server keeps artifacts in {shown!r}, a folder of a machine: where this machine shares it with the"
            " server, run mltrack remote set NAME --shared-folder PATH; else start the server with --serve-artifacts"
        )
        raise refused(words, "PERMISSION_DENIED")
    outside = refused(
        f"the server keeps artifacts in {shown!r}, which is not in the shared folder", "PERMISSION_DENIED"
    )
    if target.netloc not in ("", "localhost") or target.query or target.fragment or not path.startswith("/"):
        raise outside
    parts = re.split(r"/+", path.strip("/"))
    if any(part in (".", "..") or "\0" in part for part in parts):
        raise outside
    for root in (PurePosixPath(shared), PurePosixPath(os.path.realpath(shared))):
        wanted = PurePosixPath("/", *parts)
        if wanted.is_relative_to(root) and wanted != root:
            place = InFolder(Path(os.path.realpath(shared)), str(wanted.relative_to(root)))
            place.file("x")
            return place
    raise outside


def refused(words: str, code: str = "INVALID_URI") -> RemoteRefusedError:
    """The error for a file that can't be sent to its place."""
    return RemoteRefusedError(words, status=400, code=code, words=words)
