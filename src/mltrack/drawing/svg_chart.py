"""A chart of curves as one SVG, for places where no script runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mltrack.drawing.colours import look_of
from mltrack.drawing.markup import Html, element
from mltrack.drawing.sampling import sample
from mltrack.text.figures import number

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import numpy.typing as npt

    from mltrack.drawing.curves import Chart, Curve

__all__ = ["svg_chart", "ticks"]

LEFT, RIGHT, TOP, BOTTOM = 62, 12, 28, 24
POINTS_MAX = 600
FONT = "system-ui, sans-serif"


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers between two, at most ``most`` + 1 of them."""
    spread = high - low
    if not (spread > 0 and math.isfinite(spread)):
        return [low]
    raw = spread / most
    power = 10.0 ** math.floor(math.log10(raw))
    size = next(one * power for one in (1, 2, 5, 10) if one * power >= raw * 0.999)
    first = math.ceil(low / size - 1e-9)
    return [(first + at) * size for at in range(math.floor(high / size + 1e-9) - first + 1)]


def svg_chart(chart: Chart, *, width: int = 560, height: int = 220) -> Html:
    """The curves over their steps, with axes; the metric's name is its title. Values that are not finite are gaps."""
    finite = [curve.values[np.isfinite(curve.values)] for curve in chart.curves]
    low, high = _limits([values for values in finite if len(values)])
    first, last = _limits([curve.steps for curve in chart.curves if len(curve.steps)])
    room = (high - low) * 0.05 or abs(low) * 0.1 or 1.0
    low, high = low - room, high + room
    last = last if last > first else first + 1
    parts = [_text(chart.key, 4, 16, size=13, weight="600")]
    for value in ticks(low, high, max(2, height // 50)):
        y = TOP + (high - value) / (high - low) * (height - TOP - BOTTOM)
        parts.append(_line(LEFT, y, width - RIGHT, y, opacity="0.15"))
        parts.append(_text(number(0.0 if abs(value) < (high - low) * 1e-9 else value), LEFT - 6, y + 4, anchor="end"))
    for step in ticks(first, last, max(2, width // 110)):
        x = LEFT + (step - first) / (last - first) * (width - LEFT - RIGHT)
        parts.append(_line(x, TOP, x, height - BOTTOM, opacity="0.15"))
        parts.append(_text(f"{step:,.0f}", min(x, width - 24), height - 8, anchor="middle"))
    parts.append(_line(LEFT, height - BOTTOM, width - RIGHT, height - BOTTOM, opacity="0.5"))
    for curve in chart.curves:
        parts += _curve(curve, (first, last), (low, high), width, height)
    label = f"{chart.key}: {', '.join(curve.label for curve in chart.curves[:5])}"
    return element(
        "svg", *parts, width=width, height=height, viewBox=f"0 0 {width} {height}", role="img", aria_label=label
    )


def _limits(columns: Sequence[npt.NDArray[Any]]) -> tuple[float, float]:
    if not columns:
        return 0.0, 1.0
    return float(min(one.min() for one in columns)), float(max(one.max() for one in columns))


def _curve(curve: Curve, across: tuple[float, float], down: tuple[float, float], width: int, height: int) -> list[Html]:
    """The curve's pieces between gaps."""
    kept = sample(curve.values, POINTS_MAX)
    steps, values = curve.steps[kept].astype(float), curve.values[kept]
    x = LEFT + (steps - across[0]) / (across[1] - across[0]) * (width - LEFT - RIGHT)
    y = TOP + (down[1] - values) / (down[1] - down[0]) * (height - TOP - BOTTOM)
    colour, dashes = look_of(curve.look)
    drawn = []
    finite = np.isfinite(values)
    edges = np.flatnonzero(np.diff(np.r_[False, finite, False]))
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        if end - start == 1:
            drawn.append(element("circle", cx=f"{x[start]:.1f}", cy=f"{y[start]:.1f}", r=2.5, fill=colour))
            continue
        dots = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x[start:end], y[start:end], strict=True))
        drawn.append(
            element(
                "polyline",
                points=dots,
                fill="none",
                stroke=colour,
                stroke_width=1.5,
                stroke_linejoin="round",
                stroke_dasharray=" ".join(map(str, dashes)) or None,
            )
        )
    return drawn


def _line(x0: float, y0: float, x1: float, y1: float, *, opacity: str) -> Html:
    return element(
        "line",
        x1=f"{x0:.1f}",
        y1=f"{y0:.1f}",
        x2=f"{x1:.1f}",
        y2=f"{y1:.1f}",
        stroke="currentColor",
        stroke_opacity=opacity,
    )


def _text(text: str, x: float, y: float, *, anchor: str = "start", size: int = 11, weight: str | None = None) -> Html:
    return element(
        "text",
        text,
        x=f"{x:.1f}",
        y=f"{y:.1f}",
        fill="currentColor",
        text_anchor=anchor,
        font_size=size,
        font_family=FONT,
        font_weight=weight,
    )
