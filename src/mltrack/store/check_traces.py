"""Checking the traces of a store: every line of facts and spans, and that the spans a fact names are where it says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mltrack.format import BadLine, decode_line
from mltrack.fs import TEMPORARY, reading
from mltrack.jsonlog import read_log

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.store.check import CheckReport
    from mltrack.store.layout import Layout, TraceFolder

__all__ = ["check_traces"]

JSONL = ".jsonl"


def check_traces(layout: Layout, report: CheckReport) -> None:
    """Read every byte of a store's traces, and compare it with its checksums."""
    for experiment_id in _names(layout.traces):
        if experiment_id.isdecimal():
            folder = layout.trace_folder(experiment_id)
            for name in _names(folder.spans):
                if name.endswith(JSONL):
                    _check_log(folder.spans / name, report)
            for name in _names(folder.facts):
                if name.endswith(JSONL):
                    _check_facts(folder, name, report)


def _check_log(path: Path, report: CheckReport) -> list[dict[str, object]]:
    try:
        read = read_log(path)
        report.read(path)
    except OSError as error:
        report.error(path, f"can't be read: {error.strerror}", "check its permissions and the disk")
        return []
    for damage in read.damage:
        report.damage(damage)
    return read.lines


def _check_facts(folder: TraceFolder, name: str, report: CheckReport) -> None:
    """The facts of a writer, and the places of spans they name."""
    places = [line["at"] for line in _check_log(folder.facts / name, report) if line.get("type") == "spans"]
    if not places:
        return
    path = folder.spans / name
    try:
        with reading(path) as file:
            for place in places:
                problem = _problem(file.fileno(), place)
                if problem is not None:
                    report.error(folder.facts / name, f"names spans at {place} of the spans file: {problem}")
    except OSError as error:
        report.error(path, f"can't be read, and facts name spans in it: {error.strerror}")


def _problem(fd: int, place: object) -> str | None:
    match place:
        case [int(offset), int(size)] if offset >= 0 and size > 0:
            try:
                decode_line(os.pread(fd, size, offset).removesuffix(b"\n"))
            except BadLine as error:
                return str(error)
            return None
        case _:
            return "no place"


def _names(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.endswith(TEMPORARY))
    except (FileNotFoundError, NotADirectoryError):
        return []
