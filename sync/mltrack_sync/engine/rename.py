"""Remotes that get another URL or another name, while no sync uses them."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import LOCAL
from mltrack.disk.locks import file_lock
from mltrack.errors import BusyError
from mltrack.recording.background_sync import LIVE_LOCK
from mltrack_sync.engine.lock import sync_lock
from mltrack_sync.remotes.config import Remotes, check_url
from mltrack_sync.remotes.ledgers import ledger_path, move_ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mltrack.store import Store
    from mltrack_sync.remotes.kind import Remote

__all__ = ["rename_remote", "set_remote_url"]


def set_remote_url(store: Store, name: str, url: str, *, moved: bool = False) -> Remote:
    """Give a remote another URL. What is known of it counts only where that very remote has ``moved``.

    Otherwise the next sync compares everything with what is at the new URL, and sends what is missing.

    Raises:
        NotFoundError: no remote has that name.
        UsageError: the URL is not valid, or one of another kind of remote.
        BusyError: a sync with it is running.
        StoreError, LedgerError: the store can't be written.
    """
    remotes, url = Remotes(store), check_url(url)
    remote = remotes.get(name)
    with _unused(store, remote):
        changed = remotes.set_url(name, url)
        if moved:
            move_ledger(ledger_path(store, remote), changed.place)
    return changed


def rename_remote(store: Store, name: str, new_name: str) -> Remote:
    """Give a remote another name; what is known of it stays known.

    Raises:
        NotFoundError: no remote has that name.
        UsageError: the new name is taken.
        InvalidPathError: it can't be a folder's.
        BusyError: a sync with it is running.
        StoreError, LedgerError: the store can't be written.
    """
    remotes, place = Remotes(store), store.layout.remote(new_name)
    remote = remotes.get(name)
    with _unused(store, remote) as folder:

        def move() -> None:
            if os.path.lexists(place):  # left by a remote that was removed
                LOCAL.rename(place, place.with_name(f"{new_name}.{time.time_ns()}.old"))
            LOCAL.rename(folder, place)
            LOCAL.unlink(place / "holder.json")
            LOCAL.sync_folder(place.parent)

        return remotes.rename(name, new_name, move)


@contextlib.contextmanager
def _unused(store: Store, remote: Remote) -> Iterator[Path]:
    """The folder of a remote, which no sync uses during the body."""
    folder = ledger_path(store, remote).parent
    with contextlib.ExitStack() as held:
        held.enter_context(sync_lock(folder, remote.name, "mltrack remote"))
        try:
            held.enter_context(file_lock(folder / LIVE_LOCK, timeout_s=0))
        except BusyError:
            what = f"{remote.name!r} is pushed to in the background"
            raise BusyError(what, hint="that ends when no run is being recorded") from None
        yield folder
