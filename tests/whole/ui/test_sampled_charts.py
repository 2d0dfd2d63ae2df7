"""MLflow's charts of a sampled history, next to those of the same history sent whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest

import mltrack
from mltrack.store import Store
from mltrack_sync import Remote, push
from tests.support.server import MlflowServer
from tests.support.server_content import insert_points, make_experiment, make_run
from tests.support.ui.looking import Look

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

POINTS = 1_000_000
SAMPLED_POINTS = 10_000_000
STRETCHES = 20
"""A chart is compared in so many stretches of its steps."""

DRAWN = """
[...document.querySelectorAll('.js-plotly-plot')].flatMap(
  chart => chart.data.slice(0, 1).map(line => [Array.from(line.x), Array.from(line.y)]))
"""
"""The line of each chart: its steps and values."""

Values = npt.NDArray[np.float64]


def curve(count: int) -> Values:
    """A noisy loss that falls, and falls again late."""
    at = np.arange(count) / count
    noise = np.random.default_rng(5).normal(scale=0.02, size=count)
    falling: Values = np.exp(-4 * at) - 0.3 * (at > 0.8) + 0.05 * np.sin(at * 40) + noise
    return falling


@pytest.fixture
def looks(browser_context: BrowserContext, server: MlflowServer, shots: Path) -> Iterator[Look]:
    """The server's pages."""
    looking = Look(browser_context, server.url, shots)
    yield looking
    looking.close()
    assert looking.troubles == []


def means_drawn(look: Look, experiment_id: str, run_id: str, shot: str) -> Values:
    """What the chart of a run's only metric shows: the mean of each stretch of its steps, from 0 to 1."""
    look.open(f"/experiments/{experiment_id}/runs/{run_id}/model-metrics")
    look.shows("Model metrics", "loss")
    look.charts()
    look.shot(shot)
    steps, values = map(np.array, look.page.evaluate(DRAWN)[0])
    stretch = np.minimum(steps / steps.max() * STRETCHES, STRETCHES - 1).astype(int)
    drawn = np.bincount(stretch, minlength=STRETCHES)
    assert drawn.min() >= 5, f"of these points each stretch has {drawn}"
    found: Values = np.bincount(stretch, values, STRETCHES) / drawn
    return found


def test_the_chart_of_a_sampled_history_looks_like_that_of_the_whole(
    looks: Look, store: Store, server: MlflowServer, remote: Remote, experiment: str
) -> None:
    ids = {}
    for count in (POINTS, SAMPLED_POINTS):
        with mltrack.start_run(history=2000) as run:
            mltrack.log_series("loss", curve(count))
            ids[count] = run.run_id
    assert push(store, remote).complete
    on_server = server.runs(experiment)

    experiment_id = make_experiment(server, f"{experiment} whole")
    whole = make_run(server, experiment_id)
    values = curve(POINTS)
    insert_points(server, whole, "loss", POINTS, lambda n: float(values[n]))
    expected = means_drawn(looks, experiment_id, whole, "chart-whole")
    for count, run_id in ids.items():
        info = on_server[run_id]["info"]
        drawn = means_drawn(looks, info["experiment_id"], info["run_id"], f"chart-sampled-{count}")
        assert np.abs(drawn - expected).max() < 0.05 * np.ptp(expected)
