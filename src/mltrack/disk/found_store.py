"""Whether a store that was found by looking upward is one that its user would think of."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["words_on_place"]

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


def _is_far(folder: Path, here: Path, above: int) -> bool:
    if above >= FAR or folder == Path.home():
        return True
    inner = (here, *here.parents)[:above]
    return any(os.path.exists(one / ".git") for one in inner)
