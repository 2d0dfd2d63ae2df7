"""Named remotes, kept in the store's remotes.toml like git's; never with a secret in them.

Where tokens come from (a file, a command), and which folder is shared with a server, is not kept there but by the
user, see mltrack.disk.trust.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import tomllib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mltrack.disk.filesystem import LOCAL, FileSystem, file_lock, read_small
from mltrack.disk.remotes_file import remotes_in
from mltrack.disk.trust import Grant, Refusal, Trust, is_own_file, offered_by, refusal_of, stranger_of
from mltrack.errors import NotFoundError, StoreError, UsageError
from mltrack.text.redaction import remember_url
from mltrack_sync.limits import AZURE_LIMITS, MLFLOW_LIMITS, Limits
from mltrack_sync.mlflow.provider import MlflowWorkspace, Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mltrack.store import Store

__all__ = ["Remote", "Remotes", "check_url", "name_for", "without_token"]

MLFLOW = "mlflow"
AZURE = "azure"
LOCK_TIMEOUT_S = 10.0
_SECRET_QUERY = ("token", "password", "auth", "secret", "key", "sig")


@dataclass(frozen=True, slots=True)
class Remote:
    """A place to push to. ``kind`` tells how it is spoken to; a token's file or command, where Azure tokens come from.

    ``shared_folder`` is a folder of this machine that the server keeps artifacts in, by the user's word.
    ``refusal`` tells why it is not used, where the user does not trust what the store says of it.
    """

    name: str
    url: str
    kind: str = MLFLOW
    token_file: str = ""
    token_command: str = ""
    shared_folder: str = ""
    refusal: Refusal | None = field(default=None, compare=False)

    @property
    def limits(self) -> Limits:
        """What it takes at once."""
        return AZURE_LIMITS if self.kind == AZURE else MLFLOW_LIMITS

    def require_trust(self) -> None:
        """Come here before anything of it is used.

        Raises:
            UntrustedError: the user does not trust what the store says of it.
        """
        if self.refusal is not None:
            raise self.refusal.error()

    def workspace(self) -> Workspace:
        """What hands out its endpoints.

        Raises:
            UsageError: its kind is not known here, or its URL is no good.
            UntrustedError: the user does not trust what the store says of it.
        """
        self.require_trust()
        if self.kind == AZURE:
            from mltrack_sync.azureml import AzureWorkspace, TrackingUri

            return AzureWorkspace(
                TrackingUri.parse(self.url),
                token_file=self.token_file or None,
                token_command=self.token_command or None,
            )
        if self.kind != MLFLOW:
            raise UsageError(f"remote {self.name!r} is of kind {self.kind!r}, which is not known here", hint="upgrade")
        check_url(self.url)  # a file that was edited by hand may hold anything
        return MlflowWorkspace(self.url, shared_folder=self.shared_folder)


def check_url(url: str) -> str:
    """The URL in the form it is kept in.

    Raises:
        UsageError: it is no http(s) URL nor one of Azure ML, or holds credentials.
    """
    remember_url(url)
    if kind_of(url) == AZURE:
        return _check_azure(url)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:  # its words may quote a part of a password
        raise UsageError(f"{url!r} is not a URL", hint="give one such as http://host:5000") from None
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
    from mltrack_sync.azureml import TrackingUri

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
        from mltrack_sync.azureml import TrackingUri

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
        return [self._remote(name, table) for name, table in self._tables().items()]

    def _remote(self, name: str, table: dict[str, Any]) -> Remote:
        url, kind = str(table["url"]).rstrip("/"), str(table.get("kind", MLFLOW))
        grant, refusal = refusal_of(self._layout.root, self._layout.store_id, name, table)
        bare = _without_credentials(url)
        if bare != url:
            remember_url(url)
            refusal = Refusal(f"{self._path}: the URL of {name!r} holds credentials", "take them out: edit the file")
        if grant is None or refusal is not None:
            return Remote(name, bare, kind, refusal=refusal)
        return Remote(name, bare, kind, grant.token_file, grant.token_command, grant.shared_folder)

    def _tables(self) -> dict[str, dict[str, Any]]:
        tables = remotes_in(self._path)
        if not isinstance(tables, dict) or not all(isinstance(t, dict) and "url" in t for t in tables.values()):
            raise StoreError(f"{self._path}: each remote needs a url", hint="mend it with an editor")
        return tables

    def get(self, name: str) -> Remote:
        """The remote of that name.

        Raises:
            NotFoundError: there is none.
        """
        for remote in self.all():
            if remote.name == name:
                return remote
        known = ", ".join(remote.name for remote in self.all()) or "none"
        if re.search(r"[:/?#@]", name):  # a URL may hold a password
            raise NotFoundError("no remote has such a name", hint=f"known: {known}")
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
        if known is not None:  # the user has named the URL, so what the store says of it is not asked
            return replace(known, refusal=None) if known.refusal is not None and known.refusal.for_url else known, True
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
        _check_tokens(kind_of(url), token_file, token_command)
        with self._changing():
            table = self._tables().get(name)
            if table is not None and str(table["url"]).rstrip("/") != url:
                raise _taken(self.get(name))
            try:  # the user has typed the URL; so it stays trusted when others change the file later
                seen = table if token_file or token_command else None
                self._grant(name, url, seen, token_file=token_file, token_command=token_command)
            except StoreError:
                if token_file or token_command:
                    raise
            if table is None:
                self._append(name, url, "file" if token_file else "command" if token_command else "")
        return self.get(name)

    def _append(self, name: str, url: str, token: str) -> None:
        text = self._own_text()
        gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
        fields = {"url": url, "kind": kind_of(url), "token": token}
        lines = [f"{key} = {_toml(value)}" for key, value in fields.items() if value]
        self._write("\n".join([f"{text}{gap}[remotes.{_toml(name)}]", *lines, ""]))

    def trust(self, name: str, *, token_file: str = "", token_command: str = "") -> Remote:
        """Trust a remote as the store has it now: credentials may go to its URL.

        Its tokens come from what is given, else from what the store's file names, which is run from then on.

        Raises:
            NotFoundError: there is none of that name.
            UsageError: its URL is no good, or it is not of a kind that takes tokens so.
            StoreError: it can't be written down.
        """
        self.get(name)
        table = self._tables()[name]
        url = check_url(str(table["url"]))
        if not (token_file or token_command):
            token_file, token_command = str(table.get("token_file", "")), str(table.get("token_command", ""))
        _check_tokens(kind_of(url), token_file, token_command)
        shared = str(table.get("shared_folder", "")) or None
        self._grant(name, url, table, token_file=token_file, token_command=token_command, shared_folder=shared)
        return self.get(name)

    def distrust(self, name: str) -> bool:
        """Trust a remote no more; returns whether it was trusted.

        Raises:
            StoreError: it can't be written down.
        """
        return Trust().remove(self._layout.root, name)

    def _grant(
        self,
        name: str,
        url: str,
        table: dict[str, Any] | None = None,
        *,
        token_file: str = "",
        token_command: str = "",
        shared_folder: str | None = None,
    ) -> None:
        """Note down what is given with what is trusted already; ``table`` is what the store's file names by now."""
        root, store_id, trust = self._layout.root, self._layout.store_id, Trust()
        place = os.path.realpath(root)
        known = trust.find(root, store_id, name, url, moved=not stranger_of(root))
        grant = replace(known or Grant(place, store_id, name, url), store=place, store_id=store_id)
        if token_file or token_command:
            grant = replace(grant, token_file=token_file, token_command=token_command)
        if shared_folder is not None:
            grant = replace(grant, shared_folder=shared_folder)
        trust.add(replace(grant, offered=offered_by(table)) if table is not None else grant)

    def _own_text(self) -> str:
        """The file as it may be written in our name: where others wrote it, their remotes stay theirs."""
        if is_own_file(self._path):
            return self._text()
        lines: list[str] = []
        for name, table in self._tables().items():
            fields = {key: value for key, value in table.items() if isinstance(value, str)}
            lines += [f"[remotes.{_toml(name)}]", *(f"{_toml(k)} = {_toml(fields[k])}" for k in fields)]
            lines += ["untrusted = true", ""]
        return "\n".join(lines)

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
        remote = self.get(name)
        if remote.kind != MLFLOW:
            raise UsageError(f"remote {name!r} is not an MLflow server", hint="only those keep artifacts in folders")
        self._grant(name, remote.url, shared_folder=folder)
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
            for line in self._own_text().splitlines(keepends=True):
                if line.lstrip().startswith("["):
                    inside = _table(line) == name
                if not inside:
                    kept.append(line)
            self._write("".join(kept))
        with contextlib.suppress(StoreError):
            self.distrust(name)

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
        # in a group's folder too: whoever changes it has to put another in its place, which is theirs then
        with contextlib.suppress(OSError):
            self._path.chmod(stat.S_IMODE(self._path.stat().st_mode) & ~0o022)


def _check_tokens(kind: str, token_file: str, token_command: str) -> None:
    if (token_file or token_command) and kind != AZURE:
        raise UsageError("token files and commands are for Azure ML", hint="set MLFLOW_TRACKING_TOKEN instead")
    if token_file and token_command:
        raise UsageError("a token file and a token command were given", hint="give one of them")
    if token_command:
        from mltrack_sync.azureml.tokens import CommandTokens

        CommandTokens(token_command)


def _without_credentials(url: str) -> str:
    """A URL without user, password and query, as somebody may have written it into the file."""
    scheme, found, rest = url.partition("://")
    if not found:
        return url.partition("?")[0]
    host, slash, path = rest.partition("/")
    if "@" not in host and "@" in rest and ":" in host and not host.rpartition(":")[2].isdigit():
        host, slash, path = rest.rpartition("@")[2].partition("/")  # a password with a slash
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}".partition("?")[0]


def _toml(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


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
