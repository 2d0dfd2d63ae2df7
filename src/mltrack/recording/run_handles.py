"""A run that is handed on by pickle: in another process it arrives as a handle that joins it.

In the process that records it, in a forked child too, a copy is the very same object. Elsewhere the handle is a writer
of its own from its first call on. It never ends the run: its ``end``, or a ``with`` around it, lets go of its own part,
and so does the end of its process. Whoever is to decide how the run ends goes on with it by ``start_run(run_id=)``.
"""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltrack.disk.layout import Layout
from mltrack.journal.recorder import Recorder
from mltrack.process.ending import AtEnd

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mltrack.recording.run import Run

__all__ = ["keep", "pack"]

_here: weakref.WeakValueDictionary[str, Run] = weakref.WeakValueDictionary()  # by the writer a run had at first
_arrived: dict[str, Run] = {}  # the handles among them: kept, so that a worker's next task finds its writer again
_lock = threading.RLock()


def keep(run: Run, key: str) -> None:
    """Let copies of a run find it in this process."""
    with _lock:
        _here[key] = run


def pack(run: Run, key: str) -> tuple[Callable[..., Run], tuple[Any, ...]]:
    """What pickle takes for a run."""
    layout = run._recorder.layout
    return _arrive, (key, str(layout.root), layout.store_id, run.run_id, run.name, dict(run._params), run.ended)


def _arrive(key: str, root: str, store_id: str, run_id: str, name: str, params: Mapping[str, str], ended: bool) -> Run:
    from mltrack.recording.run import Run

    with _lock:
        run = _here.get(key)
        if run is not None and (ended or not run.ended or key not in _arrived):
            return run
        layout = Layout(Path(root), store_id)
        run = Run(layout, Recorder(layout, layout.run(run_id), "fork", joins=True), params=params, name=name, key=key)
        if ended:
            run._ended = True
            run._recorder.close()  # which has made nothing yet
        _arrived[key] = run
        AT_END.hold()
        return run


def _let_go(status: str) -> None:
    for run in list(_arrived.values()):
        run.end()


AT_END = AtEnd(_let_go)


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)
