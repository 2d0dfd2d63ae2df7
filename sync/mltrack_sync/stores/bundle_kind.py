"""Receivers of bundles as a kind of remote: what arrived is what a receipt says, and nobody can be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from mltrack.errors import UsageError
from mltrack_sync.limits import Limits
from mltrack_sync.remotes.receivers import BUNDLE

if TYPE_CHECKING:
    from mltrack.store import Store
    from mltrack_sync.ledger.ledger import LedgerState
    from mltrack_sync.remotes.kind import PushWork, Remote
    from mltrack_sync.remotes.options import PushOptions, VerifyOptions
    from mltrack_sync.report import PendingCounts, PushReport, VerifyReport

__all__ = ["BundleKind"]


class BundleKind:
    """Receivers, which a store knows by the bundles that it wrote for them and the receipts that came back."""

    @property
    def name(self) -> str:
        """``bundle``."""
        return BUNDLE

    @property
    def limits(self) -> Limits:
        """None that matter."""
        return Limits()

    @property
    def takes_tokens(self) -> bool:
        """No."""
        return False

    @property
    def shares_folders(self) -> bool:
        """No."""
        return False

    def claims(self, url: str) -> bool:
        """None: a receiver is made by the first bundle for it."""
        return False

    def check_url(self, url: str) -> str:
        """Refuse it.

        Raises:
            UsageError: always.
        """
        _refuse(url)

    def full_url(self, url: str, config: str | None) -> str:
        """The same as check_url.

        Raises:
            UsageError: always.
        """
        _refuse(url)

    def name_for(self, url: str) -> str:
        """The receiver's name."""
        return url.partition(":")[2]

    def check_tokens(self, token_file: str, token_command: str) -> None:
        """Take none.

        Raises:
            UsageError: a file or a command was given.
        """
        if token_file or token_command:
            raise UsageError("a receiver of bundles takes no tokens", hint="leave them out")

    def check_connection(self, remote: Remote) -> None:
        """Nothing: there is no connection."""

    def push(self, work: PushWork) -> PushReport:
        """Refuse it.

        Raises:
            UsageError: always: a bundle goes to a file.
        """
        _refuse(work.remote.name)

    def dry_run(self, store: Store, remote: Remote, state: LedgerState, options: PushOptions) -> PushReport:
        """What has not arrived, by the receipts."""
        from mltrack_sync.stores.pending import dry_run

        return dry_run(store, remote, state, options.selection, options.artifact_bytes_max)

    def count_pending(self, store: Store, remote: Remote, state: LedgerState) -> PendingCounts:
        """What has not arrived, by the receipts."""
        from mltrack_sync.selection import Selection
        from mltrack_sync.stores.pending import count_pending

        return count_pending(store, state, Selection(), store.heads(), None)[0]

    def compares(self, fact: str) -> bool:
        """Everything: a receipt is for whole files."""
        return True

    def verify(self, store: Store, remote: Remote, state: LedgerState, options: VerifyOptions) -> VerifyReport:
        """Compare what is selected with what the bundles held of which receipts came back.

        Raises:
            BundleError, OSError: what was noted of one can't be read.
        """
        from mltrack_sync.stores.bundle_verify import compare_with_bundles

        return compare_with_bundles(store, remote, state, options)


def _refuse(name: str) -> NoReturn:
    name = name.rpartition(":")[2]
    raise UsageError(f"{name!r} gets bundles, which are files", hint=f"mltrack bundle FILE.mltb --for {name or 'NAME'}")
