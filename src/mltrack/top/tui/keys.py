"""The keys, and the list of them."""

from __future__ import annotations

from typing import ClassVar

from rich.table import Table
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

__all__ = ["BINDINGS", "KEYS", "PANES", "HelpScreen"]

PANES = (
    ("charts", "Charts"),
    ("system", "System"),
    ("run", "Run"),
    ("log", "Log"),
    ("sync", "Sync"),
    ("images", "Images"),
)
"""The panes: their names, and their titles."""

BINDINGS: list[BindingType] = [
    Binding("q,ctrl+c", "quit", "Quit"),
    Binding("question_mark", "help", "Keys", key_display="?"),
    Binding("slash", "ask('filter')", "Filter", key_display="/"),
    Binding("g", "ask('group')", "Group"),
    Binding("x", "ask('x')", "X axis"),
    Binding("l", "log_y", "Log y"),
    Binding("s", "smooth(1)", "Smooth"),
    Binding("S", "smooth(-1)", "Less smooth", show=False),
    Binding("plus,equals_sign", "zoom(True)", "Zoom", key_display="+"),
    Binding("minus", "zoom(False)", "Zoom out", show=False),
    Binding("left_square_bracket", "pan(-0.25)", "Left", show=False),
    Binding("right_square_bracket", "pan(0.25)", "Right", show=False),
    Binding("0", "unzoom", "All", show=False),
    Binding("m", "ask('metrics')", "Metrics"),
    Binding("c", "columns", "Columns", show=False),
    Binding("u", "unpin", "Unpin all", show=False),
    Binding("t", "theme", "Theme", show=False),
    Binding("r", "reload", "Reload", show=False),
    Binding("less_than_sign", "narrow(-4)", "Narrower", show=False),
    Binding("greater_than_sign", "narrow(4)", "Wider", show=False),
    *(Binding(str(at), f"pane('{name}')", title, show=False) for at, (name, title) in enumerate(PANES, 1)),
]
"""The keys that do the same everywhere; those with a title are shown at the bottom."""

KEYS = (
    ("Anywhere", ""),
    ("1 … 6", "charts, system metrics, run, log, sync, images"),
    ("tab", "to the runs, to the pane"),
    ("/", "filter: MLflow's grammar, /REGEX/ on names, or a part of a name"),
    ("m", "only charts of metrics whose names match"),
    ("g", "group by: experiment, parent, params.NAME, tags.NAME, status, user_id"),
    ("x", "the x axis: step, time, clock, or the name of a metric"),
    ("l", "y as logarithm"),
    ("s, S", "more smoothing, less"),
    ("+ -", "zoom in and out, at the crosshair"),
    ("[ ]", "move what is zoomed"),
    ("0", "all of the x axis"),
    ("c", "how many charts next to each other"),
    ("u", "release all pins"),
    ("< >", "width of the list of runs"),
    ("t", "dark or light"),
    ("r", "read again"),
    ("q", "quit"),
    ("Runs", ""),
    ("↑ ↓", "another run or group: its curves are drawn"),
    ("← → enter", "close, open"),
    ("space", "pin: the run stays on the charts"),
    ("Charts", ""),
    ("← →", "move the crosshair (shift: ten at once)"),
    ("↑ ↓ n p", "another chart"),
    ("enter", "one chart with a legend, or all"),
    ("escape", "leave zoom, crosshair, single chart"),
    ("Mouse", ""),
    ("move", "crosshair"),
    ("drag", "zoom to what is between"),
    ("ctrl+wheel", "zoom"),
    ("double click", "one chart, or all; a run: open, close"),
)
"""What keys do, for the screen and for the documentation."""


class HelpScreen(ModalScreen[None]):
    """All keys; any of these closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark,enter", "dismiss", "Close")]

    def compose(self) -> ComposeResult:
        """One table."""
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(style="bold", no_wrap=True)
        table.add_column()
        for key, what in KEYS:
            table.add_row(key, what, style="" if what else "cyan")
        with VerticalScroll(id="help"):
            yield Static(table)
