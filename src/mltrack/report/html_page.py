"""A report as one HTML page that opens from disk, without a network."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mltrack.drawing.markup import Html, element, join
from mltrack.drawing.page import asset, chart_data, chart_scripts, chart_styles, page
from mltrack.report.html_details import environment, logs, metrics, sources
from mltrack.report.html_media import histograms, images, tables, texts
from mltrack.report.html_runs import descriptions, params, run_data, runs_table
from mltrack.report.notes import notes_html
from mltrack.text.counting import plural

if TYPE_CHECKING:
    from mltrack.report.model import Report

__all__ = ["as_html"]


def as_html(report: Report) -> str:
    """The whole page."""
    sections = {
        "Runs": runs_table(report),
        "Descriptions": descriptions(report),
        "Charts": _charts(report),
        "Params": params(report),
        "Images": images(report),
        "Tables": tables(report),
        "Texts": texts(report),
        "Histograms": histograms(report),
        "Logs": logs(report),
        "Source": sources(report),
        "Environment": environment(report),
        "Metrics": metrics(report),
    }
    shown = {title: content for title, content in sections.items() if content}
    links = [element("a", title, href=f"#{title.lower()}") for title in shown]
    body = [
        element("a", "Skip to the runs", href="#runs", class_="skip"),
        element("header", *_head(report)),
        element("nav", *links, aria_label="Sections"),
        element("main", *(_section(title, content) for title, content in shown.items())),
        element("footer", element("p", "Made by mltrack. This page is one file, and loads nothing from elsewhere.")),
        chart_data(report.charts),
        run_data(report),
    ]
    package = "mltrack.report"
    scripts = [*chart_scripts(), asset("runs.js", package), asset("report.js", package)]
    return page(report.title, body, scripts=scripts, styles=[*chart_styles(), asset("report.css", package)])


def _head(report: Report) -> list[Html]:
    made = datetime.fromtimestamp(report.made_ms / 1000, UTC)
    about = join(
        [
            f"{plural(len(report.runs), 'run')}, as of ",
            element("time", f"{made:%Y-%m-%d %H:%M} UTC", datetime=made.isoformat(timespec="seconds")),
        ]
    )
    parts = [element("h1", report.title), element("p", about, class_="about")]
    if report.notes.strip():
        parts.append(element("div", notes_html(report.notes), class_="notes"))
    if report.left_out:
        items = [element("li", text) for text in report.left_out]
        parts.append(element("div", element("p", "Not in this report:"), element("ul", *items), class_="left-out"))
    parts.append(element("noscript", element("p", "Charts, sorting and filters need JavaScript.", class_="left-out")))
    return parts


def _section(title: str, content: Html) -> Html:
    name = title.lower()
    return element("section", element("h2", title), content, id=name, aria_label=title)


def _charts(report: Report) -> Html:
    if not report.charts:
        return Html("")
    hint = (
        "Drag to zoom, hold shift and drag to pan, double-click to show all; ctrl and the wheel zoom too. "
        "With the keyboard: arrows, plus, minus, 0."
    )
    return join([element("p", hint, class_="hint"), element("div", id="board")])
