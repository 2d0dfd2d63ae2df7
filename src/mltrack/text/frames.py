"""Output that is printed again and again: in place on a terminal, one after the other in a pipe."""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
import time
from typing import TYPE_CHECKING

from mltrack.text.printing import is_terminal

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["repeat"]


class _Frame(io.StringIO):
    """What is printed meanwhile, as for a terminal."""

    def isatty(self) -> bool:
        """It goes to one."""
        return True


def repeat(
    draw: Callable[[], None], every_s: float, *, apart: bool = True, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Call ``draw``, which prints, again and again, until it is interrupted.

    In a terminal each output takes the place of the one before; what is longer than the screen is cut at its end.
    Elsewhere it follows.

    Args:
        draw: Prints to standard output, and notes to standard error.
        every_s: How long to wait in between, in seconds.
        apart: Put an empty line between two outputs where they follow each other.
        sleep: Waits.
    """
    shown = 0
    first = True
    while True:
        if is_terminal():
            shown = _redraw(draw, shown)
        else:
            if not first and apart:
                sys.stdout.write("\n")
            draw()
            sys.stdout.flush()
        first = False
        sleep(every_s)


def _redraw(draw: Callable[[], None], shown: int) -> int:
    """Draw over the last ``shown`` lines; returns how many lines there are now."""
    frame = _Frame()
    with contextlib.redirect_stdout(frame), contextlib.redirect_stderr(frame):
        draw()
    lines = frame.getvalue().split("\n")[:-1]
    room = max(shutil.get_terminal_size().lines - 1, 1)
    if len(lines) > room:
        hidden = len(lines) - room + 1
        lines = [*lines[: room - 1], f"... {hidden} more lines: make the terminal higher, or use --limit"]
    up = f"\x1b[{shown}A" if shown else ""
    sys.stdout.write(f"{up}\r\x1b[J" + "".join(line + "\n" for line in lines))
    sys.stdout.flush()
    return len(lines)
