"""The panes of text: params and tags, the program's log, the remotes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual.containers import VerticalScroll
from textual.widgets import Static

from mltrack.entities import elapsed_ms
from mltrack.text.counting import plural
from mltrack.text.figures import ago, count, duration, size
from mltrack.text.moments import moment
from mltrack.text.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType
    from textual.app import ComposeResult

    from mltrack.catalog.overview import RunLine
    from mltrack.top.board import Board
    from mltrack.top.remotes import RemoteState

__all__ = ["LogPane", "RunPane", "SyncPane"]

REJECTED_MAX = 50
DIFFERING_MAX = 8


class _TextPane(VerticalScroll, can_focus=True):
    """A pane with one text, that scrolls."""

    def __init__(self, board: Board, *, name: str) -> None:
        super().__init__(id=name)
        self.board = board
        self.body = Static(id=f"{name}-text")

    def compose(self) -> ComposeResult:
        """The text."""
        yield self.body


class RunPane(_TextPane):
    """Facts, params and tags of the run at the cursor."""

    def show(self) -> None:
        """Draw again from the board."""
        run, details = self.board.run, self.board.details
        if run is None or details is None:
            self.body.update(Text("no run", style="dim"))
            return
        parts: list[RenderableType] = [_pairs("", [*self._about(run), *details.facts])]
        if details.params:
            parts += ["", _pairs("Params", details.params)]
        if details.tags:
            parts += ["", _pairs("Tags", details.tags)]
        if differing := self.board.differing():
            parts += ["", self._comparison(differing)]
        self.body.update(Group(*parts))

    def _comparison(self, names: Sequence[str]) -> Table:
        """The runs that are shown, and the params in which they differ."""
        table = Table(box=None, padding=(0, 2, 0, 0), title="Runs that are shown", header_style="cyan")
        table.title_justify, table.title_style = "left", "bold"
        table.add_column("run", no_wrap=True, overflow="ellipsis")
        for name in names[:DIFFERING_MAX]:
            table.add_column(Text(printable(name)), no_wrap=True, overflow="ellipsis")
        for line in self.board.shown():
            params = self.board.params.get(line.run_id, {})
            values = [Text(printable(params.get(name, "-"))) for name in names[:DIFFERING_MAX]]
            table.add_row(Text(printable(line.name)), *values)
        return table

    def _about(self, run: RunLine) -> list[tuple[str, str]]:
        now_ms = self.board.clock() // 1_000_000
        return [
            ("run", run.name),
            ("experiment", run.experiment),
            ("status", run.state),
            ("started", ago(run.start_time, now_ms)),
            ("duration", duration(elapsed_ms(run.status, run.start_time, run.end_time, now_ms))),
        ]


def _pairs(title: str, pairs: Iterable[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), title=title or None)
    table.title_justify, table.title_style = "left", "bold"
    table.add_column(style="cyan", no_wrap=True, max_width=32, overflow="ellipsis")
    table.add_column(overflow="fold")
    for key, value in pairs:
        table.add_row(Text(printable(key)), Text(printable(value)))
    return table


class LogPane(_TextPane):
    """The end of the output of the program that `mltrack run` launched; it stays at its end while it grows."""

    def show(self) -> None:
        """Draw again from the board."""
        at_end = self.scroll_offset.y >= self.max_scroll_y
        if self.board.log:
            self.body.update(Text.from_ansi(self.board.log))
        else:
            self.body.update(Text("no output: launch programs with mltrack run", style="dim"))
        if at_end:
            self.call_after_refresh(self.scroll_end, animate=False)


class SyncPane(_TextPane):
    """What waits for each remote, how fast it goes, and what went wrong."""

    def show(self) -> None:
        """Draw again from the board."""
        if not self.board.remotes:
            self.body.update(Text("no remotes: mltrack remote add NAME URL", style="dim"))
            return
        self.body.update(Group(*(part for state in self.board.remotes for part in self._parts(state))))

    def _parts(self, state: RemoteState) -> Iterable[RenderableType]:
        yield Text.assemble((printable(state.name), "bold"), "  ", (printable(state.url), "dim"))
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
        table.add_column(style="cyan", no_wrap=True)
        table.add_column(overflow="fold")
        for key, words, style in self._lines(state):
            table.add_row(key, Text(printable(words), style=style))
        yield table
        yield ""

    def _lines(self, state: RemoteState) -> Iterable[tuple[str, str, str]]:
        """What there is to say of a remote: names, texts, and their style."""
        waits = [plural(state.runs, "run"), plural(state.points, "point"), plural(state.files, "file")]
        yield "waits", f"{', '.join(waits)} ({size(state.file_bytes)})" if state.runs else "nothing", ""
        if state.lag_s:
            yield "lag", duration(state.lag_s * 1000), ""
        if state.points_per_s:
            yield "rate", f"{state.points_per_s:,.0f} points/s", ""
        now_ms = self.board.clock() // 1_000_000
        yield "synced", ago(state.last_sync // 1_000_000, now_ms) if state.last_sync else "never", ""
        if state.background:
            yield "live", state.background, ""
        if state.last_error:
            yield "error", f"{moment(state.last_error_time // 1_000_000)}: {state.last_error}", "red"
        if state.rejected:
            yield "rejected", count(len(state.rejected)), "yellow"
        for item in state.rejected[:REJECTED_MAX]:
            run = self.board.by_id.get(item.run_id)
            owner = item.run_id[:8] if run is None else run.name
            yield "", f"{owner} {item.kind} {item.key}: {item.reason}", ""
