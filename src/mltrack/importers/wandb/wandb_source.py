"""wandb's folders as runs: those of one run id are one run."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from mltrack.disk.artifact_files import files_below
from mltrack.disk.filesystem import safe_join
from mltrack.errors import InvalidPathError
from mltrack.importers.log_file import LogFile
from mltrack.importers.protobuf import Fields, WireError
from mltrack.importers.source import BaseSource, SourceError, SourceFile, SourceRun
from mltrack.importers.wandb.folders import log_paths
from mltrack.importers.wandb.items import time_of
from mltrack.importers.wandb.names import SUMMARY_FILE
from mltrack.importers.wandb.records import RUN, record_of
from mltrack.importers.wandb.wandb_run import WandbRun

if TYPE_CHECKING:
    from mltrack.importers.findings import Findings

__all__ = ["WandbSource"]

FILES, OUTPUT_FILE = "files", "output.log"
HEAD_RECORDS = 100
"""Among so many of the first records is the one that names the run."""


class WandbSource(BaseSource):
    """A file, or a folder with folders."""

    def __init__(self, path: Path, findings: Findings) -> None:
        self._path = path
        self._root = path if path.is_dir() else path.parent
        self._findings = findings

    def runs(self) -> Iterable[SourceRun]:
        """Its runs, by the time when they began."""
        left_out: Counter[str] = Counter()
        for logs in self._grouped():
            run = WandbRun(logs, self._findings)
            try:
                run.scan()
            except (OSError, SourceError) as error:
                self._findings.problem(logs[0].where, f"can't be read: {error}")
                continue
            left_out.update(run.left_out)
            yield self._run(run)
            absent = sum(file.here() is None for file in run.facts.artifacts.values())
            left_out["files of wandb's artifacts that are not on this machine"] += absent + run.facts.remote_files
        for what, count in left_out.items():
            if count:
                self._findings.left_out(what, count)

    def _grouped(self) -> list[list[LogFile]]:
        """The files of each run, in the order in which they were begun."""
        groups: dict[tuple[str, ...], list[tuple[int, str, LogFile]]] = {}
        for path in log_paths(self._path):
            log = LogFile(path, path.relative_to(self._root).as_posix(), self._findings)
            try:
                start, *key = _head(log)
            except (OSError, SourceError, WireError) as error:
                self._findings.problem(log.where, str(error))
                continue
            groups.setdefault(tuple(key), []).append((start, path.parent.name, log))
        parts = sorted(
            (sorted(group, key=lambda part: part[:2]) for group in groups.values()), key=lambda part: part[0][:2]
        )
        return [[log for _, _, log in group] for group in parts]

    def _run(self, run: WandbRun) -> SourceRun:
        facts = run.facts
        return SourceRun(
            source_id=facts.run_id,
            where=run.logs[0].where,
            name=facts.name or facts.run_id,
            experiment=facts.project or "uncategorized",
            space=f"{facts.entity}/{facts.project}",
            status=facts.status,
            start_time=facts.start,
            end_time=max(run.last_time, facts.start),
            params=facts.params,
            tags=facts.tags,
            points=run.points,
            values=lambda: run.values(partial(_media, run, self._findings)),
            files=lambda: self._files(run),
        )

    # --- files ---

    def _files(self, run: WandbRun) -> Iterator[SourceFile]:
        """What is in the folders ``files``, of which the latest counts; the console; the summary; artifacts."""
        found: dict[str, Path] = {}
        for log in run.logs:
            if not _has_files(log, self._findings):
                continue
            for path, name in files_below(log.path.parent / FILES):
                if path.is_file() and not path.is_symlink() and name not in run.media:
                    found[name] = path
        outputs = [part for log in run.logs for part in _output(run, log, self._findings)]
        found.pop(OUTPUT_FILE, None)
        found.pop(SUMMARY_FILE, None)
        for name, path in found.items():
            yield SourceFile(name, path.stat().st_size, partial(_open, path))
        if outputs:
            yield _in_memory(OUTPUT_FILE, b"".join(outputs))
        if run.facts.summary:
            yield _in_memory(SUMMARY_FILE, run.summary_file())
        for file in run.facts.artifacts.values():
            local = file.here()
            if local is not None:
                yield SourceFile(file.name, file.size, partial(_open, local))


def _head(log: LogFile) -> tuple[int, str, str, str]:
    """When it was begun in ns, and the run: entity, project, id.

    Raises:
        OSError, SourceError, WireError: it can't be read.
    """
    for number, data in enumerate(log.records()):
        sort, start, end = record_of(data)
        if sort == RUN:
            run = Fields(data, start, end)
            return time_of(run.inner(17)), run.text(2), run.text(3), run.text(1)
        if number > HEAD_RECORDS:
            break
    raise SourceError("no record of the run yet")


def _output(run: WandbRun, log: LogFile, findings: Findings) -> Iterator[bytes]:
    """What the console of one folder showed: wandb's own file, or else the records."""
    path = log.path.parent / FILES / OUTPUT_FILE
    if path.is_file() and not findings.is_outside(path):
        yield path.read_bytes()
    elif run.has_output:
        yield from run.output(log)


def _media(run: WandbRun, findings: Findings, name: str) -> bytes | None:
    for log in reversed(run.logs):
        if not _has_files(log, findings):
            continue
        try:
            path = safe_join(log.path.parent / FILES, name)
        except InvalidPathError:
            return None
        if path.is_file():
            return path.read_bytes()
    return None


def _has_files(log: LogFile, findings: Findings) -> bool:
    """Whether there are files next to a log that belong to the source."""
    folder = log.path.parent / FILES
    return folder.is_dir() and not findings.is_outside(folder)


def _in_memory(name: str, data: bytes) -> SourceFile:
    return SourceFile(name, len(data), lambda: io.BytesIO(data))


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")
