"""Where the other store of a copy is: in a folder of this machine, or behind ssh. Opens it as a source or a target."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from mltrack_sync.stores.hello import Opening
from mltrack_sync.stores.remote_store import RemoteSource, RemoteTarget
from mltrack_sync.stores.ssh import is_ssh_url, ssh_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mltrack_sync.remotes.kind import Remote
    from mltrack_sync.stores.transfer import Source, Target

__all__ = ["open_source", "open_target"]


@contextlib.contextmanager
def open_source(remote: Remote) -> Iterator[Source]:
    """A remote's store, to be copied from.

    Raises:
        RemoteError: it can't be reached.
        NotFoundError, StoreError: there is none, or it can't be read.
    """
    if is_ssh_url(remote.url):
        session = ssh_session(remote.url, Opening(write=False), command=remote.command, name=remote.name)
        with contextlib.closing(session):
            yield RemoteSource(session)
        return
    from mltrack.store import Store
    from mltrack_sync.stores.local_source import LocalSource

    yield LocalSource(Store.open(remote.url), hashing=False)


@contextlib.contextmanager
def open_target(remote: Remote, *, create: bool = False) -> Iterator[Target]:
    """A remote's store, to be copied into; ``create`` makes it where there is none.

    Raises:
        RemoteError: it can't be reached.
        NotFoundError, StoreError: there is none, or it can't be written.
    """
    if is_ssh_url(remote.url):
        session = ssh_session(remote.url, Opening(True, create), command=remote.command, name=remote.name)
        with contextlib.closing(session):
            yield RemoteTarget(session)
        return
    from mltrack.store import Store
    from mltrack_sync.stores.local_target import LocalTarget

    yield LocalTarget(Store.create(remote.url) if create else Store.open(remote.url), hashing=False)
