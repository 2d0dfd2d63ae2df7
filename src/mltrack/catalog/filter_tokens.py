"""The tokens of filters and orderings, and the errors that show the place of a fault."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from mltrack.errors import FilterError

__all__ = ["DATE_HINT", "Token", "TokenReader", "time_in_ms"]

DATE_HINT = "write a date such as '2026-01-31' or '2026-01-31 18:00', or milliseconds since 1970 in UTC without quotes"


class Token(NamedTuple):
    """A piece of the text: its kind (word, quoted, ticked, number, sign, mark, end), its text, where it starts."""

    kind: str
    text: str
    at: int


_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<quoted>'(?:''|\\'|[^'])*'|"(?:""|\\"|[^"])*")
    | (?P<ticked>`(?:``|[^`])*`)
    | (?P<number>(?<![\w`"])-?(?:\d+(?:\.\d+)?[eE]-?\d+|\d+\.\d*|\.\d+|\d+)(?!\w))
    | (?P<word>\w[$\#\w]*)
    | (?P<sign>[<>=~!]+)
    | (?P<mark>[().,])
    """,
    re.VERBOSE,
)


def _tokens_of(text: str) -> Iterator[Token]:
    """The tokens of a filter or ordering; the last is of kind ``end``.

    Raises:
        FilterError: a character that can't begin a token.
    """
    at = 0
    while at < len(text):
        # after a dot comes a name, though it may begin with digits
        match = _WORD.match(text, at) if text[at - 1 : at] == "." else None
        if match is not None:
            yield Token("word", match[0], at)
        else:
            match = _TOKEN.match(text, at)
            if match is None:
                raise _unreadable(text, at)
            if match.lastgroup != "space":
                yield Token(str(match.lastgroup), match[0], at)
        at = match.end()
    yield Token("end", "", at)


_WORD = re.compile(r"\w[$#\w]*")


def _unreadable(text: str, at: int) -> FilterError:
    if text[at] in "'\"`":
        return _problem(text, at, "a quote that is never closed", "close it with the same kind of quote")
    return _problem(text, at, f"unexpected {text[at]!r}", "put names with such characters between `backticks`")


def _problem(text: str, at: int, what: str, hint: str) -> FilterError:
    """The error for a fault in a filter or ordering.

    Args:
        text: The whole text.
        at: The character of the fault, counted from 0 (in the message from 1).
        what: What is wrong.
        hint: How to fix it.
    """
    shown = text if len(text) <= 120 else text[:117] + "..."
    shown = shown.replace("\n", " ").replace("\r", " ")
    return FilterError(f"{shown!r}, at character {at + 1}: {what}", hint=hint)


def time_in_ms(text: str) -> int | None:
    """A date, with or without a time, in ms since the epoch; without an offset it is local time. None if it is none."""
    try:
        return round(datetime.fromisoformat(text.strip()).timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        return None


class TokenReader:
    """Reads the tokens of a text in order."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._tokens = list(_tokens_of(text))
        self._next = 0

    @property
    def peek(self) -> Token:
        """The next token."""
        return self._tokens[self._next]

    def take(self) -> Token:
        """Consume and return the next token (the last one is never consumed)."""
        token = self.peek
        if token.kind != "end":
            self._next += 1
        return token

    def take_word(self, *words: str) -> str:
        """Consume the next token if it is one of these words, in any case; returns it in capitals, or ''."""
        word = self.peek.text.upper()
        if self.peek.kind == "word" and word in words:
            self._next += 1
            return word
        return ""

    def error(self, what: str, hint: str, at: int | None = None) -> FilterError:
        """The error for a fault at the next token, or at character ``at``."""
        return _problem(self.text, self.peek.at if at is None else at, what, hint)

    def found(self) -> str:
        """The next token for a message."""
        return "the end" if self.peek.kind == "end" else self.peek.text

    def take_adjoining_dot(self) -> bool:
        """Consume the next token if it is a dot without a blank before it; returns whether it was."""
        if self.peek.text != "." or self.peek.at != self.end_of_last():
            return False
        self._next += 1
        return True

    def end_of_last(self) -> int:
        """The character after the last token that was consumed."""
        last = self._tokens[self._next - 1]
        return last.at + len(last.text)
