"""The active run in children of multiprocessing that are not forked: they log to it, too."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

from mltrack.recording.child_settings import inherited, offer

if TYPE_CHECKING:
    from collections.abc import Callable

    from mltrack.recording.run import Run

__all__ = ["inherited_run", "offer_to_children"]

SETTING = "mltrack.active_run"


def offer_to_children(find: Callable[[], Run | None]) -> None:
    """Let the children that this process starts inherit the run that ``find`` returns when they are started."""

    def pickled() -> bytes:
        run = find()
        return b"" if run is None else pickle.dumps(run)

    offer(SETTING, pickled)


def inherited_run() -> Run | None:
    """The run that was active in the process that started this one, if multiprocessing started it as a new program."""
    pickled = inherited(SETTING)
    if not pickled:
        return None
    run: Run = pickle.loads(pickled)
    return run
