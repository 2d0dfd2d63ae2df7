"""Receivers of bundles: remotes that nobody connects to, named by ``mltrack bundle --for NAME``."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from mltrack.disk.remotes_file import remote_tables
from mltrack_sync.remotes.kind import Remote

if TYPE_CHECKING:
    from mltrack.disk.layout import Layout
    from mltrack.store import Store

__all__ = ["BUNDLE", "BUNDLES_FOLDER", "forget_receiver", "is_receiver", "receiver_named", "receivers"]

BUNDLE = "bundle"
"""The kind of remote that a receiver is."""

BUNDLES_FOLDER = "bundles"
"""In the folder of a receiver: what each bundle held."""


def receiver_named(name: str) -> Remote:
    """The receiver of that name, whether or not a bundle was ever written for it."""
    return Remote(name, f"{BUNDLE}:{name}", BUNDLE)


def is_receiver(layout: Layout, name: str) -> bool:
    """Whether bundles were written for that name."""
    return (layout.root / "remotes" / name / BUNDLES_FOLDER).is_dir()


def forget_receiver(layout: Layout, name: str) -> None:
    """Forget which bundles were written for a receiver.

    Raises:
        InvalidPathError: the name can't be a folder's.
        OSError: they can't be removed.
    """
    folder = layout.remote(name)
    (folder / "ledger.jsonl").unlink(missing_ok=True)  # first: without it, what is left of the bundles is not read
    shutil.rmtree(folder / BUNDLES_FOLDER)


def receivers(store: Store) -> list[Remote]:
    """Those for whom bundles were written, in alphabetical order.

    Raises:
        StoreError: the file with the remotes can't be read.
    """
    remotes = remote_tables(store.path / "remotes.toml")
    folder = store.layout.root / "remotes"
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [receiver_named(name) for name in names if name not in remotes and (folder / name / BUNDLES_FOLDER).is_dir()]
