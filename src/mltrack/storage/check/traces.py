"""Checking the traces of a store: every line of facts and spans, and that the spans a fact names are where it says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import TEMPORARY
from mltrack.disk.line_types import FACTS, SPANS
from mltrack.storage.check.report import check_log

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
    """A writer's facts and spans: each line, who writes first, and that facts and spans name one another."""
    facts, spans = folder.facts / name, folder.spans / name
    told = check_log(facts, FACTS, report, may_be_empty=True) if os.path.lexists(facts) else []
    stored = check_log(spans, SPANS, report, may_be_empty=True) if os.path.lexists(spans) else []
    if not os.path.lexists(facts):
        report.error(facts, "is missing, though there are spans of this writer")
        return
    if not told and not os.path.getsize(facts):
        what = "is empty, where its first line says who writes: it was cut, unless its process died as it made the file"
        report.error(facts, what, "restore it from a copy; without one, and without spans of this writer, remove it")
    if told and not told[0].offset and told[0].fields["type"] != "writer":
        report.error(facts, f"begins with a {told[0].fields['type']!r}, not with who writes")
    there = {(line.offset, line.size): line.fields["trace_id"] for line in stored}
    named: set[tuple[int, int]] = set()
    for line in told:
        fields = line.fields
        if fields["type"] == "spans":
            at, size = fields["at"]
            named.add((at, size))
            if there.get((at, size)) != fields["trace_id"]:
                what = f"names spans at byte {at} of the spans file, where there are none of that trace"
                report.error(facts, what, offset=line.offset)
    closed = bool(told) and told[-1].fields["type"] == "close"
    nameless = len(there.keys() - named)
    if nameless and (closed or not told):
        report.error(facts, f"does not name {nameless:,} lines of spans that its writer stored")
    elif nameless:
        what = f"holds {nameless:,} lines that no fact names: their process died before, or facts are lost"
        report.note(spans, what, "compare it with a copy, if there is one")


def _names(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.endswith(TEMPORARY))
    except (FileNotFoundError, NotADirectoryError):
        return []
