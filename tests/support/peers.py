"""Other trackers, installed in environments of their own, which write the files of tests again."""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["write_again"]


def write_again(folder: Path, writer: Path, packages: Sequence[str], *arguments: str) -> Path:
    """The folder in which a program wrote, which is started once for each of the arguments, or once without any."""
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
    again = folder / "again"
    again.mkdir()
    environment = {**os.environ, "HOME": str(again), "USER": "ada"}
    for argument in [[each] for each in arguments] or [[]]:
        subprocess.run([python, writer, *argument], cwd=again, check=True, env=environment)
    return again
