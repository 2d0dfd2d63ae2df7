"""Lakes as a kind of remote: Delta tables in a folder, or on object storage."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.errors import UsageError
from mltrack.extras import need
from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.lake.places import LakePlace, is_lake_url
from mltrack_sync.limits import Limits

if TYPE_CHECKING:
    from mltrack.store import Store
    from mltrack_sync.lake.tables import LakeTables
    from mltrack_sync.ledger.ledger import LedgerState
    from mltrack_sync.remotes.kind import PullWork, PushWork, Remote
    from mltrack_sync.remotes.options import PushOptions, VerifyOptions
    from mltrack_sync.report import PendingCounts, PullReport, PushReport, VerifyReport

__all__ = ["LakeKind"]


class LakeKind:
    """A lake, into which many stores push."""

    def __init__(self) -> None:
        self.fs: FileSystem = LOCAL
        """Writes to lakes in folders of this machine, and the notes of batches."""

    @property
    def name(self) -> str:
        """``lake``."""
        return "lake"

    @property
    def limits(self) -> Limits:
        """None that matter."""
        return Limits()

    @property
    def settings(self) -> frozenset[str]:
        """Which artifacts go there."""
        return frozenset({"max_artifact_size"})

    @property
    def takes_tokens(self) -> bool:
        """No: credentials come from the cloud's own chain."""
        return False

    @property
    def shares_folders(self) -> bool:
        """No: files are in the lake itself."""
        return False

    @property
    def cycle_interval_s(self) -> float:
        """A minute: each cycle makes files and commits, which every reader pays for."""
        return 60.0

    # --- its URLs ---

    def claims(self, url: str) -> bool:
        """``delta:PATH``, and URLs of object storage."""
        return is_lake_url(url)

    def check_url(self, url: str) -> str:
        """The URL in the form it is kept in.

        Raises:
            UsageError: it is not a valid one, or holds credentials.
        """
        return LakePlace.parse(url).url

    def full_url(self, url: str, config: str | None) -> str:
        """The URL itself.

        Raises:
            UsageError: a file was given.
        """
        if config is not None:
            raise UsageError("--config goes with azureml: alone", hint="leave one of them out")
        return url

    def name_for(self, url: str) -> str:
        """The last part of its path."""
        parts = [part for part in re.split(r"[:/@]+", url) if part]
        return re.sub(r"[^A-Za-z0-9._-]+", "-", parts[-1] if parts else "").strip("-._")[:64] or "lake"

    def check_tokens(self, token_file: str, token_command: str) -> None:
        """Take none.

        Raises:
            UsageError: a file or a command was given.
        """
        if token_file or token_command:
            raise UsageError("a lake takes no tokens", hint="credentials come from the cloud's own tools and variables")

    # --- what is done with it ---

    def check_connection(self, remote: Remote) -> None:
        """Find out whether the lake exists, or can be made.

        Raises:
            RemoteError: it can't be reached, or something else is at its place.
            MissingPackageError: the extra ``lake`` is not installed.
        """
        tables = self._tables(remote)
        if not tables.check(create=False):
            tables.check_parent()

    def check_source(self, remote: Remote) -> None:
        """Find out whether there is a lake.

        Raises:
            RemoteError: there is none, or it can't be reached.
        """
        if not self._tables(remote).check(create=False):
            hint = "connect the disk, or check the address; a sync makes the lake"
            raise RemoteUnavailableError(f"no lake at {remote.url}", hint=hint, in_doubt=False)

    def _tables(self, remote: Remote) -> LakeTables:
        need("deltalake", "a lake")
        from mltrack_sync.lake.files import files_of
        from mltrack_sync.lake.tables import LakeTables

        place = LakePlace.parse(remote.url)
        return LakeTables(place, files_of(place, self.fs))

    def push(self, work: PushWork) -> PushReport:
        """Send what is new.

        Raises:
            RemoteError: the lake can't be used, or the ledger can't be written.
            StoreError: the store can't be read.
        """
        tables = self._tables(work.remote)
        from mltrack_sync.lake.push import push_to_lake

        return push_to_lake(work, tables, self.fs)

    def pull(self, work: PullWork) -> PullReport:
        """Bring runs back.

        Raises:
            RemoteError: the lake can't be read.
            NotFoundError, FilterError: the selection names what the lake does not have, or is not valid.
        """
        need("deltalake", "a lake")
        from mltrack_sync.lake.lake import Lake
        from mltrack_sync.lake.pull import pull_from_lake

        with Lake(work.remote.url) as lake:
            return pull_from_lake(work, lake, fs=self.fs)

    def dry_run(self, store: Store, remote: Remote, state: LedgerState, options: PushOptions) -> PushReport:
        """What push would send, by the ledger."""
        from mltrack_sync.lake.pending import dry_run

        return dry_run(store, remote, state, options.selection)

    def count_pending(self, store: Store, remote: Remote, state: LedgerState) -> PendingCounts:
        """What waits, by the ledger."""
        from mltrack_sync.lake.pending import count_pending
        from mltrack_sync.selection import Selection

        return count_pending(store, remote, state, Selection())[0]

    def compares(self, fact: str) -> bool:
        """Everything: all events are compared as they were written."""
        return True

    def verify(self, store: Store, remote: Remote, state: LedgerState, options: VerifyOptions) -> VerifyReport:
        """Compare what is selected with the lake.

        Raises:
            RemoteError: the lake can't be read.
        """
        tables = self._tables(remote)
        from mltrack_sync.lake.verify import compare_with_lake

        return compare_with_lake(store, tables, remote, options, known=bool(state.lake.numbers))
