"""Push a store's runs to a remote, exactly once: ``push(store, remote)``."""

from mltrack_sync.push import push
from mltrack_sync.remotes import Remote, Remotes
from mltrack_sync.report import PushReport, Rejected
from mltrack_sync.selection import Selection

__all__ = ["PushReport", "Rejected", "Remote", "Remotes", "Selection", "push"]
