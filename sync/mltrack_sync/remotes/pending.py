"""Whether a run waits for a remote, and since when: by the ledger, whatever the remote's kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack_sync.ledger.ledger import RunEntry

if TYPE_CHECKING:
    from mltrack.entities import RunHead
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack_sync.ledger.view import LedgerView

__all__ = ["is_run_pending", "pending_since"]

_ALL = 1 << 40


def is_run_pending(head: RunHead, state: LedgerView) -> bool:
    """Whether something was written to a run, up to this head, since all of it was sent."""
    entry = state.runs.get(head.run_id)
    return entry is None or not entry.is_settled_at(head)


def pending_since(run: StoredRun, state: LedgerView, first_event: int = 0) -> list[int]:
    """When what waits of a run was recorded, at the earliest, in ns: each writer's first, nothing where nothing waits.

    Points count as recorded after their writer's start. ``first_event`` is when the first event that waits was
    recorded, where that is known.
    """
    entry = state.runs.get(run.run_id) or RunEntry()
    opened = {writer.writer: writer.opened for writer in run.writers()}
    times = [first_event] if first_event else [event.time for event in run.read_events(entry.events)[:1]]
    for writer, since in opened.items():
        only = {other: _ALL for other in opened if other != writer}  # the first piece of each writer is enough
        first = next(run.read_points({**only, writer: entry.points.get(writer, 0)}), None)
        if first is not None:
            times.append(max(int(first[1].times[0]), since))
    return times
