"""The pages of docs/examples: their code, taken from the page and run as it stands.

A block whose opening line has a title (```` ```python title="train.py" ````) is that file. ``sh`` blocks are
typed in a shell, in the folder of those files and in the order of the page. ``console`` blocks are typed elsewhere: in
a window of their own, on a cluster, for a cloud. ``text`` blocks are what is printed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.support import ROOT

FOLDER = ROOT / "docs" / "examples"

_BLOCK = re.compile(r"^```(\w+)(?: +title=\"(\S+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block: its language, the file it is (or ""), its text."""

    language: str
    file: str
    text: str


class Page:
    """One page, laid out in a folder as its reader would do it."""

    def __init__(self, name: str, folder: Path, env: Mapping[str, str] | None = None) -> None:
        """``env`` is what the reader's shell has beside the tests' own variables."""
        self.blocks = blocks(FOLDER / name)
        self.folder = folder
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLTRACK_", "MLFLOW_"))}
        path = os.pathsep.join([str(_commands(folder.with_name(f"{folder.name}-bin"))), kept["PATH"]])
        self.env = {**kept, "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true", **(env or {})}
        for block in self.blocks:
            if block.file:
                (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
                (folder / block.file).write_text(block.text, encoding="utf-8")

    @property
    def store(self) -> Path:
        """Where the page's programs record."""
        return self.folder / ".mltrack"

    def commands(self, containing: str = "") -> str:
        """The only ``sh`` block that has these words in it."""
        (found,) = [block.text for block in self.blocks if block.language == "sh" and containing in block.text]
        return found

    def elsewhere(self, containing: str) -> str:
        """The only command of the ``console`` blocks that has these words in it."""
        texts = [block.text.replace("\\\n", "") for block in self.blocks if block.language == "console"]
        commands = [line.removeprefix("$ ") for text in texts for line in text.splitlines() if line.startswith("$ ")]
        (found,) = [command for command in commands if containing in command]
        return found

    def run(self, commands: str) -> str:
        """Type commands in a shell, each of which must succeed; what they print."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextlib.contextmanager
    def started(self, command: str) -> Iterator[subprocess.Popen[str]]:
        """A command that goes on beside the body, in a process group of its own; nothing of it is left afterwards."""
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def _commands(folder: Path) -> Path:
    """A folder with the commands of this Python, wherever its own lie."""
    folder.mkdir(exist_ok=True)
    python = shlex.quote(sys.executable)
    for module in ("", "mltrack", "mlflow", "uvicorn"):
        words = f"{python} -m {module}" if module else python
        command = folder / (module or "python")
        command.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        command.chmod(0o755)
    return folder


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a page."""
    return blocks_in(path.read_text(encoding="utf-8"))


def blocks_in(text: str) -> list[Block]:
    """The fenced blocks of a text."""
    return [Block(*found) for found in _BLOCK.findall(text)]
