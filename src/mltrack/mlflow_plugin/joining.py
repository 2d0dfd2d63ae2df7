"""A run that the program itself records: MLflow's runs join it instead of being made (``mltrack.autolog``)."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mltrack.environment import PARENT_TAG

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mltrack.store import Store

__all__ = ["RecordedRun", "join_runs", "run_to_join", "sets_status"]


class RecordedRun(Protocol):
    """What is needed of the program's run here."""

    @property
    def run_id(self) -> str:
        """Its id."""

    @property
    def ended(self) -> bool:
        """Whether the program has ended it."""


@dataclass(slots=True)
class _Joined:
    run: RecordedRun
    open: int = 0
    """How often MLflow started it and has not ended it yet."""


_find: Callable[[Store], RecordedRun | None] | None = None
_joined: dict[str, _Joined] = {}
_lock = threading.Lock()


def join_runs(find: Callable[[Store], RecordedRun | None] | None) -> None:
    """From now on a run that MLflow starts is the one that ``find`` finds for a store, if it finds one."""
    global _find
    _find = find


def run_to_join(store: Store, tags: Mapping[str, str | None]) -> str | None:
    """The id of the run to go on with instead of making one; None for a child run, and where there is none."""
    found = None if _find is None or PARENT_TAG in tags else _find(store)
    if found is None:
        return None
    with _lock:
        _joined.setdefault(found.run_id, _Joined(found)).open += 1
    return found.run_id


def sets_status(run_id: str, *, ends: bool) -> bool:
    """Whether a status that MLflow gives to this run counts.

    While the program records the run, its status is the program's. So is the one it ended with: for each time that
    MLflow started the run, it says once that this has ended, and it may do so late (at its exit). Anything that it
    says afterwards, or that starts the run again, is somebody's wish and counts.

    Args:
        run_id: any run.
        ends: whether the status is one that a run ends with.
    """
    with _lock:
        joined = _joined.get(run_id)
        if joined is None:
            return True
        outstanding = joined.open > 0
        if ends and outstanding:
            joined.open -= 1
        if not joined.run.ended or (ends and outstanding):
            return False
        del _joined[run_id]
        return True
