"""What a command prints in a terminal, without its colours."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path

_STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def in_terminal(store: Path, *args: str, width: int = 120) -> str:
    """Run the command line on ``store`` in a pseudo-terminal of that width."""
    shown = bytes_in_terminal(["-m", "mltrack", "--store", str(store), *args], width=width)
    return _STYLE.sub("", shown.decode()).replace("\r\n", "\n")


def bytes_in_terminal(args: Sequence[str], *, width: int = 120, **variables: str) -> bytes:
    """The bytes that come to a terminal from Python started with ``args`` and more environment ``variables``."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(width), **variables}
    process = subprocess.Popen([sys.executable, *args], stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    process.wait(60)
    return shown
