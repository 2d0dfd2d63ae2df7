"""The store at the other end of a copy, opened by the URL of a remote."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.errors import UsageError
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.stores.copying import WORKERS
from mltrack_sync.stores.folders import disk_errors, open_folder
from mltrack_sync.stores.hello import Opening
from mltrack_sync.stores.local_source import LocalSource
from mltrack_sync.stores.local_target import LocalTarget
from mltrack_sync.stores.remote_store import RemoteSource, RemoteTarget
from mltrack_sync.stores.ssh import is_ssh_url, ssh_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mltrack.store import Store
    from mltrack_sync.remotes.kind import Remote
    from mltrack_sync.stores.transfer import Source, StoreInfo, Target

__all__ = ["FarStore", "open_far"]


@dataclass(frozen=True, slots=True)
class FarStore:
    """A store that is open as a source and as a target.

    Attributes:
        info: Which store it is.
        source: To copy from it.
        target: To copy into it.
        in_process: Whether nothing lies between the two stores that could change bytes.
        workers: How many units may be copied at a time.
    """

    info: StoreInfo
    source: Source
    target: Target
    in_process: bool = False
    workers: int = WORKERS


@contextlib.contextmanager
def open_far(
    store: Store, remote: Remote, *, write: bool, known: bool = False, fs: FileSystem = LOCAL
) -> Iterator[FarStore]:
    """The store of a remote. Errors of its disk are those of the remote.

    Args:
        store: The store here.
        remote: The other one.
        write: Whether it will be written to, and created where it does not exist.
        known: Whether it existed before.
        fs: Writes to a store in a folder of this machine.

    Raises:
        RemoteError, StoreError: it can't be opened.
        UsageError: it is the store here.
    """
    if is_ssh_url(remote.url):
        opening = Opening(write=write, create=write and not known)
        with contextlib.closing(ssh_session(remote.url, opening, command=remote.command, name=remote.name)) as session:
            yield FarStore(session.info(), RemoteSource(session), RemoteTarget(session))
        return
    far = open_folder(remote.url, create=write, known=known)
    with disk_errors(remote.url):
        if os.path.samefile(far.path, store.path):
            raise UsageError(f"{far.path} is this very store", hint="give the path of another one")
    target = LocalTarget(far, hashing=False, fs=fs)
    info = target.info()
    if write and not info.writable:
        raise RemoteUnavailableError(
            f"{far.path} can't be written: it is read-only, or not permitted",
            hint="check how the disk is mounted, and the folder's permissions",
            in_doubt=False,
            not_sent=True,
        )
    with disk_errors(remote.url):
        yield FarStore(info, LocalSource(far, hashing=False), target, in_process=True)
