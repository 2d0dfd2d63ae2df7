"""How much of a run's history goes to a remote: who says so, and what changes in the ledger when that changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mltrack.environment import HISTORY_TAG
from mltrack.errors import UsageError
from mltrack_sync.ledger.runs import EVERYTHING, RunEntry, Sampled
from mltrack_sync.remotes.settings import parse_history

if TYPE_CHECKING:
    from mltrack.storage.runs.stored_run import StoredRun

__all__ = ["HistorySetting", "Positions", "find_positions"]


@dataclass(frozen=True, slots=True)
class HistorySetting:
    """What one sync asks for, and what the remote is set to: points of a metric, 0 for all, None where nothing is said.

    What the sync asks for comes first, then what the run says (``start_run(history=)``), then the remote. Where nobody
    says anything, a run goes on as it was begun; a new one goes whole.
    """

    asked: int | None = None
    remote: int | None = None

    def of(self, tags: Mapping[str, str], entry: RunEntry) -> tuple[int, bool]:
        """The history of a run, and whether the run itself says so."""
        if self.asked is not None:
            return self.asked, False
        own = _own_history(tags)
        if own is not None:
            return own, True
        return (entry.sampled.history if self.remote is None else self.remote), False

    def may_differ(self, entry: RunEntry) -> bool:
        """Whether a run of which everything was sent may have to be looked at, for another history is asked for now.

        Of a run that is there whole, nothing is to be done.
        """
        wanted = self.remote if self.asked is None else self.asked
        pinned = entry.sampled.pinned and self.asked is None
        return bool(entry.sampled.history) and wanted not in (None, entry.sampled.history) and not pinned


def _own_history(tags: Mapping[str, str]) -> int | None:
    """The history in a run's tag; None where it has none, or one that is not a number of points."""
    try:
        return parse_history(tags[HISTORY_TAG])
    except (KeyError, UsageError):
        return None


@dataclass(frozen=True, slots=True)
class Positions:
    """How a run's points go from now on: ``sampled``; positions by writer, and which are in doubt, as in the ledger."""

    sampled: Sampled = field(default_factory=Sampled)
    points: Mapping[str, int] = field(default_factory=dict)
    following: Mapping[str, int] | str = field(default_factory=dict)

    @classmethod
    def of(cls, entry: RunEntry) -> Positions:
        """As the ledger says."""
        return cls(entry.sampled, dict(entry.points), EVERYTHING if entry.doubt_all else dict(entry.doubt))


def find_positions(run: StoredRun, entry: RunEntry, setting: HistorySetting) -> Positions:
    """How a run's points are to go by a setting, from where the ledger says that they are."""
    history, pinned = setting.of(run.tags, entry)
    if not history and not entry.sampled.history:
        return Positions.of(entry)
    found = _switched(Positions.of(entry), history)
    if not history:
        return found
    sampled, points = replace(found.sampled, pinned=pinned), dict(found.points)
    counts = {writer.writer: writer.position.points for writer in run.writers()}
    ended = dict(sampled.ended)
    for writer, count in sampled.ended.items():
        if counts.get(writer, 0) > count:  # it was taken for dead, or its files came in parts
            points[writer] = min(points.get(writer, 0), count)
            sampled = replace(sampled, mixed=True)
            del ended[writer]
    dead = [writer.writer for writer in run.writers() if not writer.alive]
    ended |= {writer: counts[writer] for writer in dead if counts.get(writer) and writer not in ended}
    return Positions(replace(sampled, ended=ended), points, found.following)


def _switched(now: Positions, history: int) -> Positions:
    """The same for another history. Points that may be there are then compared with the remote before they go."""
    sampled = now.sampled
    if history == sampled.history:
        return now
    if now.following == EVERYTHING:
        mixed = bool(history) and any(now.points.values())
        return Positions(Sampled(history, mixed=mixed), dict.fromkeys(now.points, 0), EVERYTHING)
    doubt = now.following if isinstance(now.following, Mapping) else {}
    if not sampled.history:  # all points up to the positions are there
        whole = {writer: end for writer, end in now.points.items() if end}
        return Positions(Sampled(history, whole, mixed=bool(doubt)), now.points, now.following)
    reach = {writer: max(end, doubt.get(writer, 0)) for writer, end in {**doubt, **now.points}.items()}
    points = {writer: sampled.whole.get(writer, 0) for writer in now.points}
    if not history:
        return Positions(Sampled(), points, reach)
    return Positions(Sampled(history, sampled.whole, mixed=True), points, reach)
