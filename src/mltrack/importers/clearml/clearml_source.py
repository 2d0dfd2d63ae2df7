"""ClearML's offline sessions as runs."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from mltrack.importers.clearml.clearml_run import ClearmlRun, read_task
from mltrack.importers.source import BaseSource, SourceError, SourceFile, SourceRun
from mltrack.importers.times import NS_PER_MS
from mltrack.importers.zip_members import FolderMembers, ZipMembers

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.importers.findings import Findings

__all__ = ["ClearmlSource"]

CONSOLE = "output.log"


class ClearmlSource(BaseSource):
    """One session, or those in a folder."""

    def __init__(self, path: Path, paths: list[Path], findings: Findings) -> None:
        self._root = path.parent if paths == [path] else path
        self._paths = paths
        self._findings = findings

    def runs(self) -> Iterable[SourceRun]:
        """A run for each session, by their names."""
        left_out: Counter[str] = Counter()
        for path in self._paths:
            where = path.relative_to(self._root).as_posix()
            members = FolderMembers(path) if path.is_dir() else ZipMembers(path)
            try:
                run = ClearmlRun(members, where, read_task(members), self._findings)
            except (SourceError, OSError) as error:
                self._findings.problem(where, str(error))
                continue
            run.scan()
            artifacts = dict(run.artifacts())
            models = run.task.get("offline_output_models")
            run.left_out["models that the task made, which are not in the session"] += (
                len(models) if isinstance(models, list) else 0
            )
            left_out.update(run.left_out)
            yield self._run(run, artifacts, path)
            members.release()
        for what, count in left_out.items():
            if count:
                self._findings.left_out(what, count)

    def _run(self, run: ClearmlRun, artifacts: dict[str, str], path: Path) -> SourceRun:
        task = run.task
        written = path.stat().st_mtime_ns
        return SourceRun(
            source_id=task["id"],
            where=run.where,
            name=str(task.get("name") or task["id"]),
            experiment=str(task.get("project_name") or "clearml"),
            status="KILLED" if _is_open(path, task) else "FINISHED",
            start_time=run.start or written,
            end_time=run.end or written,
            guessed_times=not run.start,
            params=run.params,
            tags=run.tags,
            points=run.points,
            values=run.values,
            files=partial(self._files, run, artifacts),
            time_unit=NS_PER_MS,
        )

    def _files(self, run: ClearmlRun, artifacts: dict[str, str]) -> Iterator[SourceFile]:
        """Artifacts, media that are no values, plots, configurations, and the console."""
        named = dict(artifacts)
        for media in run.media:
            try:
                if not run.is_value(media):
                    suffix = PurePosixPath(media.member).suffix
                    named[f"media/{media.name}_{media.step}{suffix}"] = media.member
            except SourceError:
                continue  # named when values are read
        for name, member in named.items():
            yield SourceFile(name, run.members.size(member) or 0, partial(run.members.open, member))
        texts = {**run.texts, **run.described(), CONSOLE: "".join(run.console)}
        for name, text in texts.items():
            if text:
                data = text.encode("utf-8", "replace")
                yield SourceFile(name, len(data), partial(io.BytesIO, data))


def _is_open(path: Path, task: dict[str, Any]) -> bool:
    """Whether a session lies where ClearML wrote it and has no archive, which ClearML makes when it closes a task."""
    is_own = path.is_dir() and str(path.resolve()) == task.get("offline_folder")
    return is_own and not path.with_name(f"{path.name}.zip").exists()
