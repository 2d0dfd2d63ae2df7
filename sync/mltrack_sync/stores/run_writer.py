"""The copying of one run into its folder: marked as unfinished, its pieces written, then what follows from them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.storage.runs.stand_ins import STANDS_IN, hide_arriving, may_have_stand_ins, replace_stand_ins
from mltrack_sync.stores.artifact_facts import ArtifactFacts
from mltrack_sync.stores.copied_markers import CopiedMarkers, has_markers
from mltrack_sync.stores.point_ranges import writer_of
from mltrack_sync.stores.run_cleanup import remove_replaced_journals, settle_artifacts
from mltrack_sync.stores.run_positions import positions_after
from mltrack_sync.stores.run_token import writer_is_live
from mltrack_sync.stores.transfer import Applied, Piece, UnitSnapshot
from mltrack_sync.stores.unit_writer import UnitWriter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from mltrack.store import Store

__all__ = ["RunWriter"]


class RunWriter:
    """One copy of one run: ``write``, have what it wrote on the disk, then ``finish``."""

    def __init__(
        self,
        store: Store,
        snapshot: UnitSnapshot,
        starts: Mapping[int, int],
        *,
        hashing: bool = True,
        fs: FileSystem = LOCAL,
    ) -> None:
        """Mark the run as one that is being copied.

        Args:
            store: The store it is copied into.
            snapshot: The run elsewhere.
            starts: The byte from which each file is lacking, by its index in the snapshot; others are not written.
            hashing: Whether files are hashed whose SHA-256 is not in the snapshot.
            fs: The file system to write with.

        Raises:
            TransferError: something is in the way.
            OSError: it can't be written.
        """
        self._layout = store.layout
        self._run = store.layout.run(snapshot.unit.rpartition("/")[2])
        self._snapshot = snapshot
        self._starts = starts
        self._fs = fs
        self._before = ArtifactFacts()
        if not has_markers(self._run.path):  # else an earlier copy may have been broken off: files may yet come
            self._before.read_all(self._run.events)
        self._writer = UnitWriter(store.path, self._run.path, snapshot, starts, hashing=hashing, fs=fs)
        self._markers = CopiedMarkers(self._run, snapshot, store.store_id, fs=fs)
        if starts:
            self._mark()
            self._writer.place("live/_")
            self._markers.begin(self._unfinished())

    def write(self, pieces: Iterable[Piece]) -> None:
        """Write the pieces, with syncs between the steps of their order; what comes after the last is not synced.

        Raises:
            TransferError: one is not of the snapshot, or a file's content is not what it should be.
            OSError: one can't be written.
        """
        try:
            for piece in self._hiding(pieces):
                self._writer.write(piece)
        except BaseException:
            self._writer.close()
            raise

    def settle(self) -> None:
        """Return when everything that was written is on the disk under its name.

        Raises:
            OSError: it can't be written.
        """
        try:
            self._writer.settle()
        finally:
            self._writer.close()

    @property
    def origin(self) -> str:
        """The id of the store that it comes from."""
        return self._snapshot.origin[0]

    def unsettled(self) -> list[Path]:
        """The files and folders that ``settle`` would sync; whoever asks syncs them."""
        return self._writer.unsettled()

    def finish(self) -> Applied:
        """Do what follows when everything that was written is on the disk.

        Raises:
            StoreError, OSError: the disk refuses.
        """
        run, snapshot, writer = self._run, self._snapshot, self._writer
        if self._starts:
            remove_replaced_journals(run, fs=self._fs)
            settle_artifacts(run, self._before, snapshot, fs=self._fs)
        whole = writer.done == self._starts.keys()
        if whole:
            replace_stand_ins(self._layout, run.run_id, fs=self._fs)
        self._markers.finish(whole=whole)
        if self._starts:
            self._mark()
        written = [snapshot.files[index] for index in sorted(writer.done)]
        events, points = positions_after(run.path, written)
        return Applied(
            snapshot.unit,
            snapshot.token if whole else "",
            bytes=writer.bytes,
            files=len({state.path for state in written}),
            events=events,
            points=points,
        )

    def _hiding(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """The pieces; where stand-ins and the run's own writers meet, those that come don't count until all is here.

        Where both come, the stand-ins don't.
        """
        run = self._run
        known = {name.partition(".")[0] for name in _names(run.events)}
        new = {writer_of(state.path) for state in self._snapshot.files if state.path.startswith("events/")} - known
        if known and new and may_have_stand_ins(run.events):
            hide_arriving(self._layout, run.run_id, new, fs=self._fs)
        several = len(known | new) > 1
        for piece in pieces:
            writer = writer_of(piece.path) if several and piece.path.startswith("events/") else ""
            if writer in new and piece.start == 0 and STANDS_IN in piece.data.partition(b"\n")[0]:
                hide_arriving(self._layout, run.run_id, [writer], fs=self._fs)
            yield piece

    def _mark(self) -> None:
        """Tell catalogs that the run has changed."""
        logs = [state.path for state in self._snapshot.files if state.path.startswith("events/")]
        if logs and self._layout.changed.is_dir():
            os.close(self._fs.open_append(self._layout.changed / f"{self._run.run_id}.{writer_of(logs[0])}"))

    def _unfinished(self) -> set[str]:
        """The writers of which events are about to be written, and that don't record here."""
        paths = [self._snapshot.files[index].path for index in self._starts]
        logs = {writer_of(path) for path in paths if path.startswith("events/")}
        return {writer for writer in logs if not writer_is_live(self._run.events / f"{writer}.jsonl")}


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
