"""A program in a real terminal: tmux's, whose screen can be looked at as text."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

WAIT_S = 60.0


class Terminal:
    """One window of tmux."""

    def __init__(self, server: str) -> None:
        self._server = server

    def tmux(self, *words: str) -> str:
        command = ["tmux", "-L", self._server, "-f", os.devnull, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=WAIT_S).stdout

    def screen(self, *, styled: bool = False) -> str:
        """What is on the screen, a line each; ``styled`` with its escape sequences."""
        return self.tmux("capture-pane", "-p", *(["-e"] if styled else []))

    def press(self, *keys: str) -> None:
        """Press keys, by tmux's names."""
        self.tmux("send-keys", *keys)

    def click(self, x: int, y: int) -> None:
        """Press and release the mouse's left button at a place, counted from 0; as terminals report it (SGR)."""
        place = f"{x + 1};{y + 1}"
        self.tmux("send-keys", "-l", f"\x1b[<0;{place}M\x1b[<0;{place}m")

    def wait_for(self, shown: Callable[[str], bool], *, still_s: float = 0.0) -> str:
        """The screen as soon as it is as wanted, and has not changed for some seconds."""
        until = time.monotonic() + WAIT_S
        before, since = "", 0.0
        while True:
            screen, now = self.screen(), time.monotonic()
            if screen != before:
                before, since = screen, now
            if shown(screen) and now - since >= still_s:
                return screen
            assert now < until, f"not shown within {WAIT_S:.0f} s:\n{screen}"
            time.sleep(0.1)


@contextmanager
def terminal(
    command: Sequence[str], width: int, height: int, variables: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """Run a program in a window of that size; the test is skipped where there is no tmux."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    window = Terminal(f"mltrack-{uuid.uuid4().hex[:12]}")
    given = [f"{name}={value}" for name, value in (variables or {}).items()]
    line = f"env -u COLUMNS -u LINES {shlex.join([*given, *command])}; echo exit code $?; cat"
    window.tmux("new-session", "-d", "-x", str(width), "-y", str(height), "-c", str(Path.cwd()), line)
    try:
        yield window
    finally:
        window.tmux("kill-server")
