"""Which remote is meant: by name, by URL, as the environment says, or because it is the only one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mltrack.errors import UsageError
from mltrack.text.redaction import remember_url
from mltrack_sync.remotes.config import Remotes, without_token
from mltrack_sync.remotes.kind import HttpKind, SourceKind, find_kind, is_remote_url, kind_of
from mltrack_sync.remotes.receivers import receivers

if TYPE_CHECKING:
    from mltrack.store import Store
    from mltrack_sync.remotes.kind import Remote

__all__ = ["introduced", "remote_for"]


def remote_for(store: Store, text: str | None, *, remember: bool = True) -> Remote:
    """The remote that ``text`` names, by name or URL; without it the only one, else ``MLFLOW_TRACKING_URI``.

    A remote that is given by its URL gets a name made from its host. With ``remember`` it is added to the store's
    remotes, whether or not it answers; otherwise see introduced.

    Raises:
        NotFoundError, UsageError: no remote has that name or URL, or several could be meant.
    """
    remotes = Remotes(store)
    known = remotes.all()
    from_environment = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if text is None and not known and _is_server(from_environment):
        text = without_token(from_environment)
    if text is None:
        if len(known) == 1:
            return known[0]
        names = ", ".join(remote.name for remote in known)
        raise UsageError(
            f"{store.path} has {len(known)} remotes" if known else f"{store.path} has no remote yet",
            hint=f"say which: {names}" if known else "add one: mltrack remote add NAME URL",
        )
    if "://" not in text and not is_remote_url(text):
        if "@" in text:
            remember_url(text)
            raise UsageError("no remote has an @ in its name, and a URL begins with http://", hint="mltrack remote ls")
        receiver = next((each for each in receivers(store) if each.name == text), None)
        return receiver or remotes.get(text)
    found, is_known = remotes.for_url(text)
    return found if is_known or not remember else remotes.add(found.name, found.url)


def _is_server(url: str) -> bool:
    """Whether a URL is a server's: MLflow's own variable may also name a folder of MLflow's, which is not a remote."""
    return is_remote_url(url) and isinstance(kind_of(url), HttpKind)


def introduced(store: Store, remote: Remote, *, to_read: bool = False) -> Remote:
    """The remote, added to the store's if it is new. It must answer first: a mistyped URL must not become the only one.

    ``to_read``: it is not written to, so something must be there already.

    Raises:
        RemoteError: it does not answer, is not an MLflow server, or does not let us in.
        UsageError: it is the store itself, or a file.
    """
    remotes = Remotes(store)
    if remote not in remotes.all() and remote not in receivers(store):
        remote.require_trust()
        if os.path.realpath(remote.url) == os.path.realpath(store.path):
            raise UsageError(f"{store.path} is this very store", hint="give the path of another one")
        kind = find_kind(remote.kind)
        kind.check_connection(remote)
        if to_read and isinstance(kind, SourceKind):
            kind.check_source(remote)
        remotes.add(remote.name, remote.url)
    return remote
