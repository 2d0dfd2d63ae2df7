"""Charts of runs in a notebook: to zoom in, and to look at while a run goes on."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from mltrack.drawing.colours import looks_of
from mltrack.drawing.curves import Chart, curve_of
from mltrack.drawing.markup import Html, element, join
from mltrack.drawing.page import asset, chart_data, chart_scripts, chart_styles, page
from mltrack.drawing.sparkline import sparkline
from mltrack.drawing.svg_chart import svg_chart
from mltrack.errors import NotFoundError, UsageError
from mltrack.text.counting import plural
from mltrack.text.figures import number
from mltrack.text.printable import printable
from mltrack.values.arguments import text_argument

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from mltrack.notebook.tables import NotebookRun

__all__ = ["Plot", "live_html", "plot_runs"]

POINTS_MAX = 200_000
CURVE_POINTS_MAX = 2_000
LIVE_POINTS_MAX = 600
LIVE_CHARTS_MAX = 12
LIVE_WIDTH, LIVE_HEIGHT = 460, 200
SPARK_WIDTH = 40
SHORT_ID = 8


class Plot:
    """Charts of metrics, one for each. A notebook draws them; ``save`` writes a page that opens by itself."""

    def __init__(self, charts: Sequence[Chart]) -> None:
        self.charts = tuple(charts)

    def __repr__(self) -> str:
        """Each curve as a row of bars."""
        lines = []
        for chart in self.charts:
            for curve in chart.curves:
                bars = sparkline(curve.values, SPARK_WIDTH)
                latest = number(float(curve.values[-1])) if len(curve.values) else ""
                lines.append(f"{printable(chart.key)}  {printable(curve.label)}  {bars}  {latest}")
        return "\n".join(lines)

    def to_html(self) -> str:
        """A whole page with the charts, which loads nothing from elsewhere."""
        title = ", ".join(chart.key for chart in self.charts)
        body = [element("div", id="board"), chart_data(self.charts)]
        return page(
            title, body, scripts=[*chart_scripts(), asset("plot.js")], styles=[*chart_styles(), asset("plot.css")]
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page to a file.

        Raises:
            OSError: it can't be written.
        """
        Path(path).write_text(self.to_html(), encoding="utf-8", errors="backslashreplace")

    def _repr_html_(self) -> Html:
        """The page in a frame of its own: its script can reach nothing of the notebook, nor the notebook it."""
        rows = len(self.charts) if len(self.charts) < 3 else -(-len(self.charts) // 2)
        height = min(900, 110 + 325 * min(rows, 2 if len(self.charts) > 1 else 1))
        return element(
            "iframe",
            srcdoc=self.to_html(),
            sandbox="allow-scripts",
            title=", ".join(chart.key for chart in self.charts[:5]),
            width="100%",
            height=height,
            style="border: 0; color-scheme: light dark",
        )


def choose_metrics(runs: Sequence[NotebookRun], patterns: Sequence[str]) -> list[str]:
    """The metrics that match one of the regular expressions as a whole; without any, all but the system's.

    Raises:
        UsageError: a pattern is not a regular expression.
        NotFoundError: no metric matches one of them.
    """
    known = sorted({key for run in runs for key in run.summaries})
    if not patterns:
        return [key for key in known if not key.startswith("system/")] or known
    found: dict[str, None] = {}
    for pattern in [text_argument("metric", pattern) for pattern in patterns]:
        try:
            matching = [key for key in known if key == pattern or re.fullmatch(pattern, key)]
        except re.error as error:
            raise UsageError(
                f"{pattern!r} is not a regular expression: {error}", hint="plot('loss', 'val/.*')"
            ) from None
        if not matching:
            names = ", ".join(known[:5]) or "there are none"
            raise NotFoundError(f"no metric matches {pattern!r}", hint=f"known: {names}")
        found |= dict.fromkeys(matching)
    return list(found)


def _charts(runs: Sequence[NotebookRun], keys: Sequence[str], points_max: int) -> list[Chart]:
    looks = looks_of(run.run_id for run in runs)
    infos = [run.info for run in runs]
    named = Counter(info.run_name for info in infos)
    labels = [
        info.run_name if named[info.run_name] == 1 else f"{info.run_name} {info.run_id[:SHORT_ID]}" for info in infos
    ]
    charts = []
    for key in keys:
        curves = [
            curve_of(run.run_id, label, looks[run.run_id], run.columns(key), points_max=points_max)
            for run, label in zip(runs, labels, strict=True)
            if key in run.summaries
        ]
        charts.append(Chart(key, tuple(curves)))
    return charts


def plot_runs(runs: Sequence[NotebookRun], patterns: Sequence[str]) -> Plot:
    """Charts of the metrics that match, the runs laid over each other.

    Raises:
        UsageError, NotFoundError: as choose_metrics; there are no runs.
    """
    if not runs:
        raise NotFoundError("there are no runs to plot", hint="choose others, or record one")
    keys = choose_metrics(runs, patterns)
    return Plot(_charts(runs, keys, min(CURVE_POINTS_MAX, max(50, POINTS_MAX // max(1, len(runs) * len(keys))))))


def live_html(run: NotebookRun, patterns: Sequence[str], status: str) -> Html:
    """A run as it is now: a line about it, and a chart of each metric that matches."""
    try:
        keys = choose_metrics([run], patterns)
    except NotFoundError:
        keys = []  # nothing of that name was logged yet
    summaries = run.summaries
    points = sum(summaries[key].count for key in keys)
    latest = [f"{key} {number(summaries[key].value)}" for key in keys[:6]]
    about = " · ".join(["", *([status] if status else []), plural(points, "point"), *latest])
    charts = [
        element("div", svg_chart(chart, width=LIVE_WIDTH, height=LIVE_HEIGHT))
        for chart in _charts([run], keys[:LIVE_CHARTS_MAX], LIVE_POINTS_MAX)
        if chart.curves
    ]
    more = plural(len(keys) - LIVE_CHARTS_MAX, "more metric")
    rest = element("p", f"and {more}: name those to draw") if len(keys) > LIVE_CHARTS_MAX else Html("")
    style = "display: flex; flex-wrap: wrap; gap: 8px"
    head = element("p", element("b", run.info.run_name), about)
    return element("div", head, element("div", join(charts), style=style), rest)
