"""Checking the traces of a store: every line of facts and spans, and that the spans a fact names are in their place."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import TEMPORARY
from mltrack.disk.line_types import FACTS, SPANS
from mltrack.storage.check.report import check_log
from mltrack.text.counting import plural

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.disk.layout import Layout, TraceFolder
    from mltrack.storage.check.report import CheckReport

__all__ = ["check_traces"]

JSONL = ".jsonl"


def check_traces(layout: Layout, report: CheckReport) -> None:
    """Read every byte of a store's traces, and compare it with its checksums."""
    for experiment_id in _names(layout.traces):
        if experiment_id.isdecimal():
            folder = layout.trace_folder(experiment_id)
            for name in sorted({*_names(folder.facts), *_names(folder.spans)}):
                if name.endswith(JSONL):
                    _check_writer(folder, name, report)


def _check_writer(folder: TraceFolder, name: str, report: CheckReport) -> None:
    """A writer's facts and spans: each line, the writer's own first, and that facts and spans match."""
    facts, spans = folder.facts / name, folder.spans / name
    lines = check_log(facts, FACTS, report, may_be_empty=True) if os.path.lexists(facts) else []
    stored = check_log(spans, SPANS, report, may_be_empty=True) if os.path.lexists(spans) else []
    if not os.path.lexists(facts):
        report.error(facts, "is missing, but this writer has spans")
        return
    if not lines and not os.path.getsize(facts):
        what = "is empty, without the line that names its writer: it was cut, unless its process died making it"
        report.error(facts, what, "restore it from a copy; if there is none, and the writer has no spans, remove it")
    if lines and not lines[0].offset and lines[0].fields["type"] != "writer":
        report.error(facts, f"begins with a {lines[0].fields['type']!r}, not with its writer")
    placed = {(line.offset, line.size): line.fields["trace_id"] for line in stored}
    named: set[tuple[int, int]] = set()
    for line in lines:
        fields = line.fields
        if fields["type"] == "spans":
            at, size = fields["at"]
            named.add((at, size))
            if placed.get((at, size)) != fields["trace_id"]:
                what = f"names spans at byte {at} of the spans file, but the trace has no spans at that byte"
                report.error(facts, what, offset=line.offset)
    closed = bool(lines) and lines[-1].fields["type"] == "close"
    orphans = len(placed.keys() - named)
    if orphans and (closed or not lines):
        report.error(facts, f"does not name {plural(orphans, 'line')} of spans that its writer stored")
    elif orphans:
        what = f"has {plural(orphans, 'line')} that no fact names: the process died first, or facts are lost"
        report.note(spans, what, "compare it with a copy, if there is one")


def _names(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.endswith(TEMPORARY))
    except (FileNotFoundError, NotADirectoryError):
        return []
