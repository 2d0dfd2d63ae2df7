"""Output as plain text: without escape sequences, and with only the last state of progress bars."""

from __future__ import annotations

import re

__all__ = ["LineFilter"]

HELD_BYTES_MAX = 1 << 16
"""How long a line that is overwritten repeatedly may be."""

ESCAPE_BYTES_MAX = 4096
"""How long an escape sequence may be; a longer one is treated as text."""

ROWS_MAX = 200
"""How many of the last rows may be overwritten; those above are final. As many plain lines end a block of rows."""

_ESCAPE = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[ -/]+[0-~]|[0-OQ-WYZ\\`-~])"
)
_OPEN_ESCAPE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?|[PX^_][^\x1b]*\x1b?|[ -/]*)\Z")
_MOVE = re.compile(rb"\x1b\[(\d*)([ABEF])\Z")
_STEP = re.compile(rb"[\r\n]|\x1b\[\d*[AB]")


class LineFilter:
    """Removes escape sequences and text that is overwritten, by carriage returns or by moving the cursor up.

    Lines without any pass at once; a line with a carriage return is held until it ends, and rows that the cursor
    returned to are held until it is too far below them.
    """

    def __init__(self) -> None:
        self._held = b""  # the visible part of a line being overwritten; begins with a carriage return
        self._cut = b""  # an incomplete escape sequence
        self._rows: _Rows | None = None

    def feed(self, data: bytes) -> bytes:
        """Process some output; returns the part that is final."""
        if b"\x1b" in data or self._cut:
            data = self._without_escapes(self._cut + data)
        if self._rows is not None:
            return self._to_rows(data)
        if b"\x1b" in data:
            before, _, rest = data.partition(b"\x1b")
            final = self._on_lines(before)
            # earlier lines are out already; the cursor is at the first of the rows that are kept from here on
            final += self._end_line() if self._held else b"" if final.endswith(b"\n") else b"\n"
            self._rows = _Rows()
            return final + self._to_rows(b"\x1b" + rest)
        return self._on_lines(data)

    def end(self) -> bytes:
        """The text that is still held."""
        self._cut = b""
        if self._rows is not None:
            rows, self._rows = self._rows, None
            return rows.end()
        return self._end_line()

    def _end_line(self) -> bytes:
        held, self._held = self._held, b""
        return _shown(held) + b"\n" if held else b""

    def _without_escapes(self, data: bytes) -> bytes:
        """Remove all but those that move the cursor up or down; an incomplete one is held."""
        self._cut = b""
        found = _OPEN_ESCAPE.search(data, max(0, len(data) - ESCAPE_BYTES_MAX))
        if found is not None:
            data, self._cut = data[: found.start()], found[0]
        return _ESCAPE.sub(_moves, data)

    def _on_lines(self, data: bytes) -> bytes:
        if not self._held and b"\r" not in data:
            return data
        text = (self._held + data).replace(b"\r\n", b"\n")
        *lines, last = text.split(b"\n")
        final = b"".join(_shown(line) + b"\n" for line in lines)
        if b"\r" not in last:
            self._held = b""
            return final + last
        ending = b"\r" if last.endswith(b"\r") else b""  # its line break may be the next byte
        self._held = b"\r" + _shown(last)[-HELD_BYTES_MAX:] + ending
        return final

    def _to_rows(self, data: bytes) -> bytes:
        assert self._rows is not None
        final = self._rows.feed(data)
        if self._rows.lines_since_move > ROWS_MAX:
            final += self._rows.end(unfinished=True)
            self._rows = None
        return final


def _moves(match: re.Match[bytes]) -> bytes:
    """A cursor movement in a normal form: up or down, and a carriage return if it goes to the row's start."""
    found = _MOVE.match(match[0])
    if found is None:
        return b""
    count, way = found.groups()
    move = b"\x1b[" + count[:4] + (b"A" if way in b"AF" else b"B")
    return move + b"\r" if way in b"EF" else move


def _shown(line: bytes) -> bytes:
    """The visible part of a line: what follows its last carriage return that is followed by anything."""
    return line.rstrip(b"\r").rpartition(b"\r")[2]


class _Rows:
    """The last rows of a screen, each as it was last written."""

    def __init__(self) -> None:
        self.lines_since_move = 0
        self._rows = [b""]
        self._at = 0
        self._overwrites = True  # the next text overwrites the row
        self._reach = 1  # the farthest the cursor went up

    def feed(self, data: bytes) -> bytes:
        """Process output whose only escape sequences are cursor movements; returns the part that is final."""
        position = 0
        final: list[bytes] = []
        for step in _STEP.finditer(data):
            self._write(data[position : step.start()])
            position = step.end()
            self._step(step[0])
            if len(self._rows) > self._reach + 2:
                final.append(self._rows.pop(0) + b"\n")
                self._at = max(0, self._at - 1)
        self._write(data[position:])
        return b"".join(final)

    def end(self, *, unfinished: bool = False) -> bytes:
        """The remaining rows; ``unfinished``: the last row may continue."""
        while len(self._rows) > 1 and not self._rows[-1] and not unfinished:
            self._rows.pop()
        text = b"\n".join(self._rows)
        return text if unfinished or not text else text + b"\n"

    def _write(self, text: bytes) -> None:
        text = text.replace(b"\x1b", b"")
        if text:
            self._rows[self._at] = text if self._overwrites else (self._rows[self._at] + text)[-HELD_BYTES_MAX:]
            self._overwrites = False

    def _step(self, step: bytes) -> None:
        if step == b"\n":
            self._down(1)
            self.lines_since_move += 1
        elif step != b"\r":
            self.lines_since_move = 0
            count = min(int(step[2:-1] or b"1") or 1, ROWS_MAX)
            if step.endswith(b"B"):
                self._down(count)
            else:
                self._reach = max(self._reach, count)
                self._at = max(0, self._at - count)
        self._overwrites = True

    def _down(self, count: int) -> None:
        self._at += count
        self._rows += [b""] * (self._at + 1 - len(self._rows))
