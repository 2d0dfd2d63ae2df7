"""What a user would want to be told of the place of a store: that it is far away, or next to MLflow's runs."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

__all__ = ["words_on_mlflow", "words_on_place"]

SQLITE = b"SQLite format 3\0"
FAR = 3
"""Folders between the working folder and a store's from which on it is said."""


def words_on_place(store: Path, here: Path | None = None) -> str | None:
    """What to say of a store found upward from ``here``: None if it is near, else where it is and what to do.

    It is far where it lies in the home folder, outside the working folder's git repository, or three folders up.
    """
    try:
        here = here or Path.cwd()
        above = here.relative_to(store.parent).parts
        if not above or not _is_far(store.parent, here, len(above)):
            return None
    except (OSError, ValueError, RuntimeError):  # a working folder that is gone, a store elsewhere, no home folder
        return None
    up = "one folder up" if len(above) == 1 else f"{len(above)} folders up"
    return f"found {up}; for a store in this folder: mltrack --store .mltrack init"


def words_on_mlflow(store: Path, here: Path | None = None) -> str | None:
    """Which command imports the runs that MLflow left in the folder of a store; None if it left none there."""
    folder = store.parent
    found = "mlflow.db" if _is_sqlite(folder / "mlflow.db") else "mlruns" if _has_experiments(folder / "mlruns") else ""
    if not found:
        return None
    try:
        is_here = folder.samefile(here or Path.cwd())
    except OSError:
        is_here = False
    return (
        f"the runs in {found} can be imported: mltrack import {shlex.quote(found if is_here else f'{folder}/{found}')}"
    )


def _is_sqlite(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(SQLITE)) == SQLITE
    except OSError:
        return False


def _has_experiments(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(os.path.exists(f"{entry.path}/meta.yaml") for entry in entries)
    except OSError:
        return False


def _is_far(folder: Path, here: Path, above: int) -> bool:
    if above >= FAR or folder == Path.home():
        return True
    inner = (here, *here.parents)[:above]
    return any(os.path.exists(one / ".git") for one in inner)
