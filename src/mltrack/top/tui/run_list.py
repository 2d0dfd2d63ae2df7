"""The tree of runs: only the lines in view are drawn, so that ten thousand runs cost as much as ten."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from mltrack.text.figures import ago, duration
from mltrack.text.printable import printable

if TYPE_CHECKING:
    from textual import events

    from mltrack.top.board import Board
    from mltrack.top.tree import Row

__all__ = ["RunList"]

_MARKS = {
    "RUNNING": ("▶", "green"),
    "SCHEDULED": ("◷", "cyan"),
    "FINISHED": ("✓", ""),
    "FAILED": ("✗", "red"),
    "KILLED": ("■", "yellow"),
    "CRASHED": ("✗", "bold red"),
}
PINNED, SHOWN = "◆", "●"


class RunList(ScrollView, can_focus=True):
    """The rows of a board's tree, with a cursor."""

    ALLOW_SELECT = False

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "move(-1000000)", "First", show=False),
        Binding("end", "move(1000000)", "Last", show=False),
        Binding("enter", "toggle_row", "Open", show=False),
        Binding("right", "open(True)", "Open", show=False),
        Binding("left", "open(False)", "Close", show=False),
        Binding("space", "pin", "Pin"),
    ]

    class Moved(Message):
        """The cursor is on another row, or what is drawn of it changed."""

    class Pinned(Message):
        """A run is to be pinned, or released."""

        def __init__(self, run_id: str) -> None:
            self.run_id = run_id
            super().__init__()

    def __init__(self, board: Board) -> None:
        super().__init__(id="runs")
        self.board = board
        self.palette: tuple[str, ...] = ()
        self._rows: list[Row] = []
        self._at = 0
        self._colours: dict[str, int] = {}
        self._pins: set[str] = set()

    # --- what is shown ---

    def show(self) -> None:
        """Take the board's rows; the cursor stays on its run."""
        self._rows, before = self.board.tree.rows(), self._at
        keys = {row.key: at for at, row in enumerate(self._rows)}
        self._at = keys.get(self.board.selected, min(self._at, max(len(self._rows) - 1, 0)))
        if self._rows and (self.board.loaded or not self.board.selected):  # else the row may still come
            self.board.selected = self._rows[self._at].key
        self.virtual_size = Size(self.size.width, len(self._rows))
        if self._at != before:
            self.call_after_refresh(self._scroll_to_cursor)
        self.show_colours()

    def show_colours(self) -> None:
        """Take the colours of the runs that are drawn, and the pins."""
        self._colours = {line.run_id: self.board.colours.of(line.run_id) for line in self.board.shown()}
        self._pins = set(self.board.settings.store.pins)
        self.refresh()

    @property
    def row(self) -> Row | None:
        """The one at the cursor."""
        return self._rows[self._at] if self._rows else None

    def render_line(self, y: int) -> Strip:
        """One line of the widget."""
        width = self.size.width
        at = y + int(self.scroll_offset.y)
        base = self.rich_style
        if at >= len(self._rows):
            if at == 0:
                words = "no runs match" if self.board.settings.store.filter else "no runs"
                text = words if self.board.loaded else self.board.reading
                return Strip([Segment(f" {text}".ljust(width)[:width], base + Style(dim=True))])
            return Strip.blank(width, base)
        row = self._rows[at]
        left, right = self._pieces(row)
        style = base
        if at == self._at:
            style = base + Style(reverse=True) if self.has_focus else base + Style(bold=True, underline=True)
        room = width - sum(segment.cell_length for segment in right)
        line = Strip(left).adjust_cell_length(max(room, 0), Style())
        return Strip([*line, *right]).crop_extend(0, width, None).apply_style(style)

    def _pieces(self, row: Row) -> tuple[list[Segment], list[Segment]]:
        indent = "  " * row.depth
        if row.run is None:
            sign = "▾ " if row.open else "▸ "
            live = [Segment(f"{row.live} live ", Style(color="green"))] if row.live else []
            name = Segment(f"{indent}{sign}{printable(row.label)}", Style(bold=True))
            return [name], [Segment(" "), *live, Segment(f"{row.size:,} ", Style(dim=True))]
        run = row.run
        colour = self._colours.get(run.run_id)
        bullet = PINNED if run.run_id in self._pins else SHOWN if colour is not None else " "
        shade = Style(color=self.palette[colour]) if colour is not None and self.palette else Style()
        sign = "" if not row.has_children else "▾" if row.open else "▸"
        mark, look = _MARKS.get(run.state, ("?", ""))
        left = [
            Segment(indent),
            Segment(f"{bullet} ", shade),
            Segment(f"{sign}{printable(run.name)}", Style(bold=run.live)),
            *([Segment(" !", Style(color="red", bold=True))] if run.alerts else []),
        ]
        now_ms = self.board.clock() // 1_000_000
        when = duration(now_ms - run.start_time) if run.live else ago(run.start_time, now_ms).removesuffix(" ago")
        right = [Segment(" "), Segment(f"{when} ", Style(dim=True)), Segment(f"{mark} ", Style.parse(look))]
        return left, right

    # --- keys and mouse ---

    def action_move(self, by: int) -> None:
        """Move the cursor by some rows."""
        self._go_to(self._at + by)

    def action_page(self, by: int) -> None:
        """Move it by a screen."""
        self._go_to(self._at + by * max(self.size.height - 1, 1))

    def action_toggle_row(self) -> None:
        """Open or close the row at the cursor."""
        if self.row is not None:
            self.board.tree.toggle(self.row)
            self.show()
            self.post_message(self.Moved())

    def action_open(self, wanted: bool) -> None:
        """Open the row, or close it; a row that is closed already leads to the one above it."""
        row = self.row
        if row is None:
            return
        if row.has_children and row.open != wanted:
            self.action_toggle_row()
        elif not wanted:
            above = [at for at, each in enumerate(self._rows[: self._at]) if each.depth < row.depth]
            if above:
                self._go_to(above[-1])

    def action_pin(self) -> None:
        """Pin the run at the cursor, or release it."""
        if self.row is not None and self.row.run is not None:
            self.post_message(self.Pinned(self.row.run.run_id))

    def on_click(self, event: events.Click) -> None:
        """Go to the row; on its sign, or a second time, open or close it."""
        at = event.y + int(self.scroll_offset.y)
        if at >= len(self._rows):
            return
        row = self._rows[at]
        on_sign = row.has_children and event.x <= 2 * row.depth + 1
        again = at == self._at and event.chain > 1
        self._go_to(at)
        if on_sign or again:
            self.action_toggle_row()

    def _go_to(self, at: int) -> None:
        at = min(max(at, 0), max(len(self._rows) - 1, 0))
        if not self._rows:
            return
        self._at = at
        self.board.selected = self._rows[at].key
        self._scroll_to_cursor()
        self.show_colours()
        self.post_message(self.Moved())

    def _scroll_to_cursor(self) -> None:
        top, height = int(self.scroll_offset.y), self.size.height
        if self._at < top:
            self.scroll_to(y=self._at, animate=False, immediate=True)
        elif self._at >= top + height:
            self.scroll_to(y=self._at - height + 1, animate=False, immediate=True)
