"""Live push: starts the background syncer, a separate process, or sends a request to the one that runs.

A syncer holds the lock ``live.lock`` in its remote's folder while it runs, and removes the file ``wanted`` before it
reads the store. A request touches ``wanted`` before it tests the lock: so the syncer, which checks for the file once
more after it has released the lock, sees either the run or the request.
"""

from __future__ import annotations

import errno
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from mltrack.disk.liveness import holds_lock
from mltrack.disk.remotes_file import remote_tables
from mltrack.disk.trust import refusal_of
from mltrack.environment import MLTRACK_SYNC
from mltrack.errors import MltrackError, NotFoundError, UntrustedError, UsageError
from mltrack.process.trouble import TROUBLE, say, words_of
from mltrack.text.printable import printable
from mltrack.text.redaction import names_no_secret

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.disk.layout import Layout

__all__ = ["LIVE_LOCK", "REQUESTED", "SyncRequest", "is_served", "request_sync", "requested_sync"]

LIVE_LOCK = "live.lock"
REQUESTED = "wanted"

_MODULE = "mltrack_sync.daemon.daemon"
_KINDS = "mltrack_sync.remotes.kind"
"""Both by name alone: what talks to remotes is not loaded with what records."""
_DETACH = 'if command -v nice; then nice -n 10 "$@" & else "$@" & fi'
"""Run by a shell that exits at once: the syncer has no parent of ours, so it leaves no zombie when it ends.

With its niceness it gets a tenth of the training's share of a busy processor, and a lower priority at the disk.
"""

_OFF = ("", "0", "false", "no", "off")
_ON = ("1", "true", "yes", "on")


class SyncRequest(NamedTuple):
    """Where to push: as given ("" for the only remote), and the remote's name if it is known here."""

    text: str
    name: str | None


def requested_sync(layout: Layout, remote: bool | str | None) -> SyncRequest | None:
    """Where to push: a remote's name or URL; True: the only one; False: none; None: as ``$MLTRACK_SYNC`` says.

    Raises:
        NotFoundError, UsageError: no remote is meant by ``remote``. The environment variable causes only a warning.
    """
    text = os.environ.get(MLTRACK_SYNC, "") if remote is None else str(remote)
    if text.lower() in _OFF:
        return None
    text = "" if text.lower() in _ON else text
    try:
        return SyncRequest(text, _known_name(layout, text))
    except MltrackError as error:
        if remote is not None and not isinstance(error, UntrustedError):  # an untrusted store still records the run
            raise
        source = f"{MLTRACK_SYNC}: " if remote is None else ""
        _warn(f"{source}{error}{f' ({error.hint})' if isinstance(error, UntrustedError) else ''}")
        return None


def request_sync(layout: Layout, request: SyncRequest) -> None:
    """Have a background syncer push this store; returns in milliseconds, long before it does."""
    if request.name is None or not _request(layout.remote(request.name)):
        try:
            _start(layout, request.text)
        except TROUBLE as error:
            _warn(f"the background syncer can't be started: {words_of(error)}")


def _warn(words: str) -> None:
    say("%s; nothing is pushed for now", printable(words))


def is_served(folder: Path) -> bool:
    """Whether a background syncer runs for the remote with its ledger in ``folder``."""
    return holds_lock(folder / LIVE_LOCK)


def _request(folder: Path) -> bool:
    """Leave a request to read the store again; returns whether a background syncer runs that will see it."""
    try:
        (folder / REQUESTED).touch()
    except OSError:
        return False
    return is_served(folder)


def _known_name(layout: Layout, text: str) -> str | None:
    """The name of the remote that is meant; None for a URL: the syncer finds its name.

    Raises:
        NotFoundError, UsageError: there is no such remote, none at all, or several.
        UntrustedError: the user does not trust the store's settings of it.
    """
    if ":" in text:
        if "@" in text and not names_no_secret(text):
            raise UsageError("the URL to push to holds credentials", hint="give them in environment variables")
        return None
    tables = remote_tables(layout.root / "remotes.toml")
    names = list(tables)
    if text and text not in names:
        raise NotFoundError(f"no remote {text!r}", hint=f"add it: mltrack remote add {text} URL, or give its URL")
    if text or len(names) == 1:
        name = text or names[0]
        _, refusal = refusal_of(layout.root, layout.store_id, name, tables[name])
        if refusal is not None:
            raise refusal.error()
        return name
    if names:
        raise UsageError(f"{layout.root} has {len(names)} remotes", hint=f"say which: {', '.join(names)}")
    if _is_remote_url(os.environ.get("MLFLOW_TRACKING_URI", "").strip()):
        return None
    raise UsageError(f"{layout.root} has no remote yet", hint="give its URL, or: mltrack remote add NAME URL")


def _is_remote_url(text: str) -> bool:
    """Whether a kind of remote claims it; where the kinds can't be asked, the syncer finds that out."""
    if ":" not in text:
        return False
    try:
        return bool(import_module(_KINDS).is_remote_url(text))
    except TROUBLE:
        return True


def _start(layout: Layout, text: str) -> None:
    """Start the syncer in its own session, without our open files; don't wait for it.

    Raises:
        OSError: there is no shell, or no process can be started.
    """
    import subprocess

    command = [sys.executable, "-P", "-m", _MODULE, str(layout.root)]
    settings = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")  # it does not compute
    settings[MLTRACK_SYNC] = text  # not as an argument, which other users can read
    if not sys.executable:
        raise FileNotFoundError(errno.ENOENT, "this interpreter does not know its executable")
    subprocess.run(
        ["/bin/sh", "-c", _DETACH, "sh", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, **settings},
        check=False,
    )
