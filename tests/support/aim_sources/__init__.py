"""Small repositories that aim wrote in ``/tmp/golden`` by ``write_with_aim.py``, how to unpack and change them."""

from __future__ import annotations

import json
import sqlite3
import struct
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from rocksdict import Options, Rdict

from mltrack.importers.aim.encoding import decode_path, encode_path

__all__ = [
    "NEWEST",
    "NO_CONTEXT",
    "OLDER",
    "WRITER",
    "add_point",
    "chunk_of",
    "number",
    "numbers",
    "put",
    "read_by_aim",
    "run_of",
    "unpack",
]

FOLDER = Path(__file__).parent
WRITER = FOLDER / "write_with_aim.py"
NEWEST, OLDER = "aim-3.29.1", "aim-3.3.5"
"""Places of numbers by hashes of steps, and by steps."""

NO_CONTEXT = -4504863053055089774
"""The number of the empty context."""


def unpack(folder: Path, name: str = NEWEST) -> Path:
    """Unpack an archive into a folder; returns the folder ``.aim``."""
    with tarfile.open(FOLDER / f"{name}.tar.xz") as packed:
        packed.extractall(folder, filter="data")
    return folder / ".aim"


def read_by_aim(folder: Path) -> dict[str, dict[str, list[tuple[int, str]]]]:
    """Steps and values of each metric, named by name and context, by run, as aim itself reads them."""
    read: dict[str, Any] = json.loads((folder / "read.json").read_text())
    return read


def run_of(source: Path, name: str) -> str:
    """aim's id of the run of that name."""
    with closing(sqlite3.connect(source / "run_metadata.sqlite")) as database:
        [found] = database.execute("SELECT hash FROM run WHERE name = ?", [name]).fetchone()
        return str(found)


def chunk_of(source: Path, name: str, part: str = "seqs") -> Path:
    """The folder of the run of that name."""
    return source / part / "chunks" / run_of(source, name)


def number(value: float) -> bytes:
    """A number, as aim stores it."""
    return b"\2" + struct.pack("<q", value) if isinstance(value, int) else b"\3" + struct.pack("<d", value)


def put(source: Path, name: str, values: Mapping[tuple[str | int, ...], bytes], part: str = "seqs") -> None:
    """Set values of a run's database: by their paths from the run's on, or whole ones that begin with ``seqs``."""
    run = run_of(source, name)
    database = Rdict(str(chunk_of(source, name, part)), options=Options(raw_mode=True))
    for path, value in values.items():
        whole = path if path[0] == "seqs" else (part, "chunks", run, *path)
        database[encode_path(*whole)] = value
    database.close()


def add_point(source: Path, name: str, place: int, step: float, value: float) -> None:
    """Set a number of the metric ``loss`` without a context, at a place in its lists."""
    above = ("seqs", "v2", "chunks", run_of(source, name), NO_CONTEXT, "loss")
    parts = {"step": step, "val": value, "time": 1.7e9}
    put(source, name, {(*above, part, place): number(each) for part, each in parts.items()})


def numbers(source: Path, name: str) -> Iterator[tuple[tuple[str | int, ...], bytes]]:
    """Paths and values of the numbers of the metric ``loss`` without a context."""
    prefix = encode_path("seqs", "v2", "chunks", run_of(source, name), NO_CONTEXT, "loss", "val")
    database: Any = Rdict(str(chunk_of(source, name)), options=Options(raw_mode=True))
    found = [(key, value) for key, value in database.items(from_key=prefix) if key.startswith(prefix)]
    database.close()
    yield from ((decode_path(key), value) for key, value in found if key != prefix)
