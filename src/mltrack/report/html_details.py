"""The ends of logs, the sources, the environment, and all metrics, as HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.drawing.markup import Html, element, join
from mltrack.report.html_runs import RUN_COLUMNS_MAX, cell_table, run_name, scrolled
from mltrack.text.counting import plural
from mltrack.text.figures import count, number

if TYPE_CHECKING:
    from mltrack.diff.sources import FileDiff
    from mltrack.report.model import Fact, Report, SourceVersion

__all__ = ["environment", "logs", "metrics", "sources"]

OPEN_MAX = 3
"""With more logs or diffs than that, they are folded."""
METRIC_ROWS_MAX = 1_500
DIFF_LOOKS = {"+": "added", "-": "removed", "@": "place"}


def logs(report: Report) -> Html:
    """The last lines of each log."""
    parts = []
    for log in report.logs:
        run = report.run(log.run_id)
        what = "output" if not log.number else f"output of launch {log.number + 1}"
        summary = element("summary", run_name(run), f" {'last lines of its ' if log.cut else ''}{what}")
        text = scrolled(element("pre", log.text), f"Output of {run.label}")
        parts.append(element("details", summary, text, open=len(report.logs) <= OPEN_MAX))
    return join(parts)


def sources(report: Report) -> Html:
    """The versions of the sources, and the lines in which they differ."""
    if not report.sources:
        return Html("")
    known = {run_id for version in report.sources for run_id in version.run_ids}
    parts = [element("p", _sources_said(report, len(known)), class_="about")]
    for place, version in enumerate(report.sources):
        names = join(element("span", run_name(report.run(run_id)), " ") for run_id in version.run_ids)
        head = element("h3", f"Version {chr(ord('A') + place)}: {plural(version.files_total, 'file')}")
        parts += [head, element("p", names, class_="names")]
        if place:
            parts.append(_version(version, few=len(report.sources) <= OPEN_MAX))
    return join(parts)


def _sources_said(report: Report, known: int) -> str:
    if len(report.sources) == 1:
        said = "All runs have the same source files." if known > 1 else "One run has its source files recorded."
    else:
        said = "Versions of the source files; each is compared with version A."
    missing = len(report.runs) - known
    if missing:
        said += f" {plural(missing, 'run')} without recorded files."
    return said


def _version(version: SourceVersion, *, few: bool) -> Html:
    parts = []
    for file in version.files:
        name = file.name if file.old_name is None else f"{file.old_name} -> {file.name}"
        if file.lines is None:
            why = f" ({file.why})" if file.why not in ("", file.change) else ""
            parts.append(element("p", element("code", name), f" {file.change}{why}"))
        else:
            diff = scrolled(_lines(file), f"Changes of {name}")
            parts.append(element("details", element("summary", element("code", name)), diff, open=few))
    return join(parts)


def _lines(file: FileDiff) -> Html:
    lines = (file.lines or "").split("\n")[:-1]
    return element(
        "pre",
        *(element("span", line.expandtabs(4) + "\n", class_=DIFF_LOOKS.get(line[:1])) for line in lines),
        class_="diff",
    )


def environment(report: Report) -> Html:
    """The facts in which the runs differ, and below the equal ones."""
    ids = report.run_ids
    unequal = [fact for fact in report.facts if fact.differs(ids)]
    equal = [fact for fact in report.facts if not fact.differs(ids)]
    parts: list[Html] = []
    if unequal and len(ids) > 1:
        many = len(ids) > RUN_COLUMNS_MAX
        parts.append(_values(report, unequal) if many else _by_run(report, unequal))
    if equal:
        rows = [[f"{fact.group}: {fact.name}", next(iter(fact.values.values()))] for fact in equal]
        same = cell_table(["", "value"], rows, "Equal environment")
        summary = element("summary", f"{plural(len(equal), 'fact')} {'' if len(ids) == 1 else 'equal in all runs'}")
        parts.append(element("details", summary, same))
    return join(parts)


def _by_run(report: Report, facts: list[Fact]) -> Html:
    rows = [[f"{fact.group}: {fact.name}", *(fact.values.get(one, "") for one in report.run_ids)] for fact in facts]
    return cell_table(["", *(run_name(run) for run in report.runs)], rows, "Environment that differs")


def _values(report: Report, facts: list[Fact]) -> Html:
    """Of many runs: each value with the number of runs that have it."""
    rows = []
    for fact in facts:
        held: dict[str, int] = {}
        for run_id in report.run_ids:
            value = fact.values.get(run_id, "(not recorded)")
            held[value] = held.get(value, 0) + 1
        several = [value for value, number_ in sorted(held.items(), key=lambda item: -item[1])[:8]]
        text = "; ".join(f"{value} ({plural(held[value], 'run')})" for value in several)
        rows.append([f"{fact.group}: {fact.name}", text + ("; ..." if len(held) > len(several) else "")])
    return cell_table(["", "values"], rows, "Environment that differs")


def metrics(report: Report) -> Html:
    """Latest, least and greatest value of each metric of each run."""
    rows = []
    for chart in report.charts:
        for curve in chart.curves:
            run = report.run(curve.run)
            one = run.metrics[chart.key]
            figures = [number(one.value), str(one.step), number(one.min), number(one.max), count(one.count)]
            rows.append([chart.key, run_name(run), *figures])
    if not rows:
        return Html("")
    heads = ["metric", "run", "latest", "step", "min", "max", "points"]
    shown = cell_table(heads, rows[:METRIC_ROWS_MAX], "All metrics", numbers=True)
    more = f" (the first {METRIC_ROWS_MAX:,})" if len(rows) > METRIC_ROWS_MAX else ""
    return element("details", element("summary", f"{plural(len(rows), 'row')}: the figures of the charts{more}"), shown)
