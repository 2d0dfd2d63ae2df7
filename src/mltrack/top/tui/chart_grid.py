"""Charts next to and below each other: those in view are drawn, with one crosshair through all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from mltrack.text.printable import printable
from mltrack.top.grid import Grid, Rect

if TYPE_CHECKING:
    from textual import events

    from mltrack.top.board import Board
    from mltrack.top.chart import Chart, Line, Reading

__all__ = ["ChartGrid"]

ZOOM_STEP = 0.5
"""How much of the range remains after zooming in once."""

LEGEND_MAX = 12
"""How many lines a legend below a single chart has."""

DIM, BOLD = Style(dim=True), Style(bold=True)


class ChartGrid(ScrollView, can_focus=True):
    """The charts of a board's metrics, or of its system metrics."""

    ALLOW_SELECT = False  # a drag zooms

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "cursor(-1)", "Crosshair", show=False),
        Binding("right", "cursor(1)", "Crosshair", show=False),
        Binding("shift+left", "cursor(-10)", "Crosshair", show=False),
        Binding("shift+right", "cursor(10)", "Crosshair", show=False),
        Binding("up,k", "select(-1, 1)", "Chart above", show=False),
        Binding("down,j", "select(1, 1)", "Chart below", show=False),
        Binding("n", "select(1, 0)", "Next chart", show=False),
        Binding("p", "select(-1, 0)", "Previous chart", show=False),
        Binding("enter", "single", "One chart", show=False),
        Binding("escape", "back", "Back", show=False),
    ]

    class Seen(Message):
        """Other charts are in view."""

    class ViewChanged(Message):
        """The zoom, or the crosshair, changed."""

        def __init__(self, **changes: object) -> None:
            self.changes = changes
            super().__init__()

    def __init__(self, board: Board, *, system: bool, name: str) -> None:
        super().__init__(id=name)
        self.board = board
        self.system = system
        self.palette: tuple[str, ...] = ()
        self.single: str | None = None
        self._metrics: list[str] = []
        self._at = 0
        self._drawn: dict[int, list[Strip]] = {}
        self._charts: dict[int, Chart] = {}
        self._grid: Grid | None = None
        self._drag: tuple[int, float] | None = None

    # --- what is shown ---

    @property
    def metrics(self) -> list[str]:
        """Those whose charts there are."""
        return [self.single] if self.single is not None else self._metrics

    @property
    def grid(self) -> Grid:
        """Where the charts are."""
        return Grid(len(self.metrics), self.size.width, self.size.height, self.board.settings.columns)

    def seen(self) -> tuple[str, ...]:
        """The metrics whose charts are in view."""
        return tuple(self.metrics[at] for at in self.grid.seen(int(self.scroll_offset.y), max(self.size.height, 1)))

    def show(self) -> None:
        """Draw again from the board."""
        self._metrics = self.board.metrics(system=self.system)
        if self.single is not None and self.single not in self._metrics:
            self.single = None
        self._at = min(self._at, max(len(self.metrics) - 1, 0))
        self.virtual_size = Size(self.size.width, self.grid.lines)
        self._charts = {}
        self.show_cursor()

    def show_cursor(self) -> None:
        """Draw the crosshair again."""
        self._drawn = {}
        self.refresh()

    def on_resize(self) -> None:
        """Take another size."""
        self.show()
        self.post_message(self.Seen())

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Read the charts that came into view."""
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self.post_message(self.Seen())

    def on_focus(self) -> None:
        """Show which chart the keys are for."""
        self.show_cursor()

    def on_blur(self) -> None:
        """They are for none."""
        self.show_cursor()

    def render_line(self, y: int) -> Strip:
        """One line of the widget: a part of each chart of a row."""
        width, grid = self.size.width, self.grid
        line = y + int(self.scroll_offset.y)
        base = self.rich_style
        if not self.metrics:
            return Strip([Segment(self._empty_text(y).ljust(width)[:width], base + DIM)])
        row, within = divmod(line, grid.row_height)
        parts = []
        for number in range(row * grid.across, min((row + 1) * grid.across, len(self.metrics))):
            strips = self._strips(number, grid.rect(number))
            parts.append(strips[within])
        return Strip.join(parts).crop_extend(0, width, None).apply_style(base)

    def _empty_text(self, y: int) -> str:
        if y:
            return ""
        if not self.board.loaded:
            return f" {self.board.reading}"
        if self.board.settings.store.metrics and not self.system:
            return f" no metric is like {self.board.settings.store.metrics}"
        return " no system metrics (mltrack run records them)" if self.system else " no metrics"

    # --- drawing ---

    def _strips(self, number: int, rect: Rect) -> list[Strip]:
        if self._grid != self.grid:  # another size: it is drawn before the event that says so
            self._grid, self._drawn, self._charts = self.grid, {}, {}
        found = self._drawn.get(number)
        if found is None:
            found = self._drawn[number] = self._draw(number, rect)
        return found

    def _draw(self, number: int, rect: Rect) -> list[Strip]:
        """The lines of one chart: title and readings, the curves, the x axis; of a single one a legend."""
        from mltrack.top.chart import draw_chart

        metric = self.metrics[number]
        width = rect.width - 1
        chart = self._charts.get(number)
        if chart is None:
            lines = self.board.lines_of(metric)
            legend = min(len(lines), LEGEND_MAX, max(rect.height - 8, 0)) if self.single is not None else 0
            chart = self._charts[number] = draw_chart(lines, self.board.view, width, rect.height - 3 - legend)
        legend = rect.height - 3 - len(chart.rows)
        cursor = None if self.board.view.cursor is None else chart.place(self.board.view.cursor)
        readings = chart.read(self.board.view.cursor)
        strips = [self._title(metric, chart, readings, number, width)]
        strips += [self._chart_row(chart, at, cursor) for at in range(len(chart.rows))]
        strips.append(self._x_axis(chart, cursor))
        if legend:
            strips += self._legend(chart, readings, legend, width)
        blank = Strip.blank(rect.width)
        padded = [strip.adjust_cell_length(rect.width, Style()) for strip in strips]
        return [*padded, *[blank] * (rect.height - len(padded))][: rect.height]

    def _shade(self, line: Line) -> Style:
        return Style(color=self.palette[line.colour]) if self.palette else Style()

    def _bullet(self, chart: Chart, number: int) -> Segment:
        """What a legend has in front of a line: a point in its colour, without colours its letter."""
        return Segment(chart.sign(number) if not self.palette else "●", self._shade(chart.lines[number]))

    def _title(self, metric: str, chart: Chart, readings: list[Reading], number: int, width: int) -> Strip:
        is_here = number == self._at and self.has_focus
        segments = [Segment("▌" if is_here else " ", BOLD), Segment(printable(metric), BOLD), Segment(" ")]
        notes = f" {', '.join(chart.notes)}" if chart.notes else ""
        room = width - sum(segment.cell_length for segment in segments) - len(notes)
        if self.single is None:
            for reading in readings:
                text = f" {reading.text}"
                if len(text) + 1 > room:
                    if room > 0:
                        segments.append(Segment("…", DIM))
                    break
                segments += [self._bullet(chart, reading.line), Segment(f"{text[1:]} ")]
                room -= len(text) + 1
        return Strip([*segments, Segment(notes, DIM)])

    def _chart_row(self, chart: Chart, at: int, cursor: int | None) -> Strip:
        label = chart.labels.get(at, "")
        sign = "┤" if at in chart.labels else "│"
        segments = [Segment(f"{label:>{chart.gutter - 2}} {sign}", DIM)]
        place = 0
        for text, owner in chart.signed_row(at) if not self.palette else chart.rows[at]:
            style = self._shade(chart.lines[owner]) if owner >= 0 else Style()
            if cursor is not None and place <= cursor < place + len(text):
                here = cursor - place
                sign = text[here]
                mark = Segment("│", DIM) if sign == " " else Segment(sign, style + Style(reverse=True))
                segments += [Segment(text[:here], style), mark, Segment(text[here + 1 :], style)]
            else:
                segments.append(Segment(text, style))
            place += len(text)
        return Strip(segments)

    def _x_axis(self, chart: Chart, cursor: int | None) -> Strip:
        from mltrack.top.chart import x_label

        axis = self.board.view.axis
        first, last = (x_label(axis, x) for x in (chart.start, chart.end))
        text = list(f"{first}{last:>{max(chart.width - len(first), len(last) + 1)}}"[: chart.width])
        segments = [Segment(" " * chart.gutter)]
        if cursor is None or self.board.view.cursor is None:
            return Strip([*segments, Segment("".join(text), DIM)])
        here = x_label(axis, self.board.view.cursor)
        start = min(max(cursor - len(here) // 2, 0), max(chart.width - len(here), 0))
        plain = "".join(text)
        return Strip(
            [
                *segments,
                Segment(plain[:start], DIM),
                Segment(here, BOLD),
                Segment(plain[start + len(here) :], DIM),
            ]
        )

    def _legend(self, chart: Chart, readings: list[Reading], count: int, width: int) -> list[Strip]:
        texts, lines = {reading.line: reading.text for reading in readings}, chart.lines
        found = []
        for at, line in enumerate(lines[:count]):
            value = texts.get(at, "-")
            name = printable(line.name)[: max(width - len(value) - 6, 1)]
            segments = [Segment("  "), self._bullet(chart, at), Segment(f" {name}  "), Segment(value, BOLD)]
            if at == count - 1 and len(lines) > count:
                segments.append(Segment(f"   and {len(lines) - count} more", DIM))
            found.append(Strip(segments))
        return found

    # --- keys ---

    def _chart(self) -> Chart | None:
        """The chart that keys are for, as it was drawn."""
        if not self.metrics:
            return None
        self._strips(self._at, self.grid.rect(self._at))
        return self._charts.get(self._at)

    def action_cursor(self, by: int) -> None:
        """Move the crosshair by some characters; the first time it appears at the right."""
        chart = self._chart()
        if chart is None:
            return
        cursor = self.board.view.cursor
        place = None if cursor is None else chart.place(cursor)
        at = chart.width - 1 if place is None else min(max(place + by, 0), chart.width - 1)
        self.post_message(self.ViewChanged(cursor=chart.x_of(at)))

    def action_select(self, by: int, down: int) -> None:
        """Choose the next chart, or that below."""
        step = by * (self.grid.across if down else 1)
        if self.single is not None:
            if not self._metrics:
                return
            here = self._metrics.index(self.single)
            self.single = self._metrics[(here + (1 if by > 0 else -1)) % len(self._metrics)]
            self.show()
            self.post_message(self.Seen())
            return
        self._at = min(max(self._at + step, 0), max(len(self.metrics) - 1, 0))
        rect = self.grid.rect(self._at)
        top, height = int(self.scroll_offset.y), self.size.height
        if rect.y < top or rect.y + rect.height > top + height:
            target = rect.y if rect.y < top else rect.y + rect.height - height
            self.scroll_to(y=target, animate=False, immediate=True)
        self.show_cursor()

    def action_single(self) -> None:
        """Show the chosen chart alone, or all again."""
        if not self.metrics:
            return
        if self.single is not None:
            self.action_back()
            return
        self.single, self._at = self.metrics[self._at], 0
        self.scroll_to(y=0, animate=False, immediate=True)
        self.show()
        self.post_message(self.Seen())

    def action_back(self) -> None:
        """Leave, one after the other: the zoom, the crosshair, the single chart."""
        view = self.board.view
        if view.zoom is not None:
            self.post_message(self.ViewChanged(zoom=None))
        elif view.cursor is not None:
            self.post_message(self.ViewChanged(cursor=None))
        elif self.single is not None:
            self._at = self._metrics.index(self.single) if self.single in self._metrics else 0
            self.single = None
            self.show()
            self.post_message(self.Seen())

    def zoom(self, *, closer: bool, around: float | None = None) -> None:
        """Show less of the x axis, or more up to all of it, around the crosshair or the middle."""
        chart = self._chart()
        if chart is None:
            return
        span = chart.end - chart.start
        cursor = self.board.view.cursor if around is None else around
        middle = chart.start + span / 2 if cursor is None or not chart.start <= cursor <= chart.end else cursor
        share = (middle - chart.start) / span if span else 0.5
        new = span * (ZOOM_STEP if closer else 1 / ZOOM_STEP)
        start, end = middle - new * share, middle + new * (1 - share)
        is_whole = start <= chart.whole[0] and chart.whole[1] <= end
        self.post_message(self.ViewChanged(zoom=None if is_whole else (start, end)))

    def pan(self, by: float) -> None:
        """Move what is shown of the x axis by a part of it."""
        zoom = self.board.view.zoom
        if zoom is not None:
            step = (zoom[1] - zoom[0]) * by
            self.post_message(self.ViewChanged(zoom=(zoom[0] + step, zoom[1] + step)))

    # --- mouse ---

    def _place(self, event: events.MouseEvent) -> tuple[int, float] | None:
        """The chart that the mouse is on, and the x there."""
        number = self.grid.at(event.x, event.y + int(self.scroll_offset.y))
        chart = None if number is None else self._charts.get(number)
        if number is None or chart is None:
            return None
        character = event.x - self.grid.rect(number).x - chart.gutter + 1
        return number, chart.x_of(character)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Read the curves where the mouse is."""
        found = self._place(event)
        if found is not None:
            self.post_message(self.ViewChanged(cursor=found[1]))

    def on_leave(self) -> None:
        """Without the mouse there is nothing to read."""
        if self._drag is None and not self.has_focus:
            self.post_message(self.ViewChanged(cursor=None))

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Choose the chart; a drag begins."""
        self._drag = self._place(event)
        if self._drag is not None:
            self._at = self._drag[0]
            self.show_cursor()

    def on_mouse_up(self, event: events.MouseUp) -> None:
        """The end of a drag: zoom to what is between."""
        found, begun, self._drag = self._place(event), self._drag, None
        if found is None or begun is None or found[0] != begun[0]:
            return
        chart = self._charts[begun[0]]
        start, end = sorted((begun[1], found[1]))
        if end - start > (chart.end - chart.start) / max(chart.width, 1) * 1.5:
            self.post_message(self.ViewChanged(zoom=(start, end)))

    def on_click(self, event: events.Click) -> None:
        """Twice: the chart alone, or all again."""
        if event.chain == 2:
            self.action_single()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """With Ctrl: zoom in where the mouse is."""
        self._wheel(event, closer=True)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """With Ctrl: zoom out."""
        self._wheel(event, closer=False)

    def _wheel(self, event: events.MouseEvent, *, closer: bool) -> None:
        found = self._place(event) if event.ctrl else None
        if found is not None:
            event.stop()
            event.prevent_default()
            self._at = found[0]
            self.zoom(closer=closer, around=found[1])
