"""A source of which only some artifacts of a run are copied: files, or folders with all that is in them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mltrack_sync.stores.complete_runs import read_each
from mltrack_sync.stores.transfer import is_thin, thin_token
from mltrack_sync.stores.watched import ARTIFACTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from mltrack_sync.selection import Selection
    from mltrack_sync.stores.transfer import CompleteRun, Need, Piece, Source, StoreInfo, UnitSnapshot, UnitToken

__all__ = ["ChosenFiles"]


class ChosenFiles:
    """The source; what its snapshots leave out is not there, as in a thin copy."""

    def __init__(self, source: Source, is_wanted: Callable[[str], bool]) -> None:
        """``is_wanted`` is asked with the path of each artifact in its run."""
        self._source = source
        self._is_wanted = is_wanted

    def info(self) -> StoreInfo:
        """Which store it is."""
        return self._source.info()

    def units(self, selection: Selection) -> Iterable[UnitToken]:
        """The units; see ``Source.units``."""
        return self._source.units(selection)

    def snapshot(self, unit: str, *, artifact_bytes_max: int | None = None) -> UnitSnapshot:
        """How a unit looks now, without other artifacts; see ``Source.snapshot``."""
        found = self._source.snapshot(unit, artifact_bytes_max=artifact_bytes_max)
        files = tuple(
            state
            for state in found.files
            if not state.path.startswith(ARTIFACTS) or self._is_wanted(state.path.removeprefix(ARTIFACTS))
        )
        if len(files) == len(found.files):
            return found
        return replace(found, files=files, token=found.token if is_thin(found.token) else thin_token(found.token, 0))

    def pieces(self, snapshot: UnitSnapshot, needs: Iterable[Need]) -> Iterator[Piece]:
        """The bytes that are needed; see ``Source.pieces``."""
        return self._source.pieces(snapshot, needs)

    def complete_runs(
        self, units: Sequence[str], *, artifact_bytes_max: int | None = None
    ) -> Iterator[CompleteRun | None]:
        """Small runs, without other artifacts; see ``Source.complete_runs``."""
        return read_each(self, units, artifact_bytes_max=artifact_bytes_max)
