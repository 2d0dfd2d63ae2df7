"""Tables of metrics as runs: a file is a run, or has several; a folder of Lightning's CSVLogger is one, with its files.

A table has no ids. So a run is known again by where its file is and by its first row.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltrack.importers.hparams_file import HPARAMS_FILE, read_hparams
from mltrack.importers.listing import is_store, list_files
from mltrack.importers.own_files import is_export
from mltrack.importers.source import BaseSource, SourceError, SourceFile, SourceRun

if TYPE_CHECKING:
    import pyarrow as pa

    from mltrack.importers.findings import Findings
    from mltrack.importers.tables.roles import Roles

__all__ = ["TableImporter", "TableSource"]

METRICS_FILE = "metrics.csv"
SUFFIXES = (".csv", ".jsonl", ".ndjson")
DEPTH_MAX = 5


class TableImporter:
    """CSV, JSON lines and folders of Lightning's CSVLogger."""

    name = "csv"
    title = "CSV, JSON lines, or a folder of Lightning's CSVLogger"

    def recognizes(self, path: Path) -> bool:
        """Whether it is such a file, or a folder with such files."""
        return next(iter(_tables(path)), None) is not None

    def open(self, path: Path, findings: Findings) -> TableSource:
        """Open it.

        Raises:
            SourceError: it has no tables.
        """
        if not self.recognizes(path):
            raise SourceError(f"it has no {', '.join(SUFFIXES)} file")
        findings.reads(path, with_folder=True)
        return TableSource(path, findings)


def _tables(path: Path) -> Iterator[Path]:
    """The tables of a source, in order: itself, or those of a folder and of the folders below."""
    if path.is_file():
        if path.suffix.lower() in SUFFIXES:
            yield path
        return
    for here, folders, files in os.walk(path):
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        if is_store(folders, files):
            folders.clear()
            continue
        if METRICS_FILE in files:
            folders.clear()  # what is below belongs to that run
            if Path(here, METRICS_FILE).is_file():
                yield Path(here, METRICS_FILE)
            continue
        if len(Path(here).relative_to(path).parts) >= DEPTH_MAX:
            folders.clear()
        places = (Path(here, file) for file in sorted(files) if Path(file).suffix.lower() in SUFFIXES)
        yield from (place for place in places if place.is_file())


class TableSource(BaseSource):
    """A file, or a folder of files."""

    def __init__(self, path: Path, findings: Findings) -> None:
        self._path = path
        self._findings = findings

    def runs(self) -> Iterable[SourceRun]:
        """The runs of all files."""
        for table in _tables(self._path):
            where = table.name if table == self._path else table.relative_to(self._path).as_posix()
            if self._findings.is_outside(table):
                continue
            if table != self._path and is_export(table) and not is_export(self._path):
                self._findings.left_out(
                    f"{where}: mltrack export wrote it (mltrack import FILE --from csv takes its points)"
                )
                continue
            try:
                yield from self._runs_of(table, where)
            except (SourceError, OSError) as error:
                self._findings.problem(where, str(error))

    def _runs_of(self, table: Path, where: str) -> Iterator[SourceRun]:
        from mltrack.importers.tables.roles import roles_of

        roles = roles_of(self._columns(table, where))
        place = str(table.resolve())
        modified = table.stat().st_mtime_ns
        facts: dict[str, Any] = {
            "where": where,
            "start_time": modified,
            "end_time": modified,
            "guessed_times": True,
            "untimed": True,
        }
        if roles.run:
            for name in self._run_names(table, where, roles):
                points = partial(self._points, table, where, roles, name)
                experiment = table.stem
                yield SourceRun(source_id=name, name=name, experiment=experiment, space=place, points=points, **facts)
            return
        is_folder = table.name == METRICS_FILE
        is_lightning = is_folder and (table.parent / HPARAMS_FILE).is_file()  # which it writes first of all
        names = table.resolve().parts
        yield SourceRun(
            source_id=names[-2] if is_folder else table.stem,
            name=names[-2] if is_folder else table.stem,
            experiment=names[-3] if is_folder and len(names) > 3 else names[-2],
            space=f"{place}\0{self._first_row(table, where)}",
            params=read_hparams(table.parent, self._findings) if is_lightning else {},
            points=partial(self._points, table, where, roles, ""),
            files=partial(self._files, table, where) if is_lightning else lambda: iter(()),
            **facts,
        )

    def _files(self, table: Path, where: str) -> Iterator[SourceFile]:
        """What is next to a table of Lightning's and below: hyperparameters, checkpoints."""
        files = list_files(
            table.parent,
            lambda words: self._findings.problem(where, words),
            lambda name: self._findings.left_out(f"{where}: {name}, a link that leads elsewhere"),
        )
        return (file for file in files if file.path != METRICS_FILE)

    def _columns(self, table: Path, where: str) -> list[str]:
        from mltrack.importers.tables.csv_file import csv_columns
        from mltrack.importers.tables.json_lines import first_columns

        return csv_columns(table) if table.suffix == ".csv" else first_columns(table, where, self._findings)

    def _batches(self, table: Path, where: str) -> Iterator[pa.RecordBatch]:
        from mltrack.importers.tables.csv_file import read_csv
        from mltrack.importers.tables.json_lines import read_json_lines

        read = read_csv if table.suffix == ".csv" else read_json_lines
        return read(table, where, self._findings)

    def _points(self, table: Path, where: str, roles: Roles, run: str) -> Iterator[pa.RecordBatch]:
        from mltrack.importers.tables.rows import TableRows

        rows = TableRows(where, roles, self._findings, run)
        for batch in self._batches(table, where):
            yield from rows.points(batch)

    def _run_names(self, table: Path, where: str, roles: Roles) -> list[str]:
        names: dict[str, None] = {}
        for batch in self._batches(table, where):
            column = batch.column(roles.run).unique().cast("string")
            names.update(dict.fromkeys(name for name in column.to_pylist() if name))
        return list(names)

    def _first_row(self, table: Path, where: str) -> str:
        """What the first row says, whatever columns were added to it later."""
        for batch in self._batches(table, where):
            cells = batch.slice(0, 1).to_pylist()[0]
            return json.dumps(sorted((key, repr(cell)) for key, cell in cells.items() if cell is not None))
        return ""
