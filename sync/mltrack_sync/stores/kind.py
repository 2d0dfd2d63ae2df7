"""Stores as a kind of remote: in a folder of this machine, or behind ssh."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.disk.layout import STORE_FOLDER
from mltrack.errors import UsageError
from mltrack_sync.limits import Limits
from mltrack_sync.stores.folders import check_folder, folder_of_url, is_folder_url, open_folder, store_folder
from mltrack_sync.stores.ssh import SshAddress, is_ssh_url

if TYPE_CHECKING:
    from mltrack.store import Store
    from mltrack_sync.ledger.ledger import LedgerState
    from mltrack_sync.remotes.kind import PullWork, PushWork, Remote
    from mltrack_sync.remotes.options import PushOptions, VerifyOptions
    from mltrack_sync.report import PendingCounts, PullReport, PushReport, VerifyReport

__all__ = ["StoreKind"]


class StoreKind:
    """Any store of mltrack's, copied as it is: runs stay themselves."""

    def __init__(self) -> None:
        self.fs: FileSystem = LOCAL
        """Writes to stores in folders of this machine: to the one there when pushing, to the one here when pulling."""

    @property
    def name(self) -> str:
        """``store``."""
        return "store"

    @property
    def limits(self) -> Limits:
        """None that matter: whatever a store holds, another one can hold."""
        return Limits()

    @property
    def settings(self) -> frozenset[str]:
        """Which artifacts go there; and how mltrack is started behind ssh."""
        return frozenset({"max_artifact_size", "command"})

    @property
    def takes_tokens(self) -> bool:
        """No."""
        return False

    @property
    def shares_folders(self) -> bool:
        """No: files are in the store itself."""
        return False

    # --- its URLs ---

    def claims(self, url: str) -> bool:
        """Paths that begin with a slash, a dot or ~, ``file:`` and ``ssh://`` URLs."""
        return is_folder_url(url) or is_ssh_url(url)

    def check_url(self, url: str) -> str:
        """The absolute path of the store's folder, or the URL of one behind ssh.

        Raises:
            UsageError: it is not a folder of this machine, or not a valid URL.
        """
        if is_ssh_url(url):
            return SshAddress.parse(url).url
        return str(store_folder(folder_of_url(url)))

    def full_url(self, url: str, config: str | None) -> str:
        """The URL itself.

        Raises:
            UsageError: a file was given.
        """
        if config is not None:
            raise UsageError("--config goes with azureml: alone", hint="leave one of them out")
        return url

    def name_for(self, url: str) -> str:
        """The name of the folder, or of the one that a ``.mltrack`` is in."""
        if is_ssh_url(url):
            url = SshAddress.parse(url).host
        parts = [part for part in url.split("/") if part not in ("", STORE_FOLDER)]
        return re.sub(r"[^A-Za-z0-9._-]+", "-", parts[-1] if parts else "").strip("-._")[:64] or "store"

    def check_tokens(self, token_file: str, token_command: str) -> None:
        """Take none.

        Raises:
            UsageError: a file or a command was given.
        """
        if token_file or token_command:
            raise UsageError("a store takes no tokens", hint="leave them out")

    # --- what is done with it ---

    def check_connection(self, remote: Remote) -> None:
        """Find out whether the store exists, or can be created.

        Raises:
            RemoteUnavailableError: the folder that it is to be in does not exist, or can't be written.
            UsageError: it is a file.
            StoreError: it can't be used as it is.
        """
        if is_ssh_url(remote.url):
            SshAddress.parse(remote.url)
            return  # the first thing that is done with it says what is wrong
        check_folder(remote.url)

    def check_source(self, remote: Remote) -> None:
        """Find out whether there is a store; of one behind ssh, the first thing that is done with it says so.

        Raises:
            RemoteUnavailableError: there is none.
            StoreError: it can't be used as it is.
        """
        if not is_ssh_url(remote.url):
            open_folder(remote.url, create=False, known=False)

    def push(self, work: PushWork) -> PushReport:
        """Copy what is new here to the store there.

        Raises:
            RemoteError: it can't be used.
            StoreError: it can't be used as it is.
        """
        from mltrack_sync.stores.far_store import open_far
        from mltrack_sync.stores.push import push_to_store

        known = bool(work.ledger.state.copied.store_id)
        with open_far(work.store, work.remote, write=True, known=known, fs=self.fs) as far:
            return push_to_store(work, far)

    def pull(self, work: PullWork) -> PullReport:
        """Copy what is new there to the store here.

        Raises:
            RemoteError: it can't be used.
            StoreError: a store can't be used as it is.
        """
        from mltrack_sync.stores.far_store import open_far
        from mltrack_sync.stores.pull import pull_from_store

        with open_far(work.store, work.remote, write=False) as far:
            remote = work.remote
            return pull_from_store(work.store, far, remote.name, remote.url, work.options, work.ledger, fs=self.fs)

    def dry_run(self, store: Store, remote: Remote, state: LedgerState, options: PushOptions) -> PushReport:
        """What push would copy, by the ledger."""
        from mltrack_sync.stores.pending import dry_run, least_bound

        bound = least_bound(options.artifact_bytes_max, remote)
        return dry_run(store, remote, state, options.selection, bound)

    def count_pending(self, store: Store, remote: Remote, state: LedgerState) -> PendingCounts:
        """What waits to be copied, by the ledger."""
        from mltrack_sync.selection import Selection
        from mltrack_sync.stores.pending import count_pending

        return count_pending(store, state, Selection(), store.heads(), remote.max_artifact_size)[0]

    def find_repairable(self, state: LedgerState) -> tuple[str, ...]:
        """What a comparison found different, and no push has copied since."""
        return tuple(sorted(state.copied.differing))

    def compares(self, fact: str) -> bool:
        """Everything: files are compared by their bytes, whatever they say."""
        return True

    def verify(self, store: Store, remote: Remote, state: LedgerState, options: VerifyOptions) -> VerifyReport:
        """Compare what is selected with the store there, file by file.

        Raises:
            RemoteError: it can't be used.
            StoreError: a store can't be used as it is.
        """
        from mltrack_sync.stores.far_store import open_far
        from mltrack_sync.stores.verify import compare_with_store

        with open_far(store, remote, write=False) as far:
            return compare_with_store(store, far, remote, options)
