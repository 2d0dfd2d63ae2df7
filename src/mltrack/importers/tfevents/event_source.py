"""TensorBoard's event files as runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mltrack.disk.artifact_files import files_below
from mltrack.environment import PARENT_TAG
from mltrack.importers.hparams_file import read_hparams
from mltrack.importers.source import BaseSource, SourceFile, SourceRun
from mltrack.importers.tfevents.event_run import EventRun
from mltrack.importers.tfevents.folders import MARK, run_folders
from mltrack.importers.tfevents.rich_items import KEPT_KINDS

if TYPE_CHECKING:
    from mltrack.importers.findings import Findings
    from mltrack.importers.tfevents.folders import RunFolder

__all__ = ["EventSource"]

BILLION = 1_000_000_000


class EventSource(BaseSource):
    """A file, or a folder with folders.

    A run has no id in these files. It is known again by the names of its folder and of its first file, which has time
    and host, and by the time of the first event; so a copy elsewhere is the same run.
    """

    def __init__(self, path: Path, findings: Findings) -> None:
        self._path = path
        self._root = path if path.is_dir() else path.parent
        self._findings = findings

    def runs(self) -> Iterable[SourceRun]:
        """Its runs; those in another one's folder are its children."""
        ids: dict[Path, tuple[str, str]] = {}
        left_out: Counter[str] = Counter()
        folders = list(run_folders(self._path))
        places = {folder.path for folder in folders}
        for folder in folders:
            where = folder.path.relative_to(self._root).as_posix()
            run = EventRun(folder.events, self._root, self._findings)
            try:
                run.scan()
            except OSError as error:
                self._findings.problem(where, f"can't be read: {error.strerror or error}")
                continue
            if run.first_time is None:
                self._findings.problem(where, "no whole event yet")
                continue
            left_out.update({kind: count for kind, count in run.kinds.items() if kind not in KEPT_KINDS})
            yield self._run(folder, run, where, ids, places)
        for kind, count in left_out.items():
            self._findings.left_out(f"events of TensorBoard: {kind}", count)

    def _run(
        self, folder: RunFolder, run: EventRun, where: str, ids: dict[Path, tuple[str, str]], places: set[Path]
    ) -> SourceRun:
        name = self._name(folder.path)
        session = run.session
        source_id, space = f"{folder.path.resolve().name}/{run.first_file}", str(run.first_time)
        parent = next((ids[above] for above in folder.path.parents if above in ids), None)
        ids[folder.path] = (source_id, space)
        return SourceRun(
            source_id=source_id,
            where=where,
            name=name,
            experiment=self._experiment(places),
            space=space,
            status=session.status or "FINISHED",
            start_time=run.first_time or 0,
            end_time=int(session.end * BILLION) or run.last_time or run.first_time,
            params=session.params | read_hparams(folder.path, self._findings),
            tags=session.tags | ({PARENT_TAG: parent[0]} if parent else {}),
            points=run.points,
            values=run.values,
            files=partial(self._files, folder, run, places),
        )

    def _name(self, path: Path) -> str:
        below = path.relative_to(self._root).as_posix()
        return self._root.resolve().name if below == "." else below

    def _experiment(self, places: set[Path]) -> str:
        """The folder of the runs: what was named, or where it is if that is a run itself."""
        root = self._root.resolve()
        return root.parent.name or root.name if self._root in places else root.name

    def _files(self, folder: RunFolder, run: EventRun, places: set[Path]) -> Iterator[SourceFile]:
        """What is in the folder of a run: hyperparameters, checkpoints; then what is in the events."""
        if self._path.is_file():
            return run.media()
        others = (
            SourceFile(name, path.stat().st_size, partial(_open, path))
            for path, name in files_below(folder.path, *(place for place in places if folder.path in place.parents))
            if MARK not in path.name and not path.is_symlink() and not _is_hidden(name) and path.is_file()
        )
        return chain(others, run.media())


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")
