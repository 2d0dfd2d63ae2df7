"""A report's charts as one image, drawn by matplotlib."""

from __future__ import annotations

import io
import math
import warnings
from typing import TYPE_CHECKING, Any

from mltrack.drawing.colours import LIGHT, look_of
from mltrack.errors import NotFoundError
from mltrack.extras import need
from mltrack.text.printable import printable

if TYPE_CHECKING:
    from mltrack.drawing.curves import Chart
    from mltrack.report.model import Report

__all__ = ["as_png"]

COLUMNS_MAX = 3
CHARTS_MAX = 60
LEGEND_MAX = 60
WIDTH_IN, HEIGHT_IN, DPI = 5.2, 3.4, 110
TITLE_CHARACTERS_MAX = 60


def as_png(report: Report) -> bytes:
    """The charts in a grid below the title, with a legend of the runs; at most CHARTS_MAX of them.

    Raises:
        MissingPackageError: matplotlib is not installed.
        NotFoundError: there is no chart to draw.
    """
    need("matplotlib", "a report as an image", instead="or write .html or .md")
    from matplotlib.figure import Figure

    charts = report.charts[:CHARTS_MAX]
    if not charts:
        raise NotFoundError("the runs have no metrics to draw", hint="write .html or .md, or choose other --metrics")
    columns = min(COLUMNS_MAX, max(1, math.ceil(math.sqrt(len(charts)))))
    rows = math.ceil(len(charts) / columns)
    figure = Figure(figsize=(WIDTH_IN * columns, HEIGHT_IN * rows + 0.9), dpi=DPI, layout="constrained")
    handles: dict[str, Any] = {}
    for place, chart in enumerate(charts):
        _draw(figure.add_subplot(rows, columns, place + 1), chart, handles)
    titled = figure.suptitle(_short(report.title, TITLE_CHARACTERS_MAX * columns), fontsize=14)
    titled.set_parse_math(False)
    shown = [(run, label) for run, label in ((run.run_id, run.label) for run in report.runs) if run in handles]
    if len(shown) <= LEGEND_MAX:
        legend = figure.legend(
            [handles[run] for run, _ in shown],
            [_short(label, 32) for _, label in shown],
            loc="outside lower center",
            ncols=min(len(shown), 3 * columns),
            frameon=False,
            fontsize=9,
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a glyph that the font does not have is drawn as a box
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _short(text: str, characters_max: int) -> str:
    text = printable(text)
    return text if len(text) <= characters_max else f"{text[: characters_max - 1]}…"


def _draw(axes: Any, chart: Chart, handles: dict[str, Any]) -> None:
    for curve in chart.curves:
        colour, dashes = look_of(curve.look, LIGHT)
        style: Any = (0, tuple(length / 1.5 for length in dashes)) if dashes else "-"
        label = f"_{curve.run}"  # not in a legend of its own, and not read as math
        (line,) = axes.plot(curve.steps, curve.values, color=colour, linestyle=style, linewidth=1.1, label=label)
        if len(curve.steps) == 1:
            line.set_marker("o")
        handles.setdefault(curve.run, line)
    axes.set_title(_short(chart.key, TITLE_CHARACTERS_MAX), fontsize=10, loc="left").set_parse_math(False)
    axes.set_xlabel("step", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(color="#e3e6ea", linewidth=0.8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
