"""A metric's points as a curve: sampled with its peaks kept, and packed for a page."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mltrack.drawing.sampling import evenly_spread, sample

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Chart", "Curve", "curve_of", "packed_chart"]


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of one metric of one run, by step and time.

    Attributes:
        run: the run's id.
        label: what it is called.
        look: its colour and dashes, see colours.py.
        steps: int64.
        seconds: float64, since the run's first point of the metric.
        values: float64.
        count: how many points the run has, of which these are all or a sample.
        even: bool, which points are not here for their values; averages are taken of these.
    """

    run: str
    label: str
    look: int
    steps: npt.NDArray[np.int64]
    seconds: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]
    count: int
    even: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Chart:
    """The curves of one metric."""

    key: str
    curves: tuple[Curve, ...]


def curve_of(
    run: str,
    label: str,
    look: int,
    points: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]],
    *,
    points_max: int,
) -> Curve:
    """A curve of at most ``points_max`` points; of more, the least and the greatest value of each part are kept.

    Args:
        run: the run's id.
        label: what it is called.
        look: its colour and dashes.
        points: steps, times in ns since the epoch, values, in any order.
        points_max: how many points to keep.
    """
    steps, times, values = points
    rises = (steps[1:] > steps[:-1]) | ((steps[1:] == steps[:-1]) & (times[1:] >= times[:-1]))
    if not rises.all():
        order = np.lexsort((times, steps))
        steps, times, values = steps[order], times[order], values[order]
    first = int(times.min()) if len(times) else 0
    kept = sample(values, points_max)
    even = np.isin(kept, evenly_spread(len(values), points_max))
    return Curve(run, label, look, steps[kept], (times[kept] - first) / 1e9, values[kept], len(values), even)


def packed_chart(chart: Chart) -> dict[str, Any]:
    """A chart for the page's script: columns in base64, in the shortest type that holds them."""
    return {
        "key": chart.key,
        "curves": [
            {
                "run": curve.run,
                "label": curve.label,
                "look": curve.look,
                "count": curve.count,
                "steps": _packed_steps(curve.steps),
                "seconds": _packed(curve.seconds),
                "values": _packed(curve.values),
                "even": "" if curve.even.all() else _encoded("b", np.packbits(curve.even, bitorder="little")),
            }
            for curve in chart.curves
        ],
    }


def _packed_steps(steps: npt.NDArray[np.int64]) -> str:
    small = len(steps) == 0 or (steps.min() >= -(2**31) and steps.max() < 2**31)
    return _encoded("i", steps.astype("<i4")) if small else _encoded("d", steps.astype("<f8"))


def _packed(values: npt.NDArray[np.float64]) -> str:
    """As float32 where that keeps six digits, else as float64."""
    finite = np.abs(values[np.isfinite(values) & (values != 0)])
    if len(finite) and (finite.max() > 3e38 or finite.min() < 1e-37):
        return _encoded("d", values.astype("<f8"))
    spread = np.ptp(values[np.isfinite(values)]) if len(finite) else 0.0
    if spread and finite.max() / spread > 1e4:  # a small change of a large value
        return _encoded("d", values.astype("<f8"))
    return _encoded("f", values.astype("<f4"))


def _encoded(kind: str, column: npt.NDArray[Any]) -> str:
    return kind + base64.b64encode(column.tobytes()).decode("ascii")
