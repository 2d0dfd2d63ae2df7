"""The Delta tables of a lake: opened, checked to be mltrack's, created, and committed to exactly once.

A batch has a number for each table, and a commit says by Delta's application transaction which number of which store
it is. A commit is made on the snapshot in which the number was found missing: if another one of this store came
between, Delta refuses ours. So an outcome that is not known is found out by loading the table again.
"""

from __future__ import annotations

import json
import os
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mltrack_sync.errors import RemoteUnavailableError
from mltrack_sync.lake.failures import CopiedStoreError, ForeignLakeError, explain, lake_errors
from mltrack_sync.lake.layout import LAYOUT, MARKER, TABLES
from mltrack_sync.lake.staging import StagedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from deltalake import DeltaTable
    from deltalake.transaction import AddAction, PostCommitHookProperties, RemoveAction

    from mltrack_sync.lake.files import LakeFiles
    from mltrack_sync.lake.places import LakePlace

__all__ = ["COPIED_HINT", "LakeTables", "TableBatch", "app_of"]

ATTEMPTS = 8
"""How often a commit is tried whose outcome is not known, or that others came before; Delta itself tries several times
in each."""

COPIED_HINT = (
    "two copies of one store must not push to one lake. Make the copy a store of its own: in a new store, mltrack pull"
    " PATH-OF-THE-COPY, then push from there. Where there is no copy and only the ledger is an old one (restored from a"
    " backup): remove it, remotes/NAME/ledger.jsonl in the store, and the next sync reads the lake instead"
)

LOG = "_delta_log"
"""The folder of a table's log."""

NONCE = "mltrack.batch"
"""The key in a commit's metadata that says which attempt at a batch it is."""


def app_of(store_id: str, table: str) -> str:
    """The id of a store's transactions on a table."""
    return f"mltrack/{store_id}/{table}"


@dataclass(frozen=True, slots=True)
class TableBatch:
    """What one batch adds to one table."""

    table: str
    number: int
    files: tuple[StagedFile, ...]


