"""A syncer in a process of its own, to be killed: ``python syncing.py STORE REMOTE``."""

from __future__ import annotations

import sys

from mltrack.reading import Store
from mltrack_sync import Remotes, push

if __name__ == "__main__":
    store = Store.open(sys.argv[1])
    push(store, Remotes(store).get(sys.argv[2]), jobs=2)
