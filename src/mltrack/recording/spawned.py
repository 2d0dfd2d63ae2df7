"""The active run in children of multiprocessing that are not forked (spawn, forkserver): they log to it, too.

Such a child gets nothing of its parent but what is pickled with its ``Process``. That has a mapping for settings that
children inherit. What is put there is pickled when the child is started, as the run that is active then, and in the
thread that starts it.
"""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING

from mltrack.process.exits import PACKAGES
from mltrack.process.trouble import TROUBLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping
    from typing import Any

    from mltrack.recording.run import Run

__all__ = ["inherited_run", "offer_to_children"]

SETTING = "mltrack.active_run"


class _ActiveRun:
    """Pickled, it is the bytes of the pickled run: a child that logs nothing does not even import mltrack."""

    def __init__(self, find: Callable[[], Run | None]) -> None:
        self._find = find

    def __reduce__(self) -> tuple[type[bytes], tuple[bytes]]:
        run = self._find()
        return bytes, (b"" if run is None else pickle.dumps(run),)


def offer_to_children(find: Callable[[], Run | None]) -> None:
    """Let the children that this process starts inherit the run that ``find`` returns when they are started."""
    try:
        import multiprocessing.process  # noqa: F401  # a program may well import it after its run has started
    except TROUBLE:
        return  # then it can start no such children
    for settings in _settings():
        settings[SETTING] = _ActiveRun(find)


def inherited_run() -> Run | None:
    """The run that was active in the process that started this one, if multiprocessing started it as a new program."""
    for settings in _settings():
        pickled = settings.get(SETTING)
        if isinstance(pickled, bytes) and pickled:
            run: Run = pickle.loads(pickled)
            return run
    return None


def _settings() -> Iterator[MutableMapping[str, Any]]:
    """What children inherit, of the standard library's multiprocessing and the copy of it that is in use."""
    for package in PACKAGES:
        module = sys.modules.get(f"{package}.process")
        settings = getattr(module.current_process(), "_config", None) if module is not None else None
        if isinstance(settings, dict):
            yield settings
