"""The line at the top: which store, how many runs, and what was chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.widgets import Static

from mltrack.text.counting import plural
from mltrack.text.printable import printable

if TYPE_CHECKING:
    from mltrack.top.board import Board

__all__ = ["Head"]


class Head(Static):
    """The line, for a board."""

    DEFAULT_CSS = """
    Head { height: 1; background: $panel; color: $foreground; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    def __init__(self, board: Board) -> None:
        super().__init__(id="head")
        self.board = board
        self._shown = Text()

    def show(self) -> None:
        """Draw again from the board."""
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append("mltrack", "bold")
        # the first look takes no more runs than it needs
        text.append(f"  {plural(len(self.board.tree.lines), 'run') if self.board.loaded else self.board.reading}")
        live = sum(line.live for line in self.board.tree.lines)
        if live:
            text.append(f"  {live} live", "green")
        if self.board.damaged:
            text.append(f"  {plural(self.board.damaged, 'damaged place')}: mltrack check", "red")
        for words in self._chosen():
            text.append(f"  {printable(words)}")
        text.append(f"  {printable(str(self.board.layout.root))}", "dim")
        if text != self._shown:
            self._shown = text
            self.update(text)

    def _chosen(self) -> list[str]:
        kept, view = self.board.settings.store, self.board.view
        words = []
        if kept.filter:
            words.append(f"filter: {kept.filter}")
        if kept.group_by != "experiment":
            words.append(f"by {kept.group_by}")
        if kept.metrics:
            words.append(f"metrics: {kept.metrics}")
        words.append(f"x: {view.axis.title}")
        if view.log_y:
            words.append("log y")
        if view.smoothing:
            words.append(f"smooth {view.smoothing:g}")
        if view.zoom is not None:
            words.append("zoomed")
        if kept.pins:
            words.append(f"{len(kept.pins)} pinned")
        return words
