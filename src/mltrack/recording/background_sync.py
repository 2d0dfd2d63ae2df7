"""Asks for live push: a background syncer, another process that is started by name and then left alone.

A syncer holds the lock ``live.lock`` in its remote's folder for as long as it lives, and removes ``wanted`` before it
looks at the store. Who finds the lock held has touched ``wanted`` before: so the syncer, which looks for it once more
after it let go of the lock, sees either the run or the wish.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from mltrack.disk.liveness import holds_lock
from mltrack.disk.remotes_file import remotes_in
from mltrack.disk.trust import refusal_of
from mltrack.errors import MltrackError, NotFoundError, StoreError, UntrustedError, UsageError
from mltrack.process.trouble import TROUBLE, say, words_of
from mltrack.text.printable import printable

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.disk.layout import Layout

__all__ = ["LIVE_LOCK", "SYNC_VARIABLE", "WANTED", "Wish", "ask", "is_served", "wish_for"]

SYNC_VARIABLE = "MLTRACK_SYNC"
LIVE_LOCK = "live.lock"
WANTED = "wanted"

_MODULE = "mltrack_sync.daemon.daemon"
_DETACH = 'if command -v nice; then nice -n 10 "$@" & else "$@" & fi'
"""Run by a shell that ends at once: what it started is nobody's child, and leaves no zombie when it ends.

Being nice it gets a tenth of what the training gets of a processor that both want, and comes after it at the disk.
"""

_OFF = ("", "0", "false", "no", "off")
_ON = ("1", "true", "yes", "on")


class Wish(NamedTuple):
    """Where to push: as it was said ("" for the only remote), and the remote's name as far as it is known here."""

    text: str
    name: str | None


def wish_for(layout: Layout, remote: bool | str | None) -> Wish | None:
    """What to push to: a remote's name or URL; True for the only one; False for none; None as ``$MLTRACK_SYNC`` says.

    Raises:
        NotFoundError, UsageError: ``remote`` names none. What the environment names is only warned about.
    """
    text = os.environ.get(SYNC_VARIABLE, "") if remote is None else str(remote)
    if text.lower() in _OFF:
        return None
    text = "" if text.lower() in _ON else text
    try:
        return Wish(text, _known_name(layout, text))
    except MltrackError as error:
        if remote is not None and not isinstance(error, UntrustedError):  # a stranger's store still takes the run
            raise
        whence = f"{SYNC_VARIABLE}: " if remote is None else ""
        _warn(f"{whence}{error}{f' ({error.hint})' if isinstance(error, UntrustedError) else ''}")
        return None


def ask(layout: Layout, wish: Wish) -> None:
    """See to it that a background syncer pushes this store; returns in milliseconds, long before it does."""
    if wish.name is None or not _is_served_from_now(layout.remote(wish.name)):
        try:
            _start(layout, wish.text)
        except TROUBLE as error:
            _warn(f"no background syncer can be started: {words_of(error)}")


def _warn(words: str) -> None:
    say("%s; nothing is pushed for now", printable(words))


def is_served(folder: Path) -> bool:
    """Whether a background syncer of the remote that keeps its ledger in ``folder`` lives."""
    return holds_lock(folder / LIVE_LOCK)


def _is_served_from_now(folder: Path) -> bool:
    """Leave the wish that the store be looked at again; whether a background syncer lives that will see it."""
    try:
        (folder / WANTED).touch()
    except OSError:
        return False
    return is_served(folder)


def _known_name(layout: Layout, text: str) -> str | None:
    """The name of the remote that is meant; None where that is for the syncer to find out, from a URL.

    Raises:
        NotFoundError, UsageError: there is no such remote, none at all, or several to choose from.
        UntrustedError: the user does not trust what the store says of it.
    """
    if ":" in text:
        if "@" in text:
            raise UsageError("the URL to push to holds credentials", hint="give them as the environment variables do")
        return None
    tables = _tables(layout)
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
    if os.environ.get("MLFLOW_TRACKING_URI", "").strip().lower().startswith(("http://", "https://", "azureml://")):
        return None
    raise UsageError(f"{layout.root} has no remote yet", hint="give its URL, or: mltrack remote add NAME URL")


def _tables(layout: Layout) -> dict[str, dict[str, Any]]:
    path = layout.root / "remotes.toml"
    tables = remotes_in(path)
    if not isinstance(tables, dict):
        raise StoreError(f"{path}: each remote needs a url", hint="mend it with an editor")
    return {name: table for name, table in tables.items() if isinstance(table, dict)}


def _start(layout: Layout, text: str) -> None:
    """Start the syncer in a session of its own, with none of our files, and wait for nothing it does.

    Raises:
        OSError: there is no shell, or no room for a process.
    """
    import subprocess

    command = [sys.executable, "-P", "-m", _MODULE, str(layout.root)]
    settings = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")  # it computes nothing
    settings[SYNC_VARIABLE] = text  # not as an argument, for all to see
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
