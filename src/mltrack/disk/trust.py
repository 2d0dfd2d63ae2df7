"""Who owns a store, and which of its remotes a user trusts, which is kept in the user's own folder, never in a store.

A store is found upward from the working directory, so it may be anybody's. Reading it and recording into it need no
trust. But its ``remotes.toml`` is obeyed only where the user wrote it or trusts it: the user's credentials are sent to
a URL of another user's store only once that remote is trusted, and a command or a file that gives tokens is never
taken from a store at all, not even the user's own: an archive belongs to the user who unpacked it.

The owners of the store's folder, its ``store.json`` and its ``remotes.toml`` decide who owns it, as with git's
``safe.directory``; for root under sudo the user who called sudo counts as well.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.disk.locks import file_lock
from mltrack.disk.user_folder import settings_folder
from mltrack.environment import MLTRACK_TRUSTED_STORES
from mltrack.errors import StoreError, UntrustedError
from mltrack.text.redaction import hide

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Grant", "Refusal", "Trust", "is_own_file", "offered_by", "other_author", "refusal_of", "refuse_links"]


_NEVER_FROM_A_STORE = ("token_file", "token_command", "shared_folder")

LOCK_TIMEOUT_S = 10.0
FILE_BYTES_MAX = 1 << 20
SHOWN_MAX = 200


@dataclass(frozen=True, slots=True)
class Grant:
    """One remote of one store that is trusted, with where its tokens come from and the folder shared with it.

    ``command`` is how mltrack is started on the remote's machine, where it is reached by ssh.

    ``offered`` is a digest of the commands and files that the store named when it was trusted.
    """

    store: str
    store_id: str
    remote: str
    url: str
    token_file: str = ""
    token_command: str = ""
    shared_folder: str = ""
    offered: str = ""
    command: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a remote is not used. ``for_url``: it would be if the user gave its URL instead of its name."""

    message: str
    hint: str
    for_url: bool = False

    def error(self) -> UntrustedError:
        """The refusal as an error."""
        return UntrustedError(self.message, hint=self.hint)


class Trust:
    """What this user trusts: ``$XDG_CONFIG_HOME/mltrack/trust.json``, by default in ``~/.config``."""

    def __init__(self, *, environ: Mapping[str, str] = os.environ, fs: FileSystem = LOCAL) -> None:
        self._environ = environ
        self._fs = fs

    @property
    def path(self) -> Path:
        """The file.

        Raises:
            StoreError: this user has no folder for settings.
        """
        folder = settings_folder(self._environ)
        if folder is None:
            raise StoreError("no home folder to keep trusted remotes in", hint="set XDG_CONFIG_HOME")
        return folder / "trust.json"

    def all(self) -> list[Grant]:
        """All trusted remotes.

        Raises:
            StoreError: the file can't be read, or another user may write it.
        """
        path = self.path
        try:
            with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # a pipe would block
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode) or found.st_size > FILE_BYTES_MAX:
                    raise StoreError(f"{path} is not a settings file", hint="remove it, and trust the remotes again")
                if found.st_uid not in _own_ids(self._environ) or found.st_mode & 0o022:
                    raise StoreError(
                        f"{path} can be written by other users, so it is ignored",
                        hint=f"look at it, then: chown and chmod 600 {path}",
                    )
                fields = json.loads(file.read())
            return [Grant(**{key: str(value) for key, value in each.items()}) for each in fields["trusted"]]
        except (FileNotFoundError, NotADirectoryError, PermissionError):  # also in another user's home
            return []
        except OSError as error:
            raise StoreError(f"{path} can't be read: {error.strerror}", hint="check its permissions") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StoreError(
                f"{path} is damaged", hint="remove it, and trust the remotes again: mltrack remote trust NAME"
            ) from error

    def find(self, root: Path, store_id: str, name: str, url: str, *, moved: bool) -> Grant | None:
        """The grant for a remote of a store; None without one.

        Args:
            root: The store's folder.
            store_id: The store's id.
            name: The remote's name.
            url: The remote's URL.
            moved: Grants for another folder count too, if they are for the same store id.

        Raises:
            StoreError: as all.
        """
        found = [g for g in self.all() if (g.remote, g.url) == (name, url)]
        here = os.path.realpath(root)
        same = [grant for grant in found if grant.store == here]
        elsewhere = [grant for grant in found if moved and grant.store_id == store_id]
        return next(iter([*same, *elsewhere]), None)

    def add(self, grant: Grant) -> None:
        """Trust a remote, replacing an earlier grant.

        Raises:
            StoreError: it can't be written down.
        """
        self._change(lambda grants: [*(g for g in grants if not _is_same(g, grant)), grant])

    def remove(self, root: Path, name: str) -> bool:
        """Stop trusting that remote of the store at ``root``; returns whether it was trusted.

        Raises:
            StoreError: it can't be written down.
        """
        here = os.path.realpath(root)
        known = self.all()
        if not any(grant.store == here and grant.remote == name for grant in known):
            return False
        self._change(lambda grants: [g for g in grants if not (g.store == here and g.remote == name)])
        return True

    def _change(self, change: Any) -> None:
        path = self.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with file_lock(path.with_suffix(".lock"), timeout_s=LOCK_TIMEOUT_S):
                fields = {"trusted": [_fields(grant) for grant in change(self.all())]}
                self._publish(path, json.dumps(fields, indent=2).encode("ascii") + b"\n")
        except OSError as error:
            raise StoreError(
                f"{path} can't be written: {error.strerror}",
                hint=f"set XDG_CONFIG_HOME to a folder of yours; or set {MLTRACK_TRUSTED_STORES} for a store of others",
            ) from error

    def _publish(self, path: Path, data: bytes) -> None:
        """Readable by the user only, as commands may hold secrets."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.fchmod(fd, 0o600)
            self._fs.write_all(fd, data)
        finally:
            os.close(fd)
        self._fs.publish(temporary, path)


def _fields(grant: Grant) -> dict[str, str]:
    """A grant as it is kept; what versions before did not know is left out where it is not set."""
    fields: dict[str, str] = asdict(grant)
    if not grant.command:
        del fields["command"]
    return fields


def _is_same(one: Grant, other: Grant) -> bool:
    return (one.store, one.remote) == (other.store, other.remote)


# --- who owns it -------------------------------------------------------------------------------------------------


def other_author(root: Path, *, environ: Mapping[str, str] = os.environ) -> str:
    """Who else may have written the remotes of the store at ``root``; "" if only the user."""
    own = _own_ids(environ)
    for path in (root, root / "store.json", root / "remotes.toml"):
        try:
            followed, itself = path.stat(), path.lstat()
        except OSError:
            continue
        kinds = (followed,) if path == root else (followed, itself)
        for found in kinds:
            if found.st_uid not in own:
                return f"belongs to {_user_name(found.st_uid)}"
        if path.name == "remotes.toml" and followed.st_mode & stat.S_IWOTH:
            return "has a remotes.toml that anybody may write"
    return ""


def refuse_links(root: Path, folder: Path) -> None:
    """Check a remote's folder of the store at ``root`` for links before anything is written into it.

    Raises:
        UntrustedError: the store is another user's and has a link in that place, so writes could go anywhere.
    """
    stranger = other_author(root)
    if not stranger:
        return
    inside: list[Path] = []
    with contextlib.suppress(OSError):
        inside = list(folder.iterdir())
    for path in (root / "remotes", root / "remotes" / "sync.log", folder, *inside):
        if path.is_symlink():
            words = f"{path} is a link, in a store that {stranger}: nothing is written through it"
            raise UntrustedError(words, hint="have it removed")


def is_own_file(path: Path, *, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether only the user can have written that file; a missing one counts as theirs."""
    try:
        found = path.lstat()
    except OSError:
        return True
    return found.st_uid in _own_ids(environ) and not (stat.S_ISREG(found.st_mode) and found.st_mode & stat.S_IWOTH)


