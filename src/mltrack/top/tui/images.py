"""The pane of images: as pixels where the terminal has Kitty's protocol or sixels, else as coloured blocks."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from mltrack.extras import is_installed
from mltrack.text.printable import printable

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from mltrack.top.board import Board

__all__ = ["ImagePane"]


class ImagePane(Vertical, can_focus=True):
    """One of the run's images, and its place among them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,n,down,j", "turn(1)", "Next image", show=False),
        Binding("left,p,up,k", "turn(-1)", "Previous image", show=False),
    ]

    def __init__(self, board: Board, *, name: str) -> None:
        super().__init__(id=name)
        self.board = board
        self._at = 0
        self._name = ""
        self._caption = Static("", id="image-name")

    def compose(self) -> ComposeResult:
        """The caption; images come and go below it."""
        yield self._caption

    def action_turn(self, by: int) -> None:
        """Show the next one."""
        if self.board.images:
            self._at = (self._at + by) % len(self.board.images)
            self.show()

    def show(self) -> None:
        """Draw again from the board."""
        images = self.board.images
        if not images:
            self._caption.update("no images: run.log_image, or artifacts named .png or .jpg")
            self._replace("")
            return
        if not is_installed("textual_image"):
            self._caption.update("images need textual-image: pip install 'mltrack-local[tui]'")
            return
        self._at = min(self._at, len(images) - 1)
        image = images[self._at]
        turn = "; n next, p previous" if len(images) > 1 else ""
        self._caption.update(Text(f"{printable(image.title)}  ({self._at + 1} of {len(images)}{turn})"))
        self._replace(str(image.path))

    def _replace(self, path: str) -> None:
        if path == self._name:
            return
        self._name = path
        for old in self.query(".picture"):
            old.remove()
        if not path:
            return
        from PIL import Image as Pictures
        from PIL import UnidentifiedImageError

        widget = _image_widget(self)
        try:
            with Pictures.open(path) as opened:
                opened.load()
                self.mount(widget(opened.copy(), classes="picture"))
        except (OSError, UnidentifiedImageError, ValueError, Pictures.DecompressionBombError) as error:
            self._caption.update(Text(f"{printable(path)}: {printable(str(error))}"))


def _image_widget(pane: ImagePane) -> type:
    """The kind of widget that suits the terminal.

    The first time, the terminal is asked what it can: its answer would be taken for keys while Textual reads them.
    """
    import sys

    if "textual_image.widget" not in sys.modules:
        with contextlib.suppress(SuspendNotSupported), pane.app.suspend():
            import textual_image.widget
    import textual_image.widget

    found: type = textual_image.widget.Image
    return found
