"""The program on the screen: the list of runs, the panes, one line for questions, and the keys."""

from __future__ import annotations

import asyncio
import gc
import signal
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Footer, Static, TabbedContent, TabPane, Tabs

from mltrack.drawing.colours import DARK, LIGHT
from mltrack.errors import FilterError
from mltrack.text.printable import printable
from mltrack.top.filters import metric_filter, parse_line
from mltrack.top.poller import ENDED, Wanted
from mltrack.top.settings import has_dark_background, save_settings
from mltrack.top.tui.chart_grid import ChartGrid
from mltrack.top.tui.head import Head
from mltrack.top.tui.images import ImagePane
from mltrack.top.tui.keys import BINDINGS, PANES, HelpScreen
from mltrack.top.tui.panes import LogPane, RunPane, SyncPane
from mltrack.top.tui.question import QuestionLine
from mltrack.top.tui.run_list import RunList
from mltrack.top.view import AXES, METRIC, Axis

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.top.board import Board
    from mltrack.top.poller import Poller

__all__ = ["TopApp"]

SMOOTHINGS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99)

NARROW = 100
"""Characters of a terminal in which the list of runs gets less."""


class TopApp(App[None]):
    """Shows a board, and what the poller reads for it."""

    TITLE = "mltrack top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #left { width: 40; border-right: vkey $panel; }
    #runs { height: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden; }
    #panes { width: 1fr; height: 1fr; }
    TabPane { padding: 0; }
    ChartGrid { height: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden; }
    #problem { height: auto; max-height: 3; color: $error; display: none; padding: 0 1; }
    #problem.any { display: block; }
    RunPane, LogPane, SyncPane, ImagePane { padding: 0 1; }
    ImagePane .picture { width: auto; height: 1fr; }
    HelpScreen { align: center middle; }
    #help { width: 78; max-width: 96%; height: auto; max-height: 96%; border: round $primary; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = BINDINGS

    class Read(Message):
        """The poller read something."""

        def __init__(self, parts: frozenset[str]) -> None:
            self.parts = parts
            super().__init__()

    def __init__(self, board: Board, poller: Poller, settings_file: Path | None = None) -> None:
        """Show a board.

        Args:
            board: what to show.
            poller: what reads for it; the app is notified by it.
            settings_file: where settings are kept; None: nowhere.
        """
        super().__init__()
        self.animation_level = "none"  # each frame would be sent over ssh
        self.board = board
        self.poller = poller
        self._settings_file = settings_file
        self.wrong = ""  # what is wrong with the answer to a question
        self.runs = RunList(board)
        self.charts = ChartGrid(board, system=False, name="charts-grid")
        self.system = ChartGrid(board, system=True, name="system-grid")
        self.texts: dict[str, RunPane | LogPane | SyncPane | ImagePane] = {
            "run": RunPane(board, name="run-pane"),
            "log": LogPane(board, name="log-pane"),
            "sync": SyncPane(board, name="sync-pane"),
            "images": ImagePane(board, name="images-pane"),
        }
        self.head, self.problem = Head(board), Static(id="problem")
        self.left = Vertical(self.runs, id="left")
        self.question = QuestionLine()
        self.tabs = TabbedContent(initial=board.settings.store.pane, id="panes")

    def compose(self) -> ComposeResult:
        """The screen."""
        yield self.head
        with Horizontal():
            yield self.left
            with self.tabs:
                for at, (name, title) in enumerate(PANES, 1):
                    with TabPane(f"{at} {title}", id=name):
                        yield self._content(name)
        yield self.problem
        yield self.question
        yield Footer(compact=True)

    def _content(self, name: str) -> ChartGrid | RunPane | LogPane | SyncPane | ImagePane:
        if name == "charts":
            return self.charts
        return self.system if name == "system" else self.texts[name]

    def on_mount(self) -> None:
        """Begin to show what is read."""
        dark = self.board.settings.dark
        self._set_theme(dark=has_dark_background() if dark is None else dark)
        self._set_width()
        self.query_one(Tabs).can_focus = False
        self.runs.focus()
        self.show(frozenset(("runs",)))
        self.poller.notify = self._read
        if self.poller.ended:
            self.exit()
        self.call_after_refresh(self._begin)
        # else the terminal would stay as it is
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit, None, 128 + signal.SIGTERM)
        self.set_interval(1.0, self._show_ages)

    def _begin(self) -> None:
        """The first frame is drawn."""
        self.poller.begin()
        gc.enable()

    def _read(self, parts: frozenset[str]) -> None:
        """Called by the poller's thread."""
        self.post_message(self.Read(parts))

    def on_resize(self) -> None:
        """Take another size."""
        self._set_width()

    def _set_width(self) -> None:
        wide = self.size.width >= NARROW
        chosen = self.board.settings.tree_width or (40 if wide else 28)
        self.left.styles.width = max(16, min(chosen, self.size.width - 30))

    def _set_theme(self, *, dark: bool) -> None:
        self.theme = "textual-dark" if dark else "textual-light"
        palette = () if self.no_color else DARK if dark else LIGHT
        for widget in (self.runs, self.charts, self.system):
            widget.palette = palette

    # --- showing ---

    @property
    def grid(self) -> ChartGrid | None:
        """The charts that are on the screen."""
        return {"charts": self.charts, "system": self.system}.get(self.pane)

    @property
    def pane(self) -> str:
        """The one that is on the screen."""
        return self.tabs.active or self.board.settings.store.pane

    def on_top_app_read(self, message: Read) -> None:
        """Show what was read; if nothing more is, the program ends, and its end says why."""
        if ENDED in message.parts:
            self.exit()
        self.show(message.parts)

    def show(self, parts: frozenset[str]) -> None:
        """Draw some parts again."""
        if "runs" in parts:
            before = self.board.selected
            self.runs.show()
            if before != self.board.selected:
                self._want()
        if parts & {"charts", "runs"} and self.grid is not None:
            self.grid.show()
        if "charts" in parts:
            self._want()
        if parts & {"run", "remotes", "runs"} and self.pane in self.texts:
            self.texts[self.pane].show()
        self._show_head()

    def _want(self, *, reload: bool = False) -> None:
        """Say to the poller what is on the screen now."""
        seen = self.grid.seen() if self.grid is not None else ()
        wanted = Wanted(seen, self.pane)
        if reload or wanted != self.poller.wanted or self._selected != self.board.selected:
            self._selected = self.board.selected
            self.poller.ask(wanted, reload=reload)

    _selected = ""

    def _show_ages(self) -> None:
        if any(line.live for line in self.board.tree.lines):
            self.runs.refresh()
        self._show_head()

    def _show_head(self) -> None:
        self.head.show()
        words = self.wrong or self.board.problem
        self.problem.set_class(bool(words), "any")
        self.problem.update(Text(printable(words)))

    # --- events ---

    def on_run_list_moved(self) -> None:
        """Draw the curves of another run or group."""
        if self.grid is not None:
            self.grid.show()
        elif self.pane in self.texts:
            self.texts[self.pane].show()
        self._want()

    def on_run_list_pinned(self, message: RunList.Pinned) -> None:
        """Pin a run, or release it."""
        self.board.toggle_pin(message.run_id)
        self._pins_changed()

    def _pins_changed(self) -> None:
        self.runs.show_colours()
        self.on_run_list_moved()
        self._show_head()

    def on_chart_grid_seen(self) -> None:
        """Read the charts that came into view."""
        self._want()

    def on_chart_grid_view_changed(self, message: ChartGrid.ViewChanged) -> None:
        """Zoom, or move the crosshair."""
        self._change_view(**message.changes)

    def _change_view(self, **changes: object) -> None:
        before = self.board.view
        self.board.change_view(**changes)
        if self.grid is None or self.board.view == before:
            return
        if set(changes) == {"cursor"}:
            self.grid.show_cursor()
            return
        self.grid.show()
        self._show_head()
        if self.board.view.needs_points != before.needs_points or self.board.view.axis != before.axis:
            self.poller.ask()

    def on_tabbed_content_tab_activated(self) -> None:
        """Show another pane."""
        self.board.settings.store.pane = self.pane
        if self.grid is not None:
            self.grid.show()
        elif self.pane in self.texts:
            self.texts[self.pane].show()
        self._want()

    # --- keys ---

    def action_pane(self, name: str) -> None:
        """Show a pane."""
        self.tabs.active = name

    def action_help(self) -> None:
        """Show all keys."""
        self.push_screen(HelpScreen())

    def action_log_y(self) -> None:
        """Switch the y axis to logarithms, or back."""
        self._change_view(log_y=not self.board.view.log_y)

    def action_smooth(self, by: int) -> None:
        """Smooth more, or less; after the most comes none."""
        now = min(range(len(SMOOTHINGS)), key=lambda at: abs(SMOOTHINGS[at] - self.board.view.smoothing))
        self._change_view(smoothing=SMOOTHINGS[(now + by) % len(SMOOTHINGS)])

    def action_zoom(self, closer: bool) -> None:
        """Show less of the x axis, or more."""
        if self.grid is not None:
            self.grid.zoom(closer=closer)

    def action_pan(self, by: float) -> None:
        """Move what is shown of the x axis."""
        if self.grid is not None:
            self.grid.pan(by)

    def action_unzoom(self) -> None:
        """Show all of the x axis."""
        self._change_view(zoom=None)

    def action_columns(self) -> None:
        """One more chart next to each other; after four as many as fit."""
        self.board.settings.columns = (self.board.settings.columns + 1) % 5
        if self.grid is not None:
            self.grid.show()
            self._want()

    def action_unpin(self) -> None:
        """Release all pins."""
        self.board.settings.store.pins.clear()
        self._pins_changed()

    def action_theme(self) -> None:
        """Switch to dark colours, or to light ones."""
        dark = self.theme != "textual-dark"
        self.board.settings.dark = dark
        self._set_theme(dark=dark)
        self._pins_changed()

    def action_reload(self) -> None:
        """Read everything again now."""
        self._want(reload=True)

    def action_narrow(self, by: int) -> None:
        """Give the list of runs another width."""
        now = self.left.size.width + 1
        self.board.settings.tree_width = max(16, now + by)
        self._set_width()

    # --- the line for questions ---

    def action_ask(self, what: str) -> None:
        """Ask for a filter, a grouping, an axis, in a line at the bottom."""
        kept, axis = self.board.settings.store, self.board.view.axis
        now = {
            "filter": kept.filter,
            "metrics": kept.metrics,
            "group": kept.group_by,
            "x": axis.metric if axis.kind == METRIC else axis.kind,
        }
        self.question.ask(what, now[what], self._suggestions(what))

    def _suggestions(self, what: str) -> list[str]:
        if what == "group":
            return self.board.groupings()
        if what == "x":
            return [*AXES, *self.board.metrics(system=False)]
        return []

    def on_question_line_closed(self) -> None:
        """Back to the runs."""
        self.wrong = ""
        self.runs.focus()
        self._show_head()

    def on_question_line_answered(self, message: QuestionLine.Answered) -> None:
        """Take the answer, if it makes sense."""
        try:
            self._take(message.what, message.text)
        except FilterError as error:
            self.wrong = str(error)
            self._show_head()
            return
        self.question.close()

    def _take(self, what: str, text: str) -> None:
        kept = self.board.settings.store
        if what == "filter":
            parse_line(text)
            kept.filter = text
        elif what == "group":
            parse_line("", text or "experiment")
            kept.group_by = text or "experiment"
        elif what == "metrics":
            metric_filter(text)
            kept.metrics = text
            self.charts.show()
        elif what == "x":
            axis = Axis(text or AXES[0]) if text in ("", *AXES) else Axis(METRIC, text)
            self._change_view(axis=axis, zoom=None, cursor=None)
            self.poller.ask()
        if what in ("filter", "group"):
            self.poller.ask(reload=True)
        self._want()

    def on_unmount(self) -> None:
        """Remember what was chosen."""
        save_settings(self._settings_file, self.board.layout.store_id, self.board.settings)
