"""The program on the screen, by Textual's pilot: keys, mouse, panes, settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from mltrack.store import Store
from mltrack.top.board import Board
from mltrack.top.poller import Poller
from mltrack.top.remotes import RejectedItem, RemoteState
from mltrack.top.settings import Settings, load_settings
from mltrack.top.tui.app import TopApp
from mltrack.top.tui.chart_grid import ChartGrid
from mltrack.top.view import View
from tests.support.written_runs import write_run

Steps = Callable[[TopApp, Pilot[None]], Coroutine[Any, Any, None]]


@pytest.fixture
def board(empty_store: Store) -> Board:
    for number in range(3):
        metrics = {"loss": [(step, 1.0 / (step + number + 1)) for step in range(30)], "acc": [(0, 0.5), (29, 0.9)]}
        more = {**metrics, "epoch": [(0, 0.0), (15, 1.0)], "system/cpu": [(0, 5.0), (9, 7.0)]}
        write_run(
            empty_store, name=f"run-{number}", params={"lr": f"0.{number}"}, metrics=more, start_ms=1_000 + number
        )
    return Board(empty_store.layout, Settings())


def play(board: Board, steps: Steps, *, size: tuple[int, int] = (120, 40), settings: Path | None = None) -> None:
    """Play in an app whose reading is done in between, by ``read``."""

    async def run() -> None:
        app = TopApp(board, Poller(board), settings)
        async with app.run_test(size=size) as pilot:
            await read(app, pilot)
            await steps(app, pilot)

    asyncio.run(run())


async def read(app: TopApp, pilot: Pilot[None]) -> None:
    """Read what is wanted, as the poller's thread does, until nothing changes."""
    for _ in range(5):
        changed = app.poller.step()
        app.show(changed)
        await pilot.pause()
        if not changed - {"remotes"}:
            return


