"""One batch of new runs that a store takes: checked and written, synced once, then published together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.errors import MltrackError
from mltrack_sync.stores.complete_runs import check_complete
from mltrack_sync.stores.new_runs import NewRuns
from mltrack_sync.stores.run_cleanup import missing_artifacts
from mltrack_sync.stores.run_positions import next_event, positions_of
from mltrack_sync.stores.transfer import Applied, TransferError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mltrack.disk.filesystem import FileSystem
    from mltrack.disk.layout import Layout
    from mltrack_sync.stores.transfer import CompleteRun
    from mltrack_sync.stores.unit_locks import UnitLocks

__all__ = ["RunBatch"]

RUNS = "runs/"


class RunBatch:
    """Some new runs. ``outcomes`` says what came of each, in their order. Close it."""

    def __init__(self, new: NewRuns) -> None:
        """Begin with none, in a folder that was made for them."""
        self.outcomes: list[Applied | MltrackError] = []
        self._new = new
        self._origins: dict[str, str] = {}

    @classmethod
    def written(cls, layout: Layout, runs: Iterable[CompleteRun], *, fs: FileSystem) -> RunBatch:
        """Check runs and write them where nobody sees them yet.

        Raises:
            TransferError: something is in the way of all of them.
            OSError: they can't be written.
        """
        batch = cls(NewRuns(layout, fs=fs))
        try:
            for run in runs:
                batch.outcomes.append(batch._put(run))
        except BaseException:
            batch.close()
            raise
        return batch

    def _put(self, run: CompleteRun) -> Applied | MltrackError:
        snapshot = run.snapshot
        try:
            check_complete(run)
            self._new.put(snapshot.unit.removeprefix(RUNS), {**run.contents, **missing_artifacts(run)})
        except TransferError as error:
            return error
        self._origins[snapshot.unit] = snapshot.origin[0]
        events, points = positions_of(snapshot.files, lambda state: next_event(run.contents[state.path]))
        size, files = run.size, len(run.contents)
        return Applied(snapshot.unit, snapshot.token, bytes=size, files=files, events=events, points=points)

    def publish(self, locks: UnitLocks) -> dict[str, dict[str, str]]:
        """Sync what was written and give the runs their names; those that others have begun meanwhile are left.

        Returns:
            By the id of the store that they come from the tokens of those that are in this store now, by their names.

        Raises:
            OSError: they can't be written or renamed.
        """
        self._new.sync()
        with locks.free(self._origins) as free:
            published = self._new.publish(unit.removeprefix(RUNS) for unit in self._origins if unit in free)
        tokens: dict[str, dict[str, str]] = {}
        for at, outcome in enumerate(self.outcomes):
            if isinstance(outcome, MltrackError):
                continue
            if outcome.unit.removeprefix(RUNS) in published:
                tokens.setdefault(self._origins[outcome.unit], {})[outcome.unit] = outcome.token
            else:
                self.outcomes[at] = TransferError(f"{outcome.unit} is being copied by another process, or was just now")
        return tokens

    def close(self) -> None:
        """Remove what was not published."""
        self._new.close()
