"""The far side of an older mltrack: started as ``mltrack serve-store`` is, it speaks the first versions only.

``python -m tests.support.older_far_side VERSION serve-store --stdio -- PATH``
"""

from __future__ import annotations

import os
import sys

from mltrack.store import Store
from mltrack_sync.stores.hello import Opening
from mltrack_sync.stores.local_source import LocalSource
from mltrack_sync.stores.local_target import LocalTarget
from mltrack_sync.stores.serving import Ends, serve


def main(version: int, path: str) -> None:
    def open_ends(opening: Opening) -> Ends:
        store = Store.open(path) if os.path.exists(path) else Store.create(path)
        return Ends(LocalSource(store), LocalTarget(store), write=opening.write)

    with os.fdopen(os.dup(0), "rb") as reader:
        serve(reader, os.dup(1), open_ends, version)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[-1])
