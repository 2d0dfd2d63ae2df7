"""Push a store's runs to a remote, exactly once: ``push(store, remote)``; and bring others here: ``pull``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mltrack as _mltrack  # noqa: F401  # finds our modules by their old paths, too

_MODULE_OF = {
    "Lake": "lake.lake",
    "PullReport": "report",
    "PushReport": "report",
    "Rejected": "report",
    "Remote": "remotes.kind",
    "Remotes": "remotes.config",
    "Selection": "selection",
    "bundle": "stores.bundles",
    "pull": "engine.pull",
    "pull_bundle": "stores.bundles",
    "push": "engine.push",
}

__all__ = [
    "Lake",
    "PullReport",
    "PushReport",
    "Rejected",
    "Remote",
    "Remotes",
    "Selection",
    "bundle",
    "pull",
    "pull_bundle",
    "push",
]

if TYPE_CHECKING:
    from mltrack_sync.engine.pull import pull
    from mltrack_sync.engine.push import push
    from mltrack_sync.lake.lake import Lake
    from mltrack_sync.remotes.config import Remotes
    from mltrack_sync.remotes.kind import Remote
    from mltrack_sync.report import PullReport, PushReport, Rejected
    from mltrack_sync.selection import Selection
    from mltrack_sync.stores.bundles import bundle, pull_bundle


if not TYPE_CHECKING:  # so that a checker knows a name that is not here

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name not in _MODULE_OF:
            raise AttributeError(f"module 'mltrack_sync' has no attribute {name!r}")
        value = getattr(import_module(f"mltrack_sync.{_MODULE_OF[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