async def press(app: TopApp, pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await read(app, pilot)


async def answer(app: TopApp, pilot: Pilot[None], key: str, text: str) -> None:
    """Answer the question that a key asks."""
    await pilot.press(key)
    app.query_one("#answer", Input).value = text
    await press(app, pilot, "enter")


def text_of(grid: ChartGrid) -> str:
    return "\n".join(grid.render_line(y).text for y in range(grid.size.height))


def list_of(app: TopApp) -> str:
    return "\n".join(app.runs.render_line(y).text for y in range(app.runs.size.height))


def test_runs_and_the_curves_of_the_group_at_the_cursor_are_shown(board: Board) -> None:
    async def steps(app: TopApp, pilot: Pilot[None]) -> None:
        assert "▾ Default" in list_of(app)
        assert "● run-2" in list_of(app)
        assert "acc" in text_of(app.charts)
        assert "●0.9 ●0.9 ●0.9" in text_of(app.charts)
        await press(app, pilot, "down", "space", "down")
        assert "◆ run-2" in list_of(app)
        assert "● run-1" in list_of(app)
        assert "●0.9 ●0.9 " in text_of(app.charts)
        await press(app, pilot, "left", "enter")
        assert "▸ Default" in list_of(app)
        assert "run-1" not in list_of(app)

    play(board, steps)


@pytest.mark.slow
def test_a_question_changes_filter_grouping_and_axis_and_a_wrong_one_is_refused(board: Board, tmp_path: Path) -> None:
    async def steps(app: TopApp, pilot: Pilot[None]) -> None:
        await answer(app, pilot, "slash", "/run-[01]/")
        assert "run-2" not in list_of(app)
        await answer(app, pilot, "g", "params.lr")
        assert "▾ 0.1" in list_of(app)
        await answer(app, pilot, "m", "loss")
        assert app.charts.metrics == ["loss"]
        await answer(app, pilot, "x", "epoch")
        assert app.board.view.axis.metric == "epoch"
        await answer(app, pilot, "slash", "metrics.loss <")
        assert "metrics.loss <" in app.wrong
        await press(app, pilot, "escape", "l", "s")
        assert app.wrong == ""

    play(board, steps, settings=tmp_path / "top.json")
    kept = load_settings(tmp_path / "top.json", board.layout.store_id)
    assert (kept.store.filter, kept.store.group_by, kept.store.metrics) == ("/run-[01]/", "params.lr", "loss")
    looks = kept.store
    assert (looks.axis, looks.x_metric, looks.log_y, looks.smoothing) == ("metric", "epoch", True, 0.5)


@pytest.mark.slow
def test_the_crosshair_reads_all_curves_and_the_zoom_narrows_them(board: Board) -> None:
    async def steps(app: TopApp, pilot: Pilot[None]) -> None:
        await press(app, pilot, "tab", "n", "n", "enter", "left")
        assert app.charts.metrics == ["loss"]
        legend = text_of(app.charts).splitlines()[-4:]
        assert [line.split()[:2] for line in legend[:3]] == [["●", "run-2"], ["●", "run-1"], ["●", "run-0"]]
        assert app.board.view.cursor is not None
        app.charts.action_cursor(-1000)
        await pilot.pause()
        assert app.board.view.cursor < 1
        assert "run-0  1" in text_of(app.charts)
        await press(app, pilot, "plus")
        assert app.board.view.zoom is not None
        assert app.board.view.zoom[1] - app.board.view.zoom[0] == pytest.approx(29 / 2)
        await press(app, pilot, "minus", "minus")
        assert app.board.view.zoom is None  # all is in view
        await press(app, pilot, "plus")
        await pilot.press("escape", "escape", "escape")
        assert app.board.view == View()
        assert app.charts.metrics == ["acc", "epoch", "loss"]

    play(board, steps)


@pytest.mark.slow
def test_the_mouse_chooses_runs_moves_the_crosshair_and_zooms(board: Board) -> None:
    async def steps(app: TopApp, pilot: Pilot[None]) -> None:
        await pilot.click("#runs", offset=(8, 2))
        await read(app, pilot)
        assert app.board.run is not None
        assert app.board.run.name == "run-1"
        await pilot.hover("#charts-grid", offset=(30, 5))
        await pilot.pause()
        assert app.board.view.cursor is not None
        await pilot.mouse_down("#charts-grid", offset=(20, 5))
        await pilot.mouse_up("#charts-grid", offset=(40, 5))
        await pilot.pause()
        assert app.board.view.zoom is not None
        await pilot.double_click("#charts-grid", offset=(30, 5))
        await read(app, pilot)
        assert app.charts.single is not None

    play(board, steps)


@pytest.mark.slow
def test_every_pane_shows_something_at_80_columns(board: Board) -> None:
    async def steps(app: TopApp, pilot: Pilot[None]) -> None:
        await press(app, pilot, "down", "2")
        assert app.system.metrics == ["system/cpu"]
        for pane, words in (("run", "lr"), ("log", "no output"), ("sync", "no remotes"), ("images", "no images")):
            app.action_pane(pane)
            await read(app, pilot)
            shown = "\n".join(strip.text for strip in app.screen._compositor.render_strips())
            assert words in shown
        refused = RejectedItem(app.board.tree.lines[0].run_id, "param", "lr", "is too long")
        app.board.remotes = [
            RemoteState("lab", "http://lab", 2, 3_000, 1, 5, 60.0, 12_345.0, 0, "refused", 1, "", (refused,))
        ]
        app.action_pane("sync")
        await pilot.pause()
        app.texts["sync"].show()
        await pilot.pause()
        shown = "\n".join(strip.text for strip in app.screen._compositor.render_strips())
        for words in (
            "2 runs, 3,000 points, 1 file (5 B)",
            "12,345 points/s",
            "refused",
            "run-2 param lr: is too long",
        ):
            assert words in shown
        await pilot.press("question_mark")
        assert len(app.screen_stack) == 2
        await pilot.press("escape", "t")
        assert app.board.settings.dark is False

    play(board, steps, size=(80, 24))