def _own_ids(environ: Mapping[str, str]) -> set[int]:
    own = {os.geteuid()}
    before_sudo = environ.get("SUDO_UID", "")
    if 0 in own and before_sudo.isascii() and before_sudo.isdecimal():
        own.add(int(before_sudo))
    return own


def _user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _is_named(root: Path, environ: Mapping[str, str]) -> bool:
    """Whether the environment trusts this store."""
    named = [part for part in environ.get(MLTRACK_TRUSTED_STORES, "").split(os.pathsep) if part]
    here = os.path.realpath(root)
    return any(part == "*" or os.path.realpath(os.path.expanduser(part)) == here for part in named)


# --- what is refused ----------------------------------------------------------------------------------------------


def offered_by(table: Mapping[str, Any]) -> str:
    """A digest of the commands and files that a table of ``remotes.toml`` names; "" if it names none."""
    named = [str(table.get(option, "")) for option in _NEVER_FROM_A_STORE]
    return hashlib.sha256(json.dumps(named).encode("ascii")).hexdigest() if any(named) else ""


def refusal_of(
    root: Path, store_id: str, name: str, table: Mapping[str, Any], *, environ: Mapping[str, str] = os.environ
) -> tuple[Grant | None, Refusal | None]:
    """The grant for a remote as ``remotes.toml`` has it, and the reason if it is not used.

    Args:
        root: The store's folder.
        store_id: The store's id.
        name: The remote's name.
        table: The remote's table in ``remotes.toml``.
        environ: The environment variables.
    """
    stranger, offered = other_author(root, environ=environ), offered_by(table)
    foreign = (bool(stranger) or table.get("untrusted") is True) and not _is_named(root, environ)
    url = str(table.get("url", "")).rstrip("/")
    try:  # in another user's store only a grant for its own folder counts: its id may be copied from one of ours
        grant = Trust(environ=environ).find(root, store_id, name, url, moved=not foreign)
    except StoreError as error:
        needed = foreign or offered or "token" in table
        return None, Refusal(str(error), error.hint, for_url=not offered) if needed else None
    how = f"look at it first; if it is good: mltrack remote trust {name}"
    if foreign and grant is None:
        who = stranger or "has remotes that another user wrote"
        named = f", and {_named(table)} is not used" if offered else ""
        words = f"{root} {who}: no credentials go to its remote {name!r}, {url}{named}"
        return None, Refusal(words, how, for_url=not offered)
    if offered and (grant is None or grant.offered != offered):
        since = " and has changed since it was trusted" if grant is not None and grant.offered else ""
        words = f"{root / 'remotes.toml'} names {_named(table)} for {name!r}: that is never taken from a store{since}"
        return grant, Refusal(words, how)
    if "token" in table and (grant is None or not (grant.token_command or grant.token_file)):
        kind, value = ("file", "PATH") if table["token"] == "file" else ("command", "CMD")
        words = f"remote {name!r} takes its token from a {kind} that is kept outside of the store, and none is set here"
        return grant, Refusal(words, f"mltrack remote trust {name} --token-{kind} {value}")
    return grant, None


def _named(table: Mapping[str, Any]) -> str:
    """The command or file that a table names, shortened to fit on a line."""
    option = next(option for option in reversed(_NEVER_FROM_A_STORE) if table.get(option))
    hidden = hide(str(table[option]))
    return f"the {option.replace('_', ' ')} {hidden if len(hidden) <= SHOWN_MAX else f'{hidden[:SHOWN_MAX]}...'!r}"
