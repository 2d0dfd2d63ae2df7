"""A page in one file: its script, its style and its data are in it, and it may load nothing else."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from mltrack.drawing.colours import DARK, DASHES, LIGHT, colour_styles
from mltrack.drawing.curves import packed_chart
from mltrack.drawing.markup import Html, element, join, json_block

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mltrack.drawing.curves import Chart

__all__ = ["asset", "chart_data", "chart_scripts", "chart_styles", "page"]


@cache
def asset(name: str, package: str = "mltrack.drawing") -> str:
    """The text of a script or a style of a package."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def chart_scripts() -> list[str]:
    """The scripts that draw charts; ``new mltrackBoard.Board(element, data)`` begins."""
    return [asset("lines.js"), asset("chart.js"), asset("board.js")]


def chart_styles() -> list[str]:
    """The styles of charts, and the colours of runs."""
    return [asset("chart.css"), colour_styles()]


def chart_data(charts: Sequence[Chart], id_: str = "chart-data") -> Html:
    """The data of charts, for the page's script."""
    palette = {"light": LIGHT, "dark": DARK, "dashes": DASHES}
    return json_block(id_, {"palette": palette, "charts": [packed_chart(chart) for chart in charts]})


def page(title: str, body: Iterable[Html], *, scripts: Sequence[str], styles: Sequence[str]) -> Html:
    """A whole document.

    Its policy lets only these very scripts and styles take effect, and images that are in the page; nothing is loaded,
    and no form is sent, whatever else the body might hold.
    """
    script, style = "\n".join(scripts), "\n".join(styles)
    policy = (
        f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
        element("style", Html(style)),
    )
    whole: list[Any] = [head, element("body", *body, element("script", Html(script)))]
    return join([Html("<!doctype html>\n"), element("html", *whole, lang="en")])


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"
