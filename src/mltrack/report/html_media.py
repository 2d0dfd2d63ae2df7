"""Images, tables, texts and histograms, as HTML."""

from __future__ import annotations

import base64
from itertools import groupby
from typing import TYPE_CHECKING

from mltrack.drawing.markup import Html, element, join
from mltrack.report.html_runs import cell_table, run_name, scrolled
from mltrack.text.figures import count, number

if TYPE_CHECKING:
    from mltrack.report.model import Bars, Picture, Report

__all__ = ["histograms", "images", "tables", "texts"]

BARS_WIDTH, BARS_HEIGHT = 240, 90
TABLES_OPEN_MAX = 4


def images(report: Report) -> Html:
    """The images, those of one name next to each other."""
    parts = []
    for name, group in groupby(report.pictures, key=lambda picture: picture.name):
        figures = [_figure(report, picture) for picture in group]
        parts += [element("h3", name), element("div", *figures, class_="images")]
    return join(parts)


def _figure(report: Report, picture: Picture) -> Html:
    run = report.run(picture.run_id)
    step = "" if picture.step is None else f", step {count(picture.step)}"
    source = f"data:{picture.media};base64,{base64.b64encode(picture.data).decode('ascii')}"
    image = element("img", src=source, alt=f"{picture.name} of {run.label}{step}")
    return element("figure", image, element("figcaption", run_name(run), step.removeprefix(",")))


def tables(report: Report) -> Html:
    """The first rows of each table."""
    parts = []
    for one in report.tables:
        run = report.run(one.run_id)
        step = "" if one.step is None else f", step {count(one.step)}"
        rows = "" if len(one.rows) == one.rows_total else f", {len(one.rows)} of {count(one.rows_total)} rows"
        summary = element("summary", element("b", one.name), " ", run_name(run), f"{step}{rows}")
        shown = cell_table(one.columns, one.rows, f"{one.name} of {run.label}") if one.columns else Html("")
        parts.append(element("details", summary, shown, open=len(report.tables) <= TABLES_OPEN_MAX))
    return join(parts)


def texts(report: Report) -> Html:
    """The last text of each series."""
    parts = []
    for one in report.words:
        run = report.run(one.run_id)
        summary = element("summary", element("b", one.name), " ", run_name(run), f", step {count(one.step)}")
        body = scrolled(element("pre", one.text), f"{one.name} of {run.label}")
        parts.append(element("details", summary, body, open=len(report.words) <= TABLES_OPEN_MAX))
    return join(parts)


def histograms(report: Report) -> Html:
    """The last histogram of each series, those of one name next to each other."""
    parts = []
    ordered = sorted(report.bars, key=lambda one: one.name)
    for name, group in groupby(ordered, key=lambda one: one.name):
        parts += [element("h3", name), element("div", *(_bars(report, one) for one in group), class_="images")]
    return join(parts)


def _bars(report: Report, bars: Bars) -> Html:
    run = report.run(bars.run_id)
    most = max(bars.counts) or 1.0
    low, high = bars.edges[0], bars.edges[-1]
    spread = (high - low) or 1.0
    drawn = []
    for value, left, right in zip(bars.counts, bars.edges, bars.edges[1:], strict=False):
        x = (left - low) / spread * BARS_WIDTH
        width = max((right - left) / spread * BARS_WIDTH - 0.5, 0.5)
        tall = value / most * BARS_HEIGHT
        drawn.append(
            element("rect", x=f"{x:.1f}", y=f"{BARS_HEIGHT - tall:.1f}", width=f"{width:.1f}", height=f"{tall:.1f}")
        )
    label = f"{bars.name} of {run.label}: {number(sum(bars.counts))} values from {number(low)} to {number(high)}"
    picture = element(
        "svg", *drawn, viewBox=f"0 0 {BARS_WIDTH} {BARS_HEIGHT}", class_="bars", role="img", aria_label=label
    )
    limits = element("span", element("span", number(low)), element("span", number(high)), class_="limits")
    return element("figure", picture, limits, element("figcaption", run_name(run), f" step {count(bars.step)}"))
