"""Named remotes, kept in the store's remotes.toml like git's; never with a secret in them.

Where tokens come from (a file, a command), and which folder is shared with a server, is not kept in that file but
in the user's own settings, see mltrack.disk.trust.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import LOCAL, FileSystem, read_small
from mltrack.disk.locks import file_lock
from mltrack.disk.remotes_file import remote_tables
from mltrack.disk.trust import Grant, Refusal, Trust, is_own_file, offered_by, other_author, refusal_of
from mltrack.errors import NotFoundError, StoreError, UsageError
from mltrack.text.redaction import hide, names_no_secret, remember_url
from mltrack.text.shown import shown
from mltrack_sync.remotes.kind import MLFLOW, Remote, find_kind, kind_of
from mltrack_sync.remotes.receivers import forget_receiver, is_receiver
from mltrack_sync.remotes.settings import PRIVATE, default_workspace, parse_settings, read_settings
from mltrack_sync.remotes.toml_text import with_fields, with_remote, with_tables, without_remote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mltrack.store import Store

__all__ = ["Remotes", "check_url", "name_for", "without_token"]

LOCK_TIMEOUT_S = 10.0


def check_url(url: str) -> str:
    """The URL in the form it is kept in.

    Raises:
        UsageError: it is not one of any kind of remote, or holds credentials.
    """
    remember_url(url)
    return kind_of(url).check_url(url)


def name_for(url: str) -> str:
    """A name for a remote that was only given as a URL."""
    return kind_of(url).name_for(url)


def without_token(uri: str) -> str:
    """The URI of a remote, without the query, where its kind may have a token in it."""
    return uri.partition("?")[0] if kind_of(uri).takes_tokens else uri


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
        settings = {"mlflow_workspace": default_workspace(kind), **read_settings(name, table)}
        if grant is None or refusal is not None:
            return Remote(name, bare, kind, refusal=refusal, **settings)
        return Remote(
            name,
            bare,
            kind,
            grant.token_file,
            grant.token_command,
            grant.shared_folder,
            command=grant.command,
            **settings,
        )

    def _tables(self) -> dict[str, dict[str, Any]]:
        return remote_tables(self._path)

    def get(self, name: str) -> Remote:
        """The remote of that name.

        Raises:
            NotFoundError: no remote has that name.
        """
        for remote in self.all():
            if remote.name == name:
                return remote
        known = ", ".join(remote.name for remote in self.all()) or "none"
        if re.search(r"[:/?#@]", name):  # a URL, which may hold a password
            ways = "a server's URL begins with http:// or https://, the path of a folder with / or ./"
            typed = shown(hide(re.sub(r"(?s)^.*@", "...@", re.sub(r"(?s)[?#].*", "?...", name))))
            raise NotFoundError(f"no remote {typed}", hint=f"known: {known}; {ways}")
        near = get_close_matches(name, [remote.name for remote in self.all()], n=1)
        meant = f"did you mean {near[0]}? Known: {known}. " if near else f"known: {known}. " if self.all() else ""
        raise NotFoundError(f"no remote {name!r}", hint=f"{meant}Add one: mltrack remote add {name or 'NAME'} URL")

    def for_url(self, url: str) -> tuple[Remote, bool]:
        """The remote at a URL, and whether it is a known one; a new one is named after its host, and not remembered.

        Raises:
            UsageError: the URL is not valid, or what would be its name belongs to another URL.
        """
        url = check_url(url)
        remotes = self.all()
        known = next((remote for remote in remotes if url in (remote.url, _kept_form(remote.url))), None)
        if known is not None:  # the user has given the URL, so what the store says of it does not matter
            return replace(known, refusal=None) if known.refusal is not None and known.refusal.for_url else known, True
        kind = kind_of(url).name
        new = Remote(name_for(url), url, kind, mlflow_workspace=default_workspace(kind))
        taken = next((remote for remote in remotes if remote.name == new.name), None)
        if taken is not None:
            raise _taken(taken)
        return new, False

    def add(self, name: str, url: str, *, token_file: str = "", token_command: str = "") -> Remote:
        """Remember a remote; adding it again with the same URL changes nothing.

        Args:
            name: The remote's name.
            url: Its URL.
            token_file: A file with a token, for kinds that take one.
            token_command: A command that prints a token.

        Raises:
            UsageError: the name belongs to another URL, or the URL is not valid.
            InvalidPathError: the name can't be a folder's.
            StoreError: the store can't be written.
        """
        self._layout.remote(name)
        url = check_url(url)
        kind_of(url).check_tokens(token_file, token_command)
        with self._changing():
            table = self._tables().get(name)
            if table is None and is_receiver(self._layout, name):
                raise UsageError(f"bundles are written for {name!r}", hint="give the remote another name")
            if table is not None and url not in (found := str(table["url"]).rstrip("/"), _kept_form(found)):
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
        fields = {"url": url, "kind": kind_of(url).name, "token": token}
        self._write(with_remote(self._own_text(), name, {key: value for key, value in fields.items() if value}))

    def configure(self, name: str, settings: Iterable[str]) -> Remote:
        """Change settings of a remote, given as ``KEY=VALUE``; ``KEY=`` removes one.

        Raises:
            NotFoundError: no remote has that name.
            UsageError: it has no such setting, or a value is not valid.
            StoreError: the store can't be written.
        """
        with self._changing():
            table = self._tables().get(name)
            if table is None:
                return self.get(name)  # which says what is known
            parsed = parse_settings(find_kind(str(table.get("kind", MLFLOW))), settings)
            if "command" in parsed:
                self._grant(name, self.get(name).url, command=str(parsed["command"] or ""))
            public = {key: value for key, value in parsed.items() if key not in PRIVATE}
            changed = {key: value for key, value in public.items() if value != table.get(key)}
            if changed:
                self._write(with_fields(self._own_text(), name, changed))
        return self.get(name)

    def set_url(self, name: str, url: str) -> Remote:
        """Give a remote another URL. Tokens and a shared folder, which are bound to a URL, have to be named again.

        Raises:
            NotFoundError: no remote has that name.
            UsageError: the URL is not valid, or one of another kind of remote.
            StoreError: the store can't be written.
        """
        url = check_url(url)
        with self._changing():
            kind = self.get(name).kind
            if kind_of(url).name != kind:
                hint = f"add it as another remote: mltrack remote add NAME {url}"
                raise UsageError(f"remote {name!r} is of the kind {kind}, and {url} is not", hint=hint)
            self._write(with_fields(self._own_text(), name, {"url": url}))
            self._grant(name, url)
        return self.get(name)

    def rename(self, name: str, new_name: str, move: Callable[[], None]) -> Remote:
        """Give a remote another name, with its settings; ``move`` moves its folder, before the name is written.

        Raises:
            NotFoundError: no remote has that name.
            UsageError: the new name is taken.
            StoreError: the store can't be written.
        """
        with self._changing():
            remote = self.get(name)
            tables = self._tables()
            if new_name in tables or is_receiver(self._layout, new_name):
                raise UsageError(f"there is a remote {new_name!r} already", hint="choose another name")
            root, trust = self._layout.root, Trust()
            known = trust.find(root, self._layout.store_id, name, remote.url, moved=not other_author(root))
            move()
            fields = {key: value for key, value in tables[name].items() if type(value) in (str, int)}
            text = with_remote(without_remote(self._own_text(), name), new_name, {})
            self._write(with_fields(text, new_name, fields))
            if known is not None:
                trust.add(replace(known, remote=new_name))
        with contextlib.suppress(StoreError):
            self.distrust(name)
        return self.get(new_name)

    def trust(self, name: str, *, token_file: str = "", token_command: str = "") -> Remote:
        """Trust a remote as the store has it now: credentials may go to its URL.

        Its tokens come from what is given, else from what the store's file names, which is run from then on.

        Raises:
            NotFoundError: no remote has that name.
            UsageError: its URL is not valid, or its kind takes no tokens from files and commands.
            StoreError: it can't be written down.
        """
        self.get(name)
        table = self._tables()[name]
        url = check_url(str(table["url"]))
        if not (token_file or token_command):
            token_file, token_command = str(table.get("token_file", "")), str(table.get("token_command", ""))
        kind_of(url).check_tokens(token_file, token_command)
        shared = str(table.get("shared_folder", "")) or None
        self._grant(name, url, table, token_file=token_file, token_command=token_command, shared_folder=shared)
        return self.get(name)

    def distrust(self, name: str) -> bool:
        """Stop trusting a remote; returns whether it was trusted.

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
        command: str | None = None,
    ) -> None:
        """Note what is given in addition to what is trusted already; ``table`` is what the store's file says now."""
        root, store_id, trust = self._layout.root, self._layout.store_id, Trust()
        place = os.path.realpath(root)
        known = trust.find(root, store_id, name, url, moved=not other_author(root))
        grant = replace(known or Grant(place, store_id, name, url), store=place, store_id=store_id)
        if token_file or token_command:
            grant = replace(grant, token_file=token_file, token_command=token_command)
        if shared_folder is not None:
            grant = replace(grant, shared_folder=shared_folder)
        if command is not None:
            grant = replace(grant, command=command)
        trust.add(replace(grant, offered=offered_by(table)) if table is not None else grant)

    def _own_text(self) -> str:
        """The file as this user may write it: where others wrote it, their remotes stay untrusted."""
        if is_own_file(self._path):
            return self._text()
        tables: dict[str, dict[str, Any]] = {}
        for name, table in self._tables().items():
            fields = {key: value for key, value in table.items() if type(value) in (str, int)}
            tables[name] = {**fields, "untrusted": True}
        return with_tables(tables)

    def share_folder(self, name: str, folder: str) -> Remote:
        """Say that the server keeps artifacts in this folder of this machine; "" says that it does not.

        Raises:
            NotFoundError: no remote has that name.
            UsageError: it is not a folder, or the remote does not keep artifacts in folders.
        """
        if folder:
            folder = os.path.abspath(os.path.expanduser(folder))
            if not os.path.isdir(folder) or folder == os.path.sep:
                raise UsageError(
                    f"{folder!r} is not a folder to share", hint="give the folder that the server writes to"
                )
        remote = self.get(name)
        if not find_kind(remote.kind).shares_folders:
            raise UsageError(f"remote {name!r} is not an MLflow server", hint="only those keep artifacts in folders")
        self._grant(name, remote.url, shared_folder=folder)
        return self.get(name)

    def remove(self, name: str) -> None:
        """Forget a remote. Its ledger stays, and is used again if the name is added again with the same URL.

        Of a receiver of bundles, what it has by its receipts is forgotten: the next bundle for it holds everything.

        Raises:
            NotFoundError: no remote has that name.
            StoreError: the store can't be written.
        """
        with self._changing():
            if name not in self._tables() and is_receiver(self._layout, name):
                forget_receiver(self._layout, name)
                return
            self.get(name)
            self._write(without_remote(self._own_text(), name))
        with contextlib.suppress(StoreError):
            self.distrust(name)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        try:
            with file_lock(self._lock, timeout_s=LOCK_TIMEOUT_S):
                yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            hint = "make room" if full else "check the store's permissions, and how its disk is mounted"
            raise StoreError(f"{self._path} can't be changed: {error.strerror or error}", hint=hint) from error

    def _text(self) -> str:
        try:
            return read_small(self._path).decode("utf-8")
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"{self._path} can't be read: {error}", hint="check its permissions") from error

    def _write(self, text: str) -> None:
        self._fs.publish_bytes(self._path, text.encode("utf-8"))
        # in a group's folder too: others can only replace the file, and then they own it
        with contextlib.suppress(OSError):
            self._path.chmod(stat.S_IMODE(self._path.stat().st_mode) & ~0o022)


def _without_credentials(url: str) -> str:
    """A URL without user, password and query, as somebody may have written it into the file."""
    scheme, found, rest = url.partition("://")
    if not found:
        return url.partition("?")[0]
    host, slash, path = rest.partition("/")
    if names_no_secret(url):
        return url if scheme.lower() == "ssh" else url.partition("?")[0]
    if "@" not in host and "@" in rest and ":" in host and not host.rpartition(":")[2].isdigit():
        host, slash, path = rest.rpartition("@")[2].partition("/")  # a password with a slash
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}".partition("?")[0]


def _kept_form(url: str) -> str:
    """A URL of the file in the form in which it would be kept today; as it is where it is not valid."""
    try:
        return check_url(url)
    except UsageError:
        return url


def _taken(remote: Remote) -> UsageError:
    return UsageError(
        f"remote {remote.name!r} is {remote.url} already",
        hint=f"give the new one another name, or change this one: mltrack remote set-url {remote.name} URL",
    )
