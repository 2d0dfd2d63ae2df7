"""The board: what is shown follows the cursor and the pins; the poller reads as often as it may."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mltrack.recording import current_store, fluent
from mltrack.store import Store
from mltrack.top.board import Board
from mltrack.top.grid import Grid
from mltrack.top.poller import ENDED, LOAD_S, Poller, Wanted
from mltrack.top.reading import OPEN_MAX
from mltrack.top.settings import Settings
from tests.support.written_runs import write_run


@pytest.fixture
def board(empty_store: Store) -> Board:
    for number in range(3):
        metrics = {"loss": [(0, 2.0), (1, 1.0 + number)], "system/cpu": [(0, 50.0)], f"only_{number}": [(0, 1.0)]}
        write_run(
            empty_store, name=f"run-{number}", params={"lr": str(number)}, metrics=metrics, start_ms=1_000 + number
        )
    return Board(empty_store.layout, Settings())


def test_the_run_to_start_at_is_seen_below_its_parents(board: Board, empty_store: Store) -> None:
    top = write_run(empty_store, name="top")
    middle = write_run(empty_store, name="middle", tags={"mlflow.parentRunId": top})
    board.selected = write_run(empty_store, name="low", tags={"mlflow.parentRunId": middle})
    board.load()
    assert [(row.label, row.depth) for row in board.tree.rows()][1:4] == [("top", 1), ("middle", 2), ("low", 3)]


def test_a_group_shows_its_runs_and_a_run_itself_and_pins_stay(board: Board) -> None:
    assert board.load()
    assert not board.load()
    group, *rows = board.tree.rows()
    board.selected = group.key
    assert [line.name for line in board.shown()] == ["run-2", "run-1", "run-0"]
    board.selected = rows[0].key
    board.toggle_pin(rows[2].key)
    assert [line.name for line in board.shown()] == ["run-2", "run-0"]
    board.toggle_pin(rows[2].key)
    assert [line.name for line in board.shown()] == ["run-2"]


def test_metrics_are_those_of_the_runs_that_are_shown_and_common_ones_come_first(board: Board) -> None:
    board.load()
    board.selected = board.tree.rows()[0].key
    assert board.poll(())
    assert board.metrics(system=False) == ["loss", "only_0", "only_1", "only_2"]
    assert board.metrics(system=True) == ["system/cpu"]
    board.settings.store.metrics = "_[12]$"
    assert board.metrics(system=False) == ["only_1", "only_2"]
    assert board.poll(["loss"])
    assert not board.poll(["loss"])
    board.poll_run()
    assert board.differing() == ["lr"]
    assert [line.curve.values.tolist() for line in board.lines_of("loss")] == [[2.0, 3.0], [2.0, 2.0], [2.0, 1.0]]


@pytest.mark.slow
def test_a_zoom_into_many_points_reads_them(tmp_path: Path) -> None:
    current_store.set_store(tmp_path / "s")
    with fluent.start_run() as run:
        run.log_series("loss", np.arange(600_000) / 3)
    board = Board(Store.open(tmp_path / "s").layout, Settings())
    board.load()
    board.selected = run.run_id
    board.poll(["loss"])
    assert board.lines_of("loss")[0].curve.bounds is not None
    assert not board.poll(["loss"])
    board.change_view(zoom=(0.0, 10.0))
    assert board.poll(["loss"])
    assert board.lines_of("loss")[0].curve.bounds is None
    assert not board.poll(["loss"])


def test_of_many_runs_some_are_kept_open(board: Board, empty_store: Store) -> None:
    for number in range(OPEN_MAX):
        write_run(empty_store, name=f"more-{number}")
    board.load()
    for row in board.tree.rows()[1:]:
        board.selected = row.key
        board.poll(())
    assert len(board.reader._open) == OPEN_MAX
    assert list(board.reader._open)[-1] == board.selected


def test_a_filter_that_is_wrong_is_said_and_the_runs_stay(board: Board) -> None:
    board.load()
    board.settings.store.filter = "metrics.loss <"
    assert board.load()
    assert "metrics.loss <" in board.problem
    assert len(board.tree.lines) == 3


def test_the_first_rows_come_from_the_catalog_as_it_is(board: Board, empty_store: Store) -> None:
    assert not board.glance()  # there is no catalog yet
    empty_store.refresh()
    write_run(empty_store, name="later")
    assert board.glance()
    assert [line.name for line in board.tree.lines] == ["run-2", "run-1", "run-0"]
    assert board.load()
    assert len(board.tree.lines) == 4


def test_what_is_damaged_is_counted_and_the_rest_is_shown(board: Board, empty_store: Store) -> None:
    run_id = write_run(empty_store, name="torn", metrics={"loss": [(0, 1.0)]})
    (path,) = empty_store.layout.run(run_id).events.iterdir()
    first, _, rest = path.read_bytes().partition(b"\n")
    path.write_bytes(first + b'\n{"torn": \n' + rest)
    board.load()
    assert board.damaged == 1
    assert len(board.tree.lines) >= 3


def test_the_panes_have_the_params_and_the_log_of_the_run_at_the_cursor(tmp_path: Path) -> None:
    current_store.set_store(tmp_path / "s")
    with fluent.start_run(run_name="a") as run:
        run.log_params({"lr": 0.1})
        run.log_text("one\n\x1b[31mtwo\x1b[0m\n\x1b[2Jthree\r\nfour 1%\rfour 2%\n", "user_logs/std_log.txt")
        run.log_text("not a picture", "images/a.png")
    board = Board(Store.open(tmp_path / "s").layout, Settings())
    board.load()
    board.selected = board.tree.rows()[0].key
    assert board.poll_run(log=True, images=True)
    assert board.details is not None
    assert board.details.params == [("lr", "0.1")]
    assert board.log == "one\n\x1b[31mtwo\x1b[0m\n\\x1b[2Jthree\nfour 2%\n\x1b[0m"
    assert [image.name for image in board.images] == ["images/a.png"]
    assert not board.poll_run(log=True, images=True)


def test_the_list_of_runs_is_read_less_often_the_more_that_costs(board: Board) -> None:
    clock, spent = 0.0, 0.0

    def cost() -> float:
        nonlocal spent
        spent += 0.1  # seconds of the processor between any two looks
        return spent

    poller = Poller(board, clock=lambda: clock, cost=cost)
    poller.ask(Wanted(("loss",), "charts"))
    assert "runs" in poller.step()
    write_run(board.reader.store, name="new")
    clock = LOAD_S + 0.1  # the first time does not count
    assert "runs" in poller.step()
    write_run(board.reader.store, name="newer")
    clock += LOAD_S + 1
    assert "runs" not in poller.step()
    clock += 10
    assert "runs" in poller.step()
    write_run(board.reader.store, name="newest")
    poller.ask(reload=True)
    assert "runs" in poller.step()


@pytest.mark.parametrize(("count", "width", "height"), [(1, 40, 20), (5, 50, 21), (6, 160, 45), (40, 200, 50)])
def test_every_chart_has_a_place_and_no_two_overlap(count: int, width: int, height: int) -> None:
    grid = Grid(count, width, height)
    places: dict[tuple[int, int], int] = {}
    for number in range(count):
        rect = grid.rect(number)
        for y in (rect.y, rect.y + rect.height - 1):
            for x in (rect.x, rect.x + rect.width - 1):
                assert places.setdefault((x, y), number) == number
                assert grid.at(x, y) == number
    assert grid.at(0, grid.lines) is None
    assert list(grid.seen(0, grid.lines)) == list(range(count))


@pytest.mark.slow
def test_what_ends_the_reading_ends_the_program_and_is_raised(board: Board) -> None:
    noted: list[frozenset[str]] = []
    board.settings.store.pins = None  # type: ignore[assignment]  # as no file can make it
    poller = Poller(board)
    poller.notify = noted.append
    with pytest.raises(TypeError), poller:
        poller.begin()
        poller.wait()
    assert noted[-1] == frozenset((ENDED,))
    assert poller.ended


def test_until_the_catalog_is_built_it_says_how_many_runs_are_read(board: Board, tmp_path: Path) -> None:
    assert not board.glance()
    assert board.count()
    assert board.reading == "reading 3 runs…"
    assert board.load()
    assert not board.count()
    empty = Board(Store.create(tmp_path / "none").layout, Settings())
    assert not empty.count()
    assert empty.reading == "reading…"
