"""The line at the bottom that asks for a filter, a grouping, an axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.suggester import SuggestFromList
from textual.widgets import Input, Static

if TYPE_CHECKING:
    from collections.abc import Iterable

    from textual.app import ComposeResult

__all__ = ["HINTS", "QuestionLine"]

HINTS = {
    "filter": "metrics.loss < 0.5 and params.opt = 'adam', /REGEX/, or a part of a name",
    "metrics": "regular expression for names of metrics",
    "group": "experiment, parent, params.NAME, tags.NAME, status, user_id",
    "x": "step, time, clock, or the name of a metric",
}
"""What can be answered to each question."""


class QuestionLine(Horizontal):
    """One question at a time; it is not seen while there is none."""

    DEFAULT_CSS = """
    QuestionLine { height: 1; display: none; }
    QuestionLine.asked { display: block; }
    QuestionLine Static { width: auto; padding: 0 1; text-style: bold; }
    QuestionLine Input { width: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close", "Leave", show=False)]

    class Answered(Message):
        """An answer to a question; it is closed by ``close`` if the answer makes sense."""

        def __init__(self, what: str, text: str) -> None:
            self.what = what
            self.text = text
            super().__init__()

    class Closed(Message):
        """There is no question any more."""

    def __init__(self) -> None:
        super().__init__(id="question")
        self.answer = Input(id="answer", compact=True)
        self._label = Static()
        self._what = ""

    def compose(self) -> ComposeResult:
        """The name of what is asked, and the answer."""
        yield self._label
        yield self.answer

    def ask(self, what: str, now: str, suggestions: Iterable[str] = ()) -> None:
        """Ask a question.

        Args:
            what: one of HINTS.
            now: the answer as it is.
            suggestions: answers that are completed.
        """
        self._what = what
        self._label.update(f"{what}:")
        self.answer.suggester = SuggestFromList(suggestions)
        self.answer.placeholder = HINTS[what]
        self.answer.value = now
        self.answer.action_select_all()
        self.add_class("asked")
        self.answer.focus()

    def action_close(self) -> None:
        """Leave the question."""
        self.close()

    def close(self) -> None:
        """There is no question any more."""
        self.remove_class("asked")
        self.post_message(self.Closed())

    def on_input_submitted(self, message: Input.Submitted) -> None:
        """Hand the answer on."""
        message.stop()
        self.post_message(self.Answered(self._what, message.value.strip()))
