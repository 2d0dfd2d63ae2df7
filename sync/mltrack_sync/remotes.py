"""Named remotes, kept in the store's remotes.toml like git's; never with a secret in them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mltrack.errors import NotFoundError, StoreError, UsageError
from mltrack.fs import LOCAL, FileSystem, file_lock, read_small
from mltrack_sync.workspace import MlflowWorkspace, Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mltrack.reading import Store

__all__ = ["Remote", "Remotes", "check_url", "name_for", "without_token"]

MLFLOW = "mlflow"
AZURE = "azure"
_OPTIONS = ("token_file", "token_command", "shared_folder")
LOCK_TIMEOUT_S = 10.0
_SECRET_QUERY = ("token", "password", "auth", "secret", "key", "sig")


@dataclass(frozen=True, slots=True)
class Remote:
    """A place to push to. ``kind`` tells how it is spoken to; then where Azure tokens come from.

    ``shared_folder`` is a folder of this machine that the server keeps artifacts in, by the user's word.
    """

    name: str
    url: str
    kind: str = MLFLOW
    token_file: str = ""
    token_command: str = ""
    shared_folder: str = ""

    def workspace(self) -> Workspace:
        """What hands out its endpoints.

        Raises:
            UsageError: its kind is not known here.
        """
        if self.kind == AZURE:
            from mltrack_sync.azure import AzureWorkspace, TrackingUri

            return AzureWorkspace(
                TrackingUri.parse(self.url),
                token_file=self.token_file or None,
                token_command=self.token_command or None,
            )
        if self.kind != MLFLOW:
            raise UsageError(f"remote {self.name!r} is of kind {self.kind!r}, which is not known here", hint="upgrade")
        return MlflowWorkspace(self.url, shared_folder=self.shared_folder)


def check_url(url: str) -> str:
    """The URL in the form it is kept in.

    Raises:
        UsageError: it is no http(s) URL nor one of Azure ML, or holds credentials.
    """
    if kind_of(url) == AZURE:
        return _check_azure(url)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"{url!r} is no URL: {error}", hint="give one such as http://host:5000") from error
    if parts.username is not None or parts.password is not None:
        shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        raise UsageError(
            f"the URL of {shown} holds credentials, and they are never written to disk",
            hint="leave them out; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead",
        )
    if parts.scheme not in ("http", "https") or not host:
        raise UsageError(f"{url!r} is no http(s) URL", hint="give one such as http://host:5000")
    if parts.query or parts.fragment:
        secret = any(word in parts.query.lower() for word in _SECRET_QUERY)
        why = "may hold credentials, and they are never written to disk" if secret else "has no use here"
        raise UsageError(f"what follows '?' or '#' in the URL of {parts.netloc} {why}", hint="leave it out")
    return parts._replace(netloc=parts.netloc.lower()).geturl().rstrip("/")


def kind_of(url: str) -> str:
    """How what is at this URL is spoken to."""
    return AZURE if url.lower().startswith("azureml:") else MLFLOW


def _check_azure(url: str) -> str:
    from mltrack_sync.azure import TrackingUri

    uri = TrackingUri.parse(url)
    if uri.token:
        raise UsageError(
            f"the URI of {uri} holds a token, and tokens are never written to disk",
            hint="leave out what follows '?'; set MLFLOW_TRACKING_URI to the whole URI to use its token",
        )
    return str(uri)


def name_for(url: str) -> str:
    """A name for a remote that was only given as a URL: from its host and port, or its workspace."""
    if kind_of(url) == AZURE:
        from mltrack_sync.azure import TrackingUri

        return re.sub(r"[^A-Za-z0-9._-]+", "-", TrackingUri.parse(url).scope.workspace_name)[:64]
    parts = urlsplit(url)
    text = f"{parts.hostname}-{parts.port}" if parts.port else str(parts.hostname)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:64] or "remote"


def without_token(uri: str) -> str:
    """An Azure ML tracking URI without the token that an old-style one carries; any other as it is."""
    return uri.partition("?")[0] if kind_of(uri) == AZURE else uri


class Remotes:
    """The remotes of one store."""

    def __init__(self, store: Store, *, fs: FileSystem = LOCAL) -> None:
        self._layout = store.layout
        self._path = store.path / "remotes.toml"
        self._lock = store.path / "remotes.lock"
        self._fs = fs

    def all(self) -> list[Remote]:
        """All of them, in the order they were added.

        Raises:
            StoreError: the file can't be read.
        """
        try:
            fields = tomllib.loads(self._text())
        except tomllib.TOMLDecodeError as error:
            raise StoreError(f"{self._path} is no TOML: {error}", hint="mend it with an editor") from error
        tables = fields.get("remotes", {})
        if not isinstance(tables, dict) or not all(isinstance(t, dict) and "url" in t for t in tables.values()):
            raise StoreError(f"{self._path}: each remote needs a url", hint="mend it with an editor")
        return [
            Remote(name, str(table["url"]).rstrip("/"), str(table.get("kind", MLFLOW)), *_options(table))
            for name, table in tables.items()
        ]

    def get(self, name: str) -> Remote:
        """The remote of that name.

        Raises:
            NotFoundError: there is none.
        """
        for remote in self.all():
            if remote.name == name:
                return remote
        known = ", ".join(remote.name for remote in self.all()) or "none"
        raise NotFoundError(
            f"no remote {name!r}", hint=f"known: {known}. Add one: mltrack remote add {name or 'NAME'} URL"
        )

    def for_url(self, url: str) -> tuple[Remote, bool]:
        """The remote at a URL, and whether it is a known one; a new one is named after its host, and not remembered.

        Raises:
            UsageError: the URL is no good, or what would be its name belongs to another URL.
        """
        url = check_url(url)
        remotes = self.all()
        known = next((remote for remote in remotes if remote.url == url), None)
        if known is not None:
            return known, True
        new = Remote(name_for(url), url, kind_of(url))
        taken = next((remote for remote in remotes if remote.name == new.name), None)
        if taken is not None:
            raise _taken(taken)
        return new, False

    def add(self, name: str, url: str, *, token_file: str = "", token_command: str = "") -> Remote:
        """Remember a remote; adding it again with the same URL changes nothing.

        Raises:
            UsageError: the name belongs to another URL, or the URL is no good.
            InvalidPathError: the name can't be a folder's.
            StoreError: the store can't be written.
        """
        self._layout.remote(name)
        url = check_url(url)
        added = Remote(name, url, kind_of(url), token_file, token_command)
        if (token_file or token_command) and added.kind != AZURE:
            raise UsageError("token files and commands are for Azure ML", hint="set MLFLOW_TRACKING_TOKEN instead")
        if token_file and token_command:
            raise UsageError("a token file and a token command were given", hint="give one of them")
        with self._changing():
            for remote in self.all():
                if remote == added or (remote.name == name and remote.url == url and not (token_file or token_command)):
                    return remote
                if remote.name == name:
                    raise _taken(remote)
            text = self._text()
            gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
            fields = {"url": url, "kind": added.kind, "token_file": token_file, "token_command": token_command}
            lines = [f"{key} = {json.dumps(value)}" for key, value in fields.items() if value]
            self._write("\n".join([f"{text}{gap}[remotes.{json.dumps(name)}]", *lines, ""]))
        return added

    def share_folder(self, name: str, folder: str) -> Remote:
        """Say that the server keeps artifacts in this folder of this machine; "" says that it does not.

        Raises:
            NotFoundError: there is no such remote.
            UsageError: it is no folder, or the remote is none that keeps artifacts so.
        """
        if folder:
            folder = os.path.abspath(os.path.expanduser(folder))
            if not os.path.isdir(folder) or folder == os.path.sep:
                raise UsageError(
                    f"{folder!r} is not a folder to share", hint="give the folder that the server writes to"
                )
        with file_lock(self._lock, timeout_s=LOCK_TIMEOUT_S):
            remote = self.get(name)
            if remote.kind != MLFLOW:
                raise UsageError(
                    f"remote {name!r} is not an MLflow server", hint="only those keep artifacts in folders"
                )
            lines: list[str] = []
            inside = False
            for line in self._text().splitlines(keepends=True):
                if line.lstrip().startswith("["):
                    inside = _table(line) == name
                    lines.append(line if line.endswith("\n") else f"{line}\n")
                    if inside and folder:
                        lines.append(f"shared_folder = {json.dumps(folder)}\n")
                elif not (inside and re.match(r"\s*[\"']?shared_folder[\"']?\s*=", line)):
                    lines.append(line)
            self._write("".join(lines))
            return self.get(name)

    def remove(self, name: str) -> None:
        """Forget a remote. Its ledger stays; should the name be added again with the same URL, it goes on from there.

        Raises:
            NotFoundError: there is none of that name.
            StoreError: the store can't be written.
        """
        with self._changing():
            self.get(name)
            kept: list[str] = []
            inside = False
            for line in self._text().splitlines(keepends=True):
                if line.lstrip().startswith("["):
                    inside = _table(line) == name
                if not inside:
                    kept.append(line)
            self._write("".join(kept))

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        try:
            with file_lock(self._lock, timeout_s=LOCK_TIMEOUT_S):
                yield
        except OSError as error:
            raise StoreError(
                f"{self._path} can't be changed: {error.strerror or error}", hint="check the store's permissions"
            ) from error

    def _text(self) -> str:
        try:
            return read_small(self._path).decode("utf-8")
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"{self._path} can't be read: {error}", hint="check its permissions") from error

    def _write(self, text: str) -> None:
        tomllib.loads(text)  # never publish what could not be read back
        self._fs.publish_bytes(self._path, text.encode("utf-8"))


def _options(table: dict[str, object]) -> list[str]:
    return [str(table.get(option, "")) for option in _OPTIONS]


def _taken(remote: Remote) -> UsageError:
    return UsageError(
        f"remote {remote.name!r} is {remote.url} already", hint=f"remove it first: mltrack remote rm {remote.name}"
    )


def _table(line: str) -> str | None:
    """The remote's name in a line ``[remotes.name]``."""
    try:
        tables = tomllib.loads(line).get("remotes", {})
    except tomllib.TOMLDecodeError:
        return None
    return next(iter(tables), None) if isinstance(tables, dict) else None
