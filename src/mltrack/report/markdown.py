"""A report as Markdown: tables, curves as bars of text, diffs and logs; it links to nothing."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mltrack.drawing.sparkline import sparkline
from mltrack.report.model import differing
from mltrack.text.counting import plural
from mltrack.text.figures import count, duration, number
from mltrack.text.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mltrack.report.model import Fact, Report

__all__ = ["as_markdown"]

SPARK_WIDTH = 30

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&!$])")
_LINK = re.compile(r"(://|www\.)", re.IGNORECASE)


def as_markdown(report: Report) -> str:
    """The whole document (GitHub's Markdown). Images are not in it."""
    made = datetime.fromtimestamp(report.made_ms / 1000, UTC)
    parts = [f"# {_text(report.title)}", f"{plural(len(report.runs), 'run')}, as of {made:%Y-%m-%d %H:%M} UTC."]
    if report.notes.strip():
        parts.append(printable(report.notes.replace("\r\n", "\n").replace("\t", "    "), lines=True).strip())
    left_out = [*report.left_out, *([plural(len(report.pictures), "image")] if report.pictures else [])]
    if left_out:
        parts += ["Not in this report:", "\n".join(f"- {_text(one)}" for one in left_out)]
    for title, pieces in (
        ("Runs", _runs(report)),
        ("Descriptions", _descriptions(report)),
        ("Params", _held(report, [run.params for run in report.runs], "param")),
        ("Tags", _held(report, [run.tags for run in report.runs], "tag")),
        ("Metrics", _metrics(report)),
        ("Tables", _tables(report)),
        ("Texts", _texts(report)),
        ("Logs", _logs(report)),
        ("Source", _sources(report)),
        ("Environment", _environment(report)),
    ):
        shown = list(pieces)
        parts += [f"## {title}", *shown] if shown else []
    return "\n\n".join(parts) + "\n"


def _text(text: str) -> str:
    """Any text on one line, as text only: no markup, no link."""
    return _LINK.sub(
        lambda found: found[1].replace(":", "\\:").replace(".", "\\."), _MARKUP.sub(r"\\\1", printable(text))
    )


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, right: int = 10_000) -> str:
    """A table; columns from ``right`` on are aligned to the right."""
    rule = ["---:" if at >= right else "---" for at in range(len(headings))]
    lines = [list(map(_text, headings)), rule, *(list(map(_text, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _fenced(text: str, language: str = "") -> str:
    """Text as it is, in a fence that it can't end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{printable(text.expandtabs(4), lines=True).rstrip()}\n{fence}"


def _runs(report: Report) -> Iterator[str]:
    keys = [chart.key for chart in report.charts if not chart.key.startswith("system/")][:8]
    unequal = differing([run.params for run in report.runs])[0][:8]
    rows = []
    for run in report.runs:
        info = run.info
        started = datetime.fromtimestamp(info.start_time / 1000, UTC)
        took = "" if info.end_time is None else duration(info.end_time - info.start_time)
        values = [number(run.metrics[key].value) if key in run.metrics else "" for key in keys]
        cells = [run.params.get(key, "") for key in unequal]
        rows.append([run.label, info.shown_status, f"{started:%Y-%m-%d %H:%M}", took, *cells, *values])
    yield _table(["run", "status", "started", "duration", *unequal, *keys], rows)


def _descriptions(report: Report) -> Iterator[str]:
    for run in report.runs:
        if run.note.strip():
            yield f"### {_text(run.label)}"
            yield _fenced(run.note)


def _held(report: Report, held: Sequence[Mapping[str, str]], what: str) -> Iterator[str]:
    unequal, equal = differing(held)
    if unequal and len(held) > 1:
        rows = [[run.label, *(one.get(key, "") for key in unequal)] for run, one in zip(report.runs, held, strict=True)]
        yield _table(["run", *unequal], rows)
    if equal:
        yield "Equal in all runs:" if len(held) > 1 else "Of the run:"
        yield _table([what, "value"], [[key, held[0][key]] for key in equal])


def _metrics(report: Report) -> Iterator[str]:
    for chart in report.charts:
        rows = []
        for curve in chart.curves:
            one = report.run(curve.run).metrics[chart.key]
            figures = [number(one.value), number(one.min), number(one.max), count(one.count)]
            rows.append([curve.label, sparkline(curve.values, SPARK_WIDTH), *figures])
        yield f"### {_text(chart.key)}"
        yield _table(["run", "", "latest", "min", "max", "points"], rows, right=2)


def _tables(report: Report) -> Iterator[str]:
    for one in report.tables:
        step = "" if one.step is None else f", step {count(one.step)}"
        rows = "" if len(one.rows) == one.rows_total else f", {len(one.rows)} of {count(one.rows_total)} rows"
        yield f"### {_text(one.name)} of {_text(report.run(one.run_id).label)}{step}{rows}"
        if one.columns:
            yield _table(one.columns, one.rows)


def _texts(report: Report) -> Iterator[str]:
    for one in report.words:
        yield f"### {_text(one.name)} of {_text(report.run(one.run_id).label)}, step {count(one.step)}"
        yield _fenced(one.text)


def _logs(report: Report) -> Iterator[str]:
    for log in report.logs:
        yield f"### {_text(report.run(log.run_id).label)}{f', launch {log.number + 1}' if log.number else ''}"
        yield _fenced(log.text)


def _sources(report: Report) -> Iterator[str]:
    for place, version in enumerate(report.sources):
        names = ", ".join(_text(report.run(run_id).label) for run_id in version.run_ids)
        yield f"Version {chr(ord('A') + place)}: {names}"
        for file in version.files:
            if file.lines is None:
                yield f"- {_text(file.name)}: {file.change}"
            else:
                yield _fenced(
                    f"--- {printable(file.old_name or file.name)}\n+++ {printable(file.name)}\n{file.lines}", "diff"
                )


def _environment(report: Report) -> Iterator[str]:
    ids = report.run_ids
    unequal = [fact for fact in report.facts if fact.differs(ids)]
    equal = [fact for fact in report.facts if not fact.differs(ids)]
    if unequal:
        rows = [[_name(fact), *(fact.values.get(one, "") for one in ids)] for fact in unequal]
        yield _table(["", *(run.label for run in report.runs)], rows)
    if equal:
        yield "Equal in all runs:" if len(ids) > 1 else "Of the run:"
        yield _table(["", "value"], [[_name(fact), next(iter(fact.values.values()))] for fact in equal])


def _name(fact: Fact) -> str:
    return f"{fact.group}: {fact.name}"
