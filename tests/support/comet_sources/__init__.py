"""Archives that Comet 3.58.8 wrote in ``/tmp/golden`` by ``write_with_comet.py``, how to unpack and change them."""

from __future__ import annotations

import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["FIRST", "SECOND", "WRITER", "archive_of", "change_messages", "message", "unpack", "write_archive"]

FOLDER = Path(__file__).parent
WRITER = FOLDER / "write_with_comet.py"
FIRST, SECOND = "f" * 32, "5" * 32
"""The ids of the two experiments; the first one has two archives."""


def unpack(folder: Path) -> Path:
    """Unpack them into a folder; returns the folder ``archives``."""
    with tarfile.open(FOLDER / "comet-3.58.8.tar.xz") as packed:
        packed.extractall(folder, filter="data")
    return folder / "archives"


def archive_of(source: Path, run: str) -> Path:
    """The first archive of an experiment."""
    return source / f"{run}.zip"


def message(name: str, value: object, step: int | None, time: int = 1_700_000_000_000) -> bytes:
    """A line of a number; the time in ms."""
    metric = {"metricName": name, "metricValue": value, "step": step, "epoch": None}
    return json.dumps({"payload": {"local_timestamp": time, "metric": metric}, "type": "metric_msg"}).encode() + b"\n"


def change_messages(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change the messages of an archive."""
    with zipfile.ZipFile(path) as packed:
        members = {name: packed.read(name) for name in packed.namelist()}
    members["messages.json"] = change(members["messages.json"])
    write_archive(path, members)


def write_archive(path: Path, members: dict[str, bytes]) -> None:
    """Write an archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members.items():
            packed.writestr(name, data)