@dataclass(slots=True)
class LakeTables:
    """The tables of one lake.

    Attributes:
        place: Where it is.
        files: Its files.
        collisions: How many commits of others came between the snapshot of one of ours and it.
        versions: By table the version of the last commit of ours.
        lake_id: The lake's id, once it was checked; "" where an earlier version of mltrack made it.
        sleep: Waits before another attempt.
    """

    place: LakePlace
    files: LakeFiles
    sleep: Callable[[float], None] = time.sleep
    collisions: int = 0
    versions: dict[str, int] = field(default_factory=dict)
    lake_id: str = ""
    _known: set[str] = field(default_factory=set)

    # --- the lake itself ---

    def check(self, *, create: bool) -> bool:
        """Whether there is a lake, of a layout that is known here; with ``create`` it is made where nothing is.

        Raises:
            ForeignLakeError: it is of a newer layout, or something else is at the place.
            RemoteError: it can't be reached.
        """
        marker = self.files.read(MARKER)
        if marker is not None:
            self._check_marker(marker)
            return True
        if create:
            self.check_parent()
        found = [name for name in self.files.names() if name in TABLES or name == "_delta_log"]
        if found:
            raise ForeignLakeError(
                f"{self.place.uri} has a table {found[0]!r} that is not of a lake of mltrack's",
                hint="give a folder or prefix of its own",
            )
        if create:
            self.lake_id = os.urandom(16).hex()
            marker = json.dumps({"mltrack_lake": LAYOUT, "id": self.lake_id}).encode()
            self.files.put_stream(MARKER, [marker + b"\n"])
        return False

    def check_parent(self) -> None:
        """Find out whether the folder that the lake is to be in exists, where it is one of this machine.

        Raises:
            RemoteUnavailableError: it does not.
        """
        if self.place.folder is not None and not self.place.folder.parent.is_dir():
            raise RemoteUnavailableError(
                f"no folder {self.place.folder.parent}",
                hint="connect the disk, or make the folder that the lake is to be in",
                in_doubt=False,
                not_sent=True,
            )

    def _check_marker(self, data: bytes) -> None:
        try:
            fields = json.loads(data)
            layout, lake_id = fields["mltrack_lake"], fields.get("id")
        except (ValueError, KeyError, TypeError, AttributeError):
            layout = lake_id = None
        if type(layout) is not int or layout < 1:
            raise ForeignLakeError(f"{self.place.uri}/{MARKER} is not mltrack's", hint="give another folder or prefix")
        if layout > LAYOUT:
            raise ForeignLakeError(
                f"{self.place.uri} is a lake of layout {layout}, and this mltrack knows layout {LAYOUT}",
                hint="upgrade mltrack",
            )
        self.lake_id = lake_id if type(lake_id) is str else ""

    # --- tables ---

    def load(self, name: str) -> DeltaTable | None:
        """A table as it is now; None where it does not exist.

        Raises:
            ForeignLakeError: it is not mltrack's.
            RemoteError: it can't be read.
        """
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        with lake_errors(self.place.uri):
            try:
                table = DeltaTable(self.place.table(name))
            except TableNotFoundError:
                return None
        if name not in self._known:
            self._check_table(name, table)
            self._known.add(name)
        return table

    def _check_table(self, name: str, table: DeltaTable) -> None:
        from deltalake import Schema

        wanted = _types(json.loads(Schema.from_arrow(TABLES[name].schema).to_json()))
        found = _types(json.loads(table.schema().to_json()))
        meta = table.metadata()
        is_same = wanted.items() <= found.items() and tuple(meta.partition_columns) == TABLES[name].partition
        if meta.name != f"mltrack {name}" or not is_same:
            raise ForeignLakeError(
                f"the table {name!r} in {self.place.uri} is not the one of a lake of mltrack's",
                hint="its name or its columns differ; give another folder or prefix, or upgrade mltrack",
            )

    def created(self, name: str) -> DeltaTable:
        """A table, made where it does not exist.

        Raises:
            ForeignLakeError: another table is there.
            RemoteError: it can't be made.
        """
        from deltalake import DeltaTable, Schema
        from deltalake.exceptions import DeltaError

        for attempt in range(ATTEMPTS):
            table = self.load(name)
            if table is not None:
                return table
            try:
                DeltaTable.create(
                    self.place.table(name),
                    schema=Schema.from_arrow(TABLES[name].schema),
                    mode="ignore",
                    partition_by=list(TABLES[name].partition),
                    name=f"mltrack {name}",
                    description=f"layout {LAYOUT}",
                )
                self.sync_log(name, range(1))
            except (DeltaError, OSError) as error:  # another machine made it meanwhile, or it can't be made
                if attempt + 1 == ATTEMPTS:
                    raise explain(self.place.uri, error) from error
                self._pause(attempt)
        raise RemoteUnavailableError(f"{self.place.table(name)} can't be made", in_doubt=False)

    def last_number(self, table: DeltaTable | None, store_id: str, name: str) -> int:
        """The number of the last batch of a store in a table; 0 for none."""
        if table is None:
            return 0
        with lake_errors(self.place.uri):
            return table.transaction_version(app_of(store_id, name)) or 0

    # --- commits ---

    def commit(self, store_id: str, batch: TableBatch, nonce: str, table: DeltaTable | None = None) -> None:
        """Add a batch to its table, once, however often this is called with the same batch.

        Args:
            store_id: The store.
            batch: What is added.
            nonce: Tells this batch from another one with its number, which only a copy of the store can have made.
            table: The table as it was loaded before; by default it is loaded.

        Raises:
            CopiedStoreError: a copy of the store committed a batch with this number.
            RemoteError: it can't be committed now; whether it was may not be known.
        """
        from deltalake.exceptions import DeltaError

        error: Exception | None = None
        for attempt in range(ATTEMPTS):
            if table is None:
                table = self.created(batch.table)
            if self.last_number(table, store_id, batch.table) >= batch.number:
                self._check_ours(table, store_id, batch, nonce)
                self.versions[batch.table] = table.version()
                return
            before = table.version()
            try:
                transaction = (app_of(store_id, batch.table), batch.number)
                stamp = _stamp(store_id, batch, nonce)
                self._write(table, batch.table, _additions(batch.files), stamp, transaction)
            except (DeltaError, OSError) as failed:
                error, table = failed, None
                self._pause(attempt)
                continue
            self._settle(batch.table, before + 1, nonce)
            return
        assert error is not None
        raise explain(self.place.uri, error) from error

    def replace(self, table: DeltaTable, name: str, actions: list[AddAction | RemoveAction]) -> None:
        """Make a change that is not a batch of a store, such as a compaction's, on a table as it was loaded.

        Raises:
            CommitFailedError: of deltalake; another change came between.
            RemoteError: it can't be made; whether it was may not be known.
        """
        from deltalake.exceptions import CommitFailedError, DeltaError

        nonce, before = os.urandom(8).hex(), table.version()
        try:
            self._write(table, name, actions, nonce)
        except CommitFailedError:
            raise
        except (DeltaError, OSError) as error:
            raise explain(self.place.uri, error) from error
        self._settle(name, before + 1, nonce)

    def _write(
        self,
        table: DeltaTable,
        name: str,
        actions: list[AddAction | RemoveAction],
        stamp: str,
        transaction: tuple[str, int] | None = None,
    ) -> None:
        from deltalake.transaction import CommitProperties, Transaction

        table.create_write_transaction(
            actions,
            "append",
            table.schema(),
            list(TABLES[name].partition) or None,
            commit_properties=CommitProperties(
                custom_metadata={NONCE: stamp}, app_transactions=[Transaction(*transaction)] if transaction else None
            ),
            post_commithook_properties=self._hooks(),
        )

    def _check_ours(self, table: DeltaTable, store_id: str, batch: TableBatch, nonce: str) -> None:
        """Check that the batch of this number in the table is this one; one that the log does not have any more is."""
        start = _stamp(store_id, batch, "")
        for limit in (20, 500, None):
            commits = self._history(table, limit)
            stamps = [str(commit.get(NONCE, "")) for commit in commits]
            found = next((stamp for stamp in stamps if stamp.startswith(start)), None)
            if found is not None:
                if found != start + nonce:
                    raise CopiedStoreError(
                        f"another copy of store {store_id} pushed batch {batch.number} of {batch.table!r}"
                        f" to {self.place.uri}",
                        hint=COPIED_HINT,
                    )
                return
            if limit is None or len(commits) < limit:
                return

    def _history(self, table: DeltaTable, limit: int | None) -> list[dict[str, Any]]:
        with lake_errors(self.place.uri):
            return list(table.history(limit))

    def _settle(self, name: str, first: int, nonce: str) -> None:
        """Make the log's entries from ``first`` up to ours survive power loss, and count those of others before it.

        The entries are looked at by themselves: to load a table of many files again takes as long as the commit did.
        """
        version = first
        while (entry := self.files.read(f"{name}/{_entry(version)}")) is not None and nonce.encode() not in entry:
            version += 1
        self.collisions += 0 if entry is None else version - first
        self.versions[name] = version
        self.sync_log(name, range(first, version + 1))

    def sync_log(self, name: str, versions: range) -> None:
        """In a folder: make these versions of a table survive power loss.

        Raises:
            RemoteError: the disk refuses.
        """
        folder = self.place.folder
        sync = getattr(self.files, "fs", None)
        if folder is None or sync is None:
            return
        with lake_errors(self.place.uri):
            log = folder / name / LOG
            names = [f"{version:020}{kind}" for version in versions for kind in (".json", ".checkpoint.parquet")]
            found = [path for each in (*names, "_last_checkpoint") if (path := log / each).exists()]
            above = [log.parent, folder] if 0 in versions else []  # the table is new
            sync.sync_all(log, [*found, log, *above])

    def _hooks(self) -> PostCommitHookProperties | None:
        """What Delta does after a commit. In a folder it keeps the log's old entries, which it would remove before
        the checkpoint that takes their place survives power loss; a vacuum removes them."""
        from deltalake.transaction import PostCommitHookProperties

        return None if self.place.folder is None else PostCommitHookProperties(cleanup_expired_logs=False)

    def _pause(self, attempt: int) -> None:
        self.sleep(random.uniform(0.5, 1.0) * min(10.0, 0.05 * 2**attempt))


def _entry(version: int) -> str:
    return f"{LOG}/{version:020}.json"


def _additions(files: Sequence[StagedFile]) -> list[AddAction | RemoveAction]:
    from deltalake.transaction import AddAction

    now = int(time.time() * 1000)
    return [AddAction(each.path, each.size, dict(each.partition), now, True, each.stats) for each in files]


def _stamp(store_id: str, batch: TableBatch, nonce: str) -> str:
    return f"{app_of(store_id, batch.table)}:{batch.number}:{nonce}"


def _types(schema: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: json.dumps(each["type"], sort_keys=True) for each in schema["fields"]}
