"""Sparklines: a row of bars in text, and a small curve in SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mltrack.drawing.markup import Html, element
from mltrack.drawing.sampling import sample

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = ["sparkline", "svg_sparkline"]

_BARS = "▁▂▃▄▅▆▇█"
SVG_POINTS_MAX = 120


def sparkline(values: Floats, width: int = 20) -> str:
    """Values in their order as a row of at most ``width`` bars; those that are not finite are skipped."""
    values = values[np.isfinite(values)] / 4  # the difference of two may be infinite
    if not len(values):
        return ""
    parts = np.array_split(values, min(width, len(values)))
    means = np.array([(part / len(part)).sum() for part in parts])  # the sum of large ones may be infinite
    low, high = means.min(), means.max()
    if not high > low:
        return _BARS[3] * len(means)
    levels = np.rint((means - low) / (high - low) * (len(_BARS) - 1)).astype(int)
    return "".join(_BARS[level] for level in levels)


def svg_sparkline(values: Floats, *, width: int = 120, height: int = 24, label: str = "") -> Html:
    """Values in their order as a curve in the colour of the text, with its least and greatest values kept.

    Those that are not finite are skipped. ``label`` describes it where it can't be seen.
    """
    values = values[np.isfinite(values)] / 4  # the difference of two may be infinite
    values = values[sample(values, SVG_POINTS_MAX)]
    low, high = (values.min(), values.max()) if len(values) else (0.0, 0.0)
    spread = high - low
    across = np.linspace(1, width - 1, max(len(values), 2))
    down = (high - values) / spread * (height - 2) + 1 if spread else np.full(len(values), height / 2)
    dots = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across[: len(down)], down, strict=True))
    line = element("polyline", points=dots, fill="none", stroke="currentColor", stroke_width="1.2")
    return element(
        "svg", line, width=width, height=height, viewBox=f"0 0 {width} {height}", role="img", aria_label=label or None
    )
