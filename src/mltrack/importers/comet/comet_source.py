"""Comet's archives as runs: those of one experiment are one run."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from mltrack.importers.comet.archive import Archive
from mltrack.importers.comet.comet_run import CometRun, Upload
from mltrack.importers.source import BaseSource, SourceError, SourceFile, SourceRun
from mltrack.importers.times import NS_PER_MS, ns_of_ms

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.importers.findings import Findings

__all__ = ["CometSource"]

PROGRAM_ERROR = "Unexpected error detected in the user script: "
CONSOLE = "output.log"


class CometSource(BaseSource):
    """One archive, or those in a folder."""

    def __init__(self, path: Path, paths: list[Path], findings: Findings) -> None:
        self._root = path if path.is_dir() else path.parent
        self._paths = paths
        self._findings = findings

    def runs(self) -> Iterable[SourceRun]:
        """Its experiments, by the time when they began."""
        left_out: Counter[str] = Counter()
        for archives in self._grouped():
            run = CometRun(archives, self._findings)
            run.scan()
            left_out["files that Comet only has the addresses of"] += run.remote
            yield self._run(run)
            for archive in archives:
                archive.release()
        for what, count in left_out.items():
            if count:
                self._findings.left_out(what, count)

    def _grouped(self) -> list[list[Archive]]:
        groups: dict[str, list[Archive]] = {}
        for path in self._paths:
            where = path.relative_to(self._root).as_posix()
            try:
                archive = Archive(path, where)
            except SourceError as error:
                self._findings.problem(where, str(error))
                continue
            groups.setdefault(str(archive.head.get("offline_id") or path.stem), []).append(archive)
        parts = [sorted(group, key=_order) for group in groups.values()]
        return sorted(parts, key=lambda group: _order(group[0]))

    def _run(self, run: CometRun) -> SourceRun:
        heads = [archive.head for archive in run.archives]
        error = _error_of(heads[-1])
        run_id = str(heads[0].get("offline_id") or run.archives[0].path.stem)
        return SourceRun(
            source_id=run_id,
            where=run.where,
            name=run.name or run_id[:8],
            experiment=next((str(head["project_name"]) for head in heads if head.get("project_name")), "comet"),
            status="FAILED" if error else "FINISHED",
            start_time=ns_of_ms(heads[0].get("start_time")),
            end_time=max(ns_of_ms(head.get("stop_time")) for head in heads) or None,
            user=run.user,
            params=run.params,
            tags={**run.tags, **_workspace(heads), **({"comet.error": error} if error else {})},
            points=run.points,
            values=run.values,
            files=partial(self._files, run),
            time_unit=NS_PER_MS,
        )

    def _files(self, run: CometRun) -> Iterator[SourceFile]:
        """Files that are no values, each under a name of its own; the console, and texts of messages."""
        taken: set[str] = set()
        for upload in run.uploads:
            try:
                if run.is_value(upload):
                    continue
            except SourceError:
                continue  # named when values are read
            name = _free(upload, taken)
            taken.add(name)
            size = upload.archive.size(upload.member) or 0
            yield SourceFile(name, size, partial(upload.archive.open, upload.member))
        texts = {**run.texts, CONSOLE: "".join(run.console)}
        for name, text in texts.items():
            if text and name not in taken:
                data = text.encode("utf-8", "replace")
                yield SourceFile(name, len(data), partial(io.BytesIO, data))


def _free(upload: Upload, taken: set[str]) -> str:
    """The name of a file; where there is one of that name already, with its step and a number."""
    name, number = upload.name, 0
    path = PurePosixPath(upload.name)
    while name in taken:
        more = f"-{upload.step}" if not number else f"-{upload.step}-{number}"
        name, number = f"{upload.name.removesuffix(path.suffix)}{more}{path.suffix}", number + 1
    return name


def _order(archive: Archive) -> tuple[int, str]:
    return ns_of_ms(archive.head.get("start_time")), archive.path.name


def _workspace(heads: list[dict[str, Any]]) -> dict[str, str]:
    found = next((str(head["workspace"]) for head in heads if head.get("workspace")), "")
    return {"comet.workspace": found} if found else {}


def _error_of(head: dict[str, Any]) -> str:
    """The exception that ended the program, as Comet notes it; what Comet itself could not log is noted there, too."""
    text = str(head.get("customer_error_message") or "")
    return text.removeprefix(PROGRAM_ERROR) if text.startswith(PROGRAM_ERROR) else ""
