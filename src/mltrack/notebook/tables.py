"""Runs as small HTML tables."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from mltrack.drawing.markup import Html, element, escaped, join, table
from mltrack.drawing.sparkline import svg_sparkline
from mltrack.text.counting import plural
from mltrack.text.figures import count, duration, number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from mltrack.entities import MetricSummary, RunData, RunInfo

    Columns = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]

__all__ = ["NotebookRun", "found_run_html", "run_html", "runs_html", "store_html"]

PARAMS_MAX = 30
METRICS_MAX = 30
SPARKS_MAX = 12
SPARK_POINTS_MAX = 2_000_000
"""Sparklines are drawn as long as so many points are to be read for all of them."""
ROWS_MAX = 20
COLUMNS_MAX = 4
VALUE_CHARACTERS_MAX = 80


class NotebookRun(Protocol):
    """What is shown of a run."""

    @property
    def run_id(self) -> str:
        """32 hex digits."""

    @property
    def info(self) -> RunInfo:
        """Name, experiment, status, times."""

    @property
    def params(self) -> Mapping[str, str]:
        """Params by key."""

    @property
    def summaries(self) -> Mapping[str, MetricSummary]:
        """Latest, least, greatest and count of each metric."""

    def columns(self, key: str) -> Columns:
        """The points of a metric: steps, times in ns, values."""


class FoundRun(Protocol):
    """A run that a search found."""

    @property
    def info(self) -> RunInfo:
        """Name, experiment, status, times."""

    @property
    def data(self) -> RunData:
        """Params, tags, latest metrics."""


def _head(info: RunInfo) -> Html:
    took = "" if info.end_time is None else f" · {duration(info.end_time - info.start_time)}"
    started = datetime.fromtimestamp(info.start_time / 1000, UTC)
    about = f" · {info.shown_status} · {started:%Y-%m-%d %H:%M} UTC{took} · {info.experiment_name} · "
    return element("p", element("b", _clipped(info.run_name)), about, element("code", info.run_id))


def _clipped(text: str) -> str:
    return text if len(text) <= VALUE_CHARACTERS_MAX else f"{text[: VALUE_CHARACTERS_MAX - 1]}…"


def _params(params: Mapping[str, str]) -> Html:
    if not params:
        return Html("")
    shown = [(_clipped(key), _clipped(value)) for key, value in sorted(params.items())[:PARAMS_MAX]]
    return join([table(["param", "value"], shown), _more(len(params) - PARAMS_MAX, "param")])


def _more(number_: int, what: str) -> Html:
    return element("p", f"and {plural(number_, what)} more") if number_ > 0 else Html("")


def _own_first(keys: Sequence[str]) -> list[str]:
    return sorted(keys, key=lambda key: (key.startswith("system/"), key))


def run_html(run: NotebookRun) -> Html:
    """One run: its facts, its params, and its metrics with a small curve of each."""
    summaries = run.summaries
    keys = _own_first(list(summaries))[:METRICS_MAX]
    rows = []
    left = SPARK_POINTS_MAX
    for place, key in enumerate(keys):
        one = summaries[key]
        curve = Html("")
        if place < SPARKS_MAX and one.count <= left:
            left -= one.count
            curve = svg_sparkline(run.columns(key)[2], label=f"{key}, from {number(one.min)} to {number(one.max)}")
        rows.append([_clipped(key), curve, number(one.value), number(one.min), number(one.max), count(one.count)])
    parts = [_head(run.info), _params(run.params)]
    if rows:
        parts += [table(["metric", "", "latest", "min", "max", "points"], rows)]
        parts.append(_more(len(summaries) - METRICS_MAX, "metric"))
    return element("div", *parts)


def found_run_html(run: FoundRun) -> Html:
    """One run of a search: its facts, params and latest metrics."""
    metrics = run.data.metrics
    rows = [[_clipped(key), number(metrics[key])] for key in _own_first(list(metrics))[:METRICS_MAX]]
    latest = table(["metric", "latest"], rows) if rows else Html("")
    return element(
        "div", _head(run.info), _params(run.data.params), latest, _more(len(metrics) - METRICS_MAX, "metric")
    )


def runs_html(runs: Sequence[FoundRun]) -> Html:
    """Several runs: a row for each, with the params that differ and the most common metrics."""
    if not runs:
        return element("p", "no runs")
    shown = runs[:ROWS_MAX]
    keys = sorted({key for run in shown for key in run.data.params})
    unequal = [key for key in keys if len({run.data.params.get(key) for run in shown}) > 1][:COLUMNS_MAX]
    counted = Counter(key for run in shown for key in run.data.metrics if not key.startswith("system/"))
    metrics = sorted(sorted(counted, key=lambda key: (-counted[key], key))[:COLUMNS_MAX])
    rows = []
    for run in shown:
        info, data = run.info, run.data
        started = datetime.fromtimestamp(info.start_time / 1000, UTC)
        took = "" if info.end_time is None else duration(info.end_time - info.start_time)
        rows.append(
            [
                join([escaped(_clipped(info.run_name)), " ", element("code", info.run_id[:8])]),
                info.shown_status,
                f"{started:%Y-%m-%d %H:%M}",
                took,
                *(_clipped(data.params.get(key, "")) for key in unequal),
                *(number(data.metrics[key]) if key in data.metrics else "" for key in metrics),
            ]
        )
    whole = table(["run", "status", "started (UTC)", "duration", *map(_clipped, [*unequal, *metrics])], rows)
    return element("div", whole, _more(len(runs) - len(shown), "run"))


def store_html(path: str, experiments: int, runs: int, newest: Sequence[FoundRun]) -> Html:
    """A store: where it is, what is in it, and its newest runs."""
    about = f": {plural(runs, 'run')} in {plural(experiments, 'experiment')}"
    latest = runs_html(newest) if newest else Html("")
    return element("div", element("p", element("code", path), about), latest)
