"""SwanLab's folders as runs: those of one run id are one run."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mltrack.importers.listing import list_files
from mltrack.importers.log_file import LogFile
from mltrack.importers.protobuf import WireError
from mltrack.importers.source import BaseSource, SourceError, SourceFile, SourceRun
from mltrack.importers.swanlab.folders import head_of, log_paths
from mltrack.importers.swanlab.records import Facts, json_record, protobuf_record
from mltrack.importers.swanlab.swanlab_run import JSON_VERSION, PROTOBUF_VERSION, SwanlabRun

if TYPE_CHECKING:
    from mltrack.importers.findings import Findings

__all__ = ["SwanlabSource"]

CONSOLE = "output.log"
HEAD_RECORDS = 20
"""Among so many of the first records are those that name the run."""
OLD_FOLDER = re.compile(r"run-\d{8}_\d{6}-\w+")


class SwanlabSource(BaseSource):
    """A log, or a folder with folders."""

    def __init__(self, path: Path, findings: Findings) -> None:
        self._path = path
        self._root = path if path.is_dir() else path.parent
        self._findings = findings

    def runs(self) -> Iterable[SourceRun]:
        """Its runs, by the time when they began."""
        for logs in self._grouped():
            run = SwanlabRun(logs, self._findings)
            try:
                run.scan()
            except (OSError, SourceError) as error:
                self._findings.problem(run.where, f"can't be read: {error}")
                continue
            yield self._run(run)
        without = sum(1 for folder in self._folders() if not any(log_paths(folder)))
        if without:
            self._findings.left_out("folders of SwanLab's dashboard that have no log", without)

    def _folders(self) -> list[Path]:
        """Folders that the dashboard of SwanLab before 0.10 reads."""
        children = self._path.iterdir() if self._path.is_dir() else ()
        return [child for child in children if OLD_FOLDER.fullmatch(child.name) and (child / "logs").is_dir()]

    def _grouped(self) -> list[list[tuple[LogFile, int]]]:
        """The logs of each run, in the order in which they were begun."""
        groups: dict[tuple[str, ...], list[tuple[int, str, LogFile, int]]] = {}
        for path in log_paths(self._path):
            where, magic = path.relative_to(self._root).as_posix(), head_of(path)
            version = magic[-1]
            if version not in (JSON_VERSION, PROTOBUF_VERSION):
                self._findings.problem(where, f"has version {version} of SwanLab's format, 1 and 2 are read")
                continue
            log = LogFile(path, where, self._findings, magic)
            try:
                start, fields = _head(log, version)
            except (OSError, SourceError) as error:
                self._findings.problem(where, str(error))
                continue
            key = tuple(str(fields.get(name, "")) for name in ("workspace", "project", "id"))
            groups.setdefault(key, []).append((start, path.parent.name, log, version))
        parts = sorted(
            (sorted(group, key=lambda part: part[:2]) for group in groups.values()), key=lambda part: part[0][:2]
        )
        return [[(log, version) for _, _, log, version in group] for group in parts]

    def _run(self, run: SwanlabRun) -> SourceRun:
        facts = run.facts
        return SourceRun(
            source_id=facts["id"],
            where=run.where,
            name=facts.get("name") or facts["id"],
            experiment=facts.get("project") or "swanlab",
            space=f"{facts.get('workspace', '')}/{facts.get('project', '')}",
            status=run.status,
            start_time=run.start,
            end_time=run.end or max(run.last_time, run.start),
            params=run.params,
            tags=run.tags,
            points=run.points,
            values=run.values,
            files=partial(self._files, run),
        )

    def _files(self, run: SwanlabRun) -> Iterator[SourceFile]:
        """What is in the folders ``files``, media that are not values, and the console; of each name the latest."""
        found: dict[str, SourceFile] = {}
        for log, _ in run.logs:
            for folder in ("files", "media"):
                place = log.path.parent / folder
                if not place.is_dir() or self._findings.is_outside(place):
                    continue
                listed = list_files(
                    place,
                    lambda words: self._findings.problem(run.where, words),
                    partial(self._on_link, run.where),
                )
                for file in listed:
                    above, _, name = file.path.rpartition("/")
                    if folder == "files":
                        found[file.path] = file
                    elif (above, name) not in run.media:
                        found[f"media/{file.path}"] = SourceFile(f"media/{file.path}", file.size, file.open)
        yield from found.values()
        if run.has_console:
            data = run.console()
            yield SourceFile(CONSOLE, len(data), lambda: io.BytesIO(data))

    def _on_link(self, where: str, name: str) -> None:
        self._findings.left_out(f"{where}: {name}, a link that leads elsewhere")


def _head(log: LogFile, version: int) -> tuple[int, dict[str, str]]:
    """When it was begun in ns, and what names the run.

    Raises:
        OSError, SourceError: it can't be read.
    """
    found: dict[str, str] = {}
    start = 0
    for number, data in enumerate(log.records()):
        try:
            record = protobuf_record(data) if version == PROTOBUF_VERSION else json_record(data)
        except (WireError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
        if isinstance(record, Facts):
            start = start or record.time
            found.update(record.fields)
        if found.get("id"):
            return start, found
        if number > HEAD_RECORDS:
            break
    raise SourceError("no record of the run yet")
