"""Watches the live runs of a store, those that start meanwhile too, and asks SQL rules of it."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from mltrack.disk.layout import is_run_id
from mltrack.errors import MltrackError, NotFoundError
from mltrack.guards.watcher import RunWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mltrack.entities import Alert
    from mltrack.guards.rules import Guard
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack.store import Store

__all__ = ["LIST_EVERY_S", "StoreWatch", "ask"]

LIST_EVERY_S = 10.0
"""How often the catalog is asked for live runs; new ones are seen at once by the marks that they leave."""

QUERY_TIMEOUT_S = 10.0
"""How long a SQL rule may take, in seconds: others wait for it."""


class StoreWatch:
    """The guards of all live runs of a store."""

    def __init__(
        self,
        store: Store,
        guards: Sequence[Guard],
        *,
        only: Sequence[str] = (),
        on_alert: Callable[[StoredRun, Alert], None] = lambda run, alert: None,
        on_trouble: Callable[[str], None] = lambda words: None,
        clock: Callable[[], int] = time.time_ns,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch a store; ``only`` these runs, if any are named."""
        self._store = store
        self._guards = list(guards)
        self._only = set(only)
        self._on_alert = on_alert
        self._on_trouble = on_trouble
        self._ticks = ticks
        self._watched: dict[str, RunWatch] = {}
        self._ended: list[RunWatch] = []
        self._listed_at: float | None = None
        self._marks: set[str] | None = None
        self._said: set[str] = set()
        self._began_ns = clock()

    @property
    def watched(self) -> list[str]:
        """The ids of the runs that are watched now."""
        return sorted(self._watched)

    def look(self) -> None:
        """Look for runs that were started, and at those that are live."""
        for run_id in self._found():
            if run_id not in self._watched and (not self._only or run_id in self._only):
                self._start(run_id)
        for run_id, watch in list(self._watched.items()):
            try:
                live = watch.look()
                if not live:
                    watch.say_unseen()
            except NotFoundError:
                live = not self._is_here()
            except OSError as error:  # of a disk that may come back
                self._say_once(f"run {run_id} can't be read now, and is tried again: {error}")
                live = True
            if not live:
                self._ended = [one for one in self._ended if one.busy]
                self._ended.append(self._watched.pop(run_id))

    def close(self) -> None:
        """Wait for commands and webhooks."""
        for watch in (*self._watched.values(), *self._ended):
            watch.close()

    def _start(self, run_id: str) -> None:
        with contextlib.suppress(NotFoundError, OSError):  # not written yet: its mark is there a moment before
            watch = RunWatch(
                self._store.layout,
                run_id,
                self._guards,
                query=lambda sql, of: ask(self._store, sql, of),
                on_alert=self._on_alert,
                on_trouble=self._on_trouble,
            )
            state = watch.run.state
            if state.elsewhere is None and (state.live or state.episode >= self._began_ns):  # not one that was copied
                self._watched[run_id] = watch

    def _found(self) -> set[str]:
        """Runs that may be live: those with a new mark of a writer, and now and then those that the catalog knows."""
        marks = _names(self._store)
        if marks is None:
            marks = self._marks or set()
        new = marks if self._marks is None else marks - self._marks
        found = {name.partition(".")[0] for name in new if is_run_id(name.partition(".")[0])}
        if self._marks is None:  # there from before: only what is live counts
            found = set()
        self._marks = marks
        if self._listed_at is None or self._ticks() - self._listed_at >= LIST_EVERY_S:
            self._listed_at = self._ticks()
            try:
                found |= {run_id for run_id, head in self._store.heads().items() if head.live}
                if self._is_here():
                    self._said.clear()
            except (MltrackError, OSError) as error:  # of a disk that may come back
                self._say_once(f"{self._store.path} can't be read now, and is tried again: {error}")
        return found

    def _is_here(self) -> bool:
        """Whether the store is, as a network disk or a mount may go and come back; said where it is not."""
        if self._store.path.is_dir():
            return True
        self._say_once(f"{self._store.path} is gone; watching goes on once it is back")
        return False

    def _say_once(self, words: str) -> None:
        """Say what could not be read, until the store could be read again."""
        if words not in self._said:
            self._said.add(words)
            self._on_trouble(words)


def _names(store: Store) -> set[str] | None:
    """The marks that writers have left; None where they can't be listed now."""
    import os

    try:
        return set(os.listdir(store.layout.changed))
    except FileNotFoundError:
        return None if not store.path.is_dir() else set()
    except OSError:
        return None


def ask(store: Store, sql: str, run_id: str) -> str | None:
    """The first row of a query, in words; None if it gives none. ``$run_id`` in it is the run.

    Raises:
        UsageError: the query fails.
    """
    params = {"run_id": run_id} if "$run_id" in sql else None
    rows = store.sql(sql, params, timeout_s=QUERY_TIMEOUT_S).slice(0, 1).to_pylist()
    if not rows:
        return None
    return ", ".join(f"{name} = {value}" for name, value in rows[0].items())[:300]
