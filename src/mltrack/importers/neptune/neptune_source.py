"""An export of neptune-exporter's: projects as experiments, and their runs."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa

from mltrack.importers.listing import list_files
from mltrack.importers.neptune.exports import ENTITIES, run_parts
from mltrack.importers.neptune.neptune_run import NeptuneRun, is_png
from mltrack.importers.source import BaseSource, SourceError, SourceFile, SourceRun

if TYPE_CHECKING:
    from mltrack.importers.findings import Findings
    from mltrack.importers.neptune.exports import Export, RunParts

__all__ = ["NeptuneSource"]

ERRORS_FILE = "neptune_exporter_errors.jsonl"
UNFINISHED = "its export was not finished: run neptune-exporter again, which goes on with it"
MISSING_FILES = "files that the export names and that are not in its folder of files"


class NeptuneSource(BaseSource):
    """It, open to read."""

    def __init__(self, export: Export, findings: Findings) -> None:
        self._export = export
        self._findings = findings

    def runs(self) -> Iterable[SourceRun]:
        """The runs of all projects, by the names of their files."""
        left_out: Counter[str] = Counter()
        for folder in self._export.projects:
            for parts in run_parts(folder):
                where = parts.prefix.relative_to(self._export.root).as_posix()
                run = self._read(parts, where)
                if run is not None:
                    yield self._run(run)
                    left_out[MISSING_FILES] += sum(run.file(name) is None for _, _, _, name in run.named)
        left_out["models and model versions of Neptune's registry"] += self._count_models()
        left_out["attributes that neptune-exporter could not fetch (see its report of errors)"] += self._count_errors()
        for what, count in left_out.items():
            if count:
                self._findings.left_out(what, count)

    def _read(self, parts: RunParts, where: str) -> NeptuneRun | None:
        """A run that is whole, read for its facts."""
        if 0 not in parts.parts:
            self._findings.problem(where, UNFINISHED)
            return None
        if parts.missing:
            numbers = ", ".join(map(str, parts.missing))
            self._findings.problem(where, f"part {numbers} is missing, the others are read")
        run = NeptuneRun(parts, where, self._export.files, self._findings)
        try:
            run.scan()
        except (SourceError, pa.ArrowException, ValueError) as error:
            self._findings.problem(where, " ".join(str(error).split())[:200])
            return None
        return run

    def _run(self, run: NeptuneRun) -> SourceRun:
        facts = run.facts
        return SourceRun(
            source_id=facts.run_id,
            where=run.where,
            name=facts.name,
            experiment=facts.project or "neptune",
            space=facts.project,
            status=facts.status,
            start_time=facts.start_time,
            end_time=facts.end_time,
            user=str(facts.system.get("owner") or ""),
            deleted=bool(facts.system.get("trashed")),
            params=facts.params,
            tags=run.tags,
            points=partial(_naming, run.points),
            values=partial(_naming, run.values),
            files=partial(self._files, run),
            time_unit=1_000_000,
        )

    def _files(self, run: NeptuneRun) -> Iterator[SourceFile]:
        """Its files, under the names of their attributes."""
        for attribute, kind, step, place in run.named:
            path = run.file(place)
            if path is None or (kind == "file_series" and is_png(path)):
                continue
            if path.is_dir():
                yield from self._folder(run, attribute, path)
            else:
                yield SourceFile(
                    _name(attribute, kind, run.step(step), path), path.stat().st_size, partial(_opened, path)
                )
        for attribute, size in run.consoles.items():
            yield SourceFile(f"{attribute}.log", size, partial(_console, run, attribute))

    def _folder(self, run: NeptuneRun, attribute: str, path: Path) -> Iterator[SourceFile]:
        """The files of a set of files."""
        files = list_files(
            path,
            lambda words: self._findings.problem(run.where, words),
            lambda name: self._findings.left_out(f"{run.where}: {name}, a link that leads elsewhere"),
        )
        for file in files:
            yield SourceFile(f"{attribute}/{file.path}", file.size, file.open)

    def _count_models(self) -> int:
        if self._export.models is None:
            return 0
        folders = [project / entity for project in sorted(self._export.models.iterdir()) for entity in ENTITIES]
        return sum(1 for folder in folders if folder.is_dir() for _ in run_parts(folder))

    def _count_errors(self) -> int:
        """Attributes in the exporter's report of errors, where it is next to the export."""
        failed = set()
        for place in (self._export.root, self._export.root.parent):
            try:
                lines = (place / ERRORS_FILE).read_bytes().splitlines()
            except OSError:
                continue
            for line in lines:
                try:
                    record = json.loads(line)
                    failed.add((record["project_id"], record["run_id"], record["attribute_path"]))
                except (ValueError, TypeError, KeyError):
                    continue
        return len(failed)


def _naming(read: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    """What a run gives; Arrow's errors as a source's."""
    try:
        yield from read()
    except (pa.ArrowException, ValueError) as error:
        raise SourceError(f"columns of another form: {' '.join(str(error).split())[:200]}") from error


def _name(attribute: str, kind: str, step: int | None, path: Path) -> str:
    """The name of a file: its attribute's, with the suffix that the export gave it, and the step."""
    name = attribute.strip("/") or path.name
    if kind == "artifact":
        return f"{name}/{path.name}"
    if kind == "file_series":
        return f"{name}/{step if step is not None else path.stem}{path.suffix}"
    return name if not path.suffix or PurePosixPath(name).suffix == path.suffix else f"{name}{path.suffix}"


def _opened(path: Path) -> IO[bytes]:
    return path.open("rb")


def _console(run: NeptuneRun, attribute: str) -> IO[bytes]:
    return io.BytesIO(run.console(attribute))
