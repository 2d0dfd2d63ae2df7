"""A source and a target that remember, of each unit, the snapshot and the needs that were seen last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack_sync.stores.transfer import entries_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from mltrack.errors import MltrackError
    from mltrack_sync.selection import Selection
    from mltrack_sync.stores.transfer import (
        Applied,
        CompleteRun,
        FileState,
        Need,
        Piece,
        Source,
        StoreInfo,
        Target,
        UnitSnapshot,
        UnitToken,
        Update,
    )

__all__ = ["ARTIFACTS", "WatchedCopy", "artifacts_in"]

ARTIFACTS = "artifacts/"


def artifacts_in(snapshot: UnitSnapshot) -> dict[str, FileState]:
    """The artifacts of a run's snapshot, by their names in the run."""
    return {state.path.removeprefix(ARTIFACTS): state for state in snapshot.files if state.path.startswith(ARTIFACTS)}


class WatchedCopy:
    """Both ends of a copy, as the source and the target that ``copy_units`` takes. Many threads may use it."""

    def __init__(
        self,
        source: Source,
        target: Target,
        *,
        look_again: bool = False,
        differing: Collection[str] = (),
        noted: Mapping[str, str] | None = None,
    ) -> None:
        """Watch a copy.

        Args:
            source: Where it comes from.
            target: Where it goes.
            look_again: Look at all units, even if the target says that it holds them whole.
            differing: Look at these units in any case.
            noted: The tokens of units that the target is known to hold, by the ledger.
        """
        self.source = _WatchedSource(source, noted or {})
        self.target = _WatchedTarget(target, look_again=look_again, differing=differing)

    def take(self, unit: str) -> tuple[UnitSnapshot | None, list[FileState]]:
        """The snapshot of a unit, and the files of it that the target lacked; both are forgotten here."""
        snapshot = self.source.snapshots.pop(unit, None)
        needs = self.target.lacking.pop(unit, [])
        return snapshot, needs


class _WatchedSource:
    def __init__(self, source: Source, noted: Mapping[str, str]) -> None:
        self._source = source
        self._noted = noted
        self.snapshots: dict[str, UnitSnapshot] = {}
        self.tokens: dict[str, str] = {}
        """Of the units that were listed, but for those that were noted with the same."""

    def info(self) -> StoreInfo:
        return self._source.info()

    def units(self, selection: Selection) -> Iterable[UnitToken]:
        for unit in self._source.units(selection):
            if self._noted.get(unit.unit) != unit.token:
                self.tokens[unit.unit] = unit.token
            yield unit

    def snapshot(self, unit: str, *, artifact_bytes_max: int | None = None) -> UnitSnapshot:
        snapshot = self._source.snapshot(unit, artifact_bytes_max=artifact_bytes_max)
        self.snapshots[unit] = snapshot
        return snapshot

    def pieces(self, snapshot: UnitSnapshot, needs: Iterable[Need]) -> Iterator[Piece]:
        return self._source.pieces(snapshot, needs)

    def complete_runs(
        self, units: Sequence[str], *, artifact_bytes_max: int | None = None
    ) -> Iterator[CompleteRun | None]:
        return map(self._seen, self._source.complete_runs(units, artifact_bytes_max=artifact_bytes_max))

    def _seen(self, run: CompleteRun | None) -> CompleteRun | None:
        if run is not None:
            self.snapshots[run.snapshot.unit] = run.snapshot
        return run


class _WatchedTarget:
    def __init__(self, target: Target, *, look_again: bool, differing: Collection[str]) -> None:
        self._target = target
        self._differing = differing
        self._look_again = look_again
        self.lacking: dict[str, list[FileState]] = {}
        self.held: dict[str, str] = {}
        """The tokens that it gave."""

    def info(self) -> StoreInfo:
        return self._target.info()

    def tokens(self, origin: str) -> dict[str, str]:
        if self._look_again:
            return {}
        held = self._target.tokens(origin)
        self.held = {unit: token for unit, token in held.items() if unit not in self._differing}
        return self.held

    def needs(self, snapshot: UnitSnapshot) -> list[Need]:
        needs = self._target.needs(snapshot)
        self.lacking[snapshot.unit] = [state for state, _ in entries_of(snapshot, needs)]
        return needs

    def apply(self, snapshot: UnitSnapshot, pieces: Iterable[Piece]) -> Applied:
        return self._target.apply(snapshot, pieces)

    def discard(self, snapshot: UnitSnapshot, paths: Sequence[str]) -> None:
        self._target.discard(snapshot, paths)

    def lacking_runs(self, units: Sequence[str]) -> set[str]:
        return self._target.lacking_runs(units)

    def add_runs(self, runs: Iterable[CompleteRun]) -> list[Applied | MltrackError]:
        return self._target.add_runs(map(self._lacking, runs))

    def updates_together(self) -> int:
        return self._target.updates_together()

    def apply_together(self, updates: Sequence[Update]) -> list[Applied | MltrackError]:
        return self._target.apply_together(updates)

    def _lacking(self, run: CompleteRun) -> CompleteRun:
        self.lacking[run.snapshot.unit] = list(run.snapshot.files)
        return run
