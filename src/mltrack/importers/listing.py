"""The files below a folder of a source, listed before any is copied; a store in it is not part of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO

from mltrack.importers.source import SourceFile

__all__ = ["is_store", "list_files"]

STORE_FILE, RUNS_FOLDER = "store.json", "runs"


def is_store(folders: Sequence[str], files: Sequence[str]) -> bool:
    """Whether a folder with these folders and files is a store of mltrack's."""
    return STORE_FILE in files and RUNS_FOLDER in folders


def list_files(folder: Path, on_error: Callable[[str], None], on_link: Callable[[str], None]) -> Iterator[SourceFile]:
    """Every file with its name relative to the folder, in order. Stores are skipped, as files go into them meanwhile.

    Args:
        folder: The folder.
        on_error: Called with words about a folder that can't be read.
        on_link: Called with the name of a link that is not followed: to a folder, or out of this one.
    """

    def unreadable(error: OSError) -> None:
        on_error(f"{error.filename}: {error.strerror}")

    found: list[SourceFile] = []
    inside = folder.resolve()
    for here, folders, names in os.walk(folder, onerror=unreadable):
        if is_store(folders, names):
            folders.clear()
            continue
        folders.sort()
        for name in folders:
            link = Path(here, name)
            if link.is_symlink():
                on_link(link.relative_to(folder).as_posix())
        for name in sorted(names):
            path = Path(here, name)
            shown = path.relative_to(folder).as_posix()
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                on_link(shown)
            elif path.is_file():
                found.append(SourceFile(shown, path.stat().st_size, partial(_open, path)))
    yield from found


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")
