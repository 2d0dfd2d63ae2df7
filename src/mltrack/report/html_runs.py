"""The table of runs, which the page's script sorts and filters, and the params that differ."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mltrack.drawing.colours import DASHES, LIGHT
from mltrack.drawing.markup import Html, element, join, json_block, table
from mltrack.entities import elapsed_ms
from mltrack.report.model import differing
from mltrack.report.notes import notes_html
from mltrack.text.counting import plural
from mltrack.text.figures import duration, number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mltrack.report.model import Report, ReportRun

__all__ = ["cell_table", "descriptions", "params", "run_data", "run_name", "runs_table", "scrolled"]

METRIC_COLUMNS_MAX = 8
PARAM_COLUMNS_MAX = 12
RUN_COLUMNS_MAX = 6
"""With more runs, these are the rows of the params' table, not the columns."""
FILTER_HINT = "for example: finished lr=0.1 loss<0.5"


def run_name(run: ReportRun) -> Html:
    """A run's name after a short line in its colour."""
    dashes = " ".join(map(str, DASHES[run.look // len(LIGHT) % len(DASHES)]))
    line = element(
        "line", x1=0, x2=22, y1=5, y2=5, stroke_width=3, class_=f"c{run.look % len(LIGHT)}", stroke_dasharray=dashes
    )
    drawn = element("svg", line, width=22, height=10, aria_hidden="true")
    return element("span", drawn, element("span", run.label), class_="run-name")


def scrolled(content: Html, label: str) -> Html:
    """Something wide, in a box that scrolls by itself, also by keyboard."""
    return element("div", content, class_="scroll", tabindex=0, role="region", aria_label=label)


def cell_table(headings: Sequence[str], rows: Sequence[Sequence[str]], label: str, *, numbers: bool = False) -> Html:
    """A plain table in such a box."""
    return scrolled(table(headings, rows, numbers=numbers), label)


def _columns(report: Report) -> list[tuple[str, str]]:
    """Metric and param columns as (kind, key): the most common metrics, then params that differ."""
    unequal, _ = differing([run.params for run in report.runs])
    counted = Counter(chart.key for chart in report.charts for _ in chart.curves)
    common = sorted(counted, key=lambda key: (key.startswith("system/"), -counted[key], key))
    metrics = [key for key in common if not key.startswith("system/")] or common
    shown = [("metric", key) for key in metrics[:METRIC_COLUMNS_MAX]]
    return shown + [("param", key) for key in unequal[:PARAM_COLUMNS_MAX]]


def runs_table(report: Report) -> Html:
    """The table with its filter."""
    columns = _columns(report)
    experiments = {run.info.experiment_name for run in report.runs}
    fixed = ["run", "status", "started", "duration", *(["experiment"] if len(experiments) > 1 else [])]
    heads = [_heading(name, f"info.{name}", right=name == "duration") for name in fixed]
    heads += [_heading(key, f"{kind}.{key}", right=kind == "metric") for kind, key in columns]
    rows = [_row(run, fixed, columns, report.made_ms) for run in report.runs]
    whole = element(
        "table",
        element("thead", element("tr", *heads)),
        element("tbody", *rows),
        id="runs-table",
    )
    field = element("input", type="search", id="filter", placeholder=FILTER_HINT, aria_describedby="filter-said")
    said = element("span", plural(len(report.runs), "run"), id="filter-said", role="status", class_="about")
    bar = element("div", element("label", "filter ", field), said, class_="controls")
    return join([bar, scrolled(whole, "Runs")])


def _heading(text: str, key: str, *, right: bool) -> Html:
    button = element("button", text, type="button", class_="sort", data_key=key)
    return element("th", button, scope="col", aria_sort="none", class_="number" if right else None)


def _row(run: ReportRun, fixed: Sequence[str], columns: Sequence[tuple[str, str]], now_ms: int) -> Html:
    info = run.info
    started = datetime.fromtimestamp(info.start_time / 1000, UTC)
    took = elapsed_ms(info.status, info.start_time, info.end_time, now_ms)
    shown = info.shown_status
    facts = {
        "status": element("td", element("span", shown, class_=f"status s-{shown.lower()}")),
        "started": element("td", element("time", f"{started:%Y-%m-%d %H:%M}", datetime=started.isoformat())),
        "duration": element("td", duration(took), class_="number"),
        "experiment": element("td", info.experiment_name),
    }
    cells = [element("th", run_name(run), scope="row"), *(facts[name] for name in fixed[1:])]
    for kind, key in columns:
        if kind == "param":
            cells.append(element("td", run.params.get(key, ""), class_="param"))
        else:
            found = run.metrics.get(key)
            cells.append(element("td", "" if found is None else number(found.value), class_="number"))
    return element("tr", *cells, data_run=run.run_id)


def run_data(report: Report) -> Html:
    """What sorting and filters compare, by run."""
    data: dict[str, dict[str, Any]] = {}
    for run in report.runs:
        info = run.info
        data[run.run_id] = {
            "info": {
                "run": run.label,
                "id": run.run_id,
                "status": info.shown_status,
                "started": info.start_time,
                "duration": elapsed_ms(info.status, info.start_time, info.end_time, report.made_ms),
                "experiment": info.experiment_name,
            },
            "param": {**run.tags, **run.params},
            "metric": {key: summary.value for key, summary in run.metrics.items()},
        }
    return json_block("run-data", data)


# --- params ---


def params(report: Report) -> Html:
    """The params and tags in which the runs differ, and below the equal ones."""
    found = _held(report, [run.params for run in report.runs], "param")
    tags = _held(report, [run.tags for run in report.runs], "tag")
    return join([found, element("h3", "Tags"), tags]) if tags else found


def _held(report: Report, held: Sequence[Mapping[str, str]], what: str) -> Html:
    unequal, equal = differing(held)
    runs = report.runs
    parts: list[Html] = []
    if len(runs) > 1 and equal and not unequal:
        parts.append(element("p", f"All {what}s are equal.", class_="about"))
    elif unequal and len(runs) <= RUN_COLUMNS_MAX:
        rows = [[key, *(one.get(key, "") for one in held)] for key in unequal]
        parts.append(cell_table([what, *(run_name(run) for run in runs)], rows, f"{what.title()}s that differ"))
    elif unequal:
        rows = [[run_name(run), *(one.get(key, "") for key in unequal)] for run, one in zip(runs, held, strict=True)]
        parts.append(cell_table(["run", *unequal], rows, f"{what.title()}s that differ"))
    if equal:
        same = cell_table([what, "value"], [[key, held[0][key]] for key in equal], f"Equal {what}s")
        if len(runs) == 1:
            parts.append(same)
        else:
            summary = element("summary", f"{plural(len(equal), what)} equal in all runs")
            parts.append(element("details", summary, same))
    return join(parts)


def descriptions(report: Report) -> Html:
    """What users wrote about each run, in Markdown."""
    parts = []
    for run in report.runs:
        if run.note.strip():
            note = element("div", notes_html(run.note), class_="notes")
            parts.append(element("details", element("summary", run_name(run)), note, open=True))
    return join(parts)
