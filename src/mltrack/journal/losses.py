"""What a run could not store: said when it happens, counted, and reported at the end."""

from __future__ import annotations

from mltrack.process.trouble import say, words_of
from mltrack.text.counting import plural

__all__ = ["Losses"]

NAMED_MAX = 10
"""How many lost artifacts are named as they are lost, and again at the end: a full disk may lose thousands."""


class Losses:
    """The losses of one writer; the points that it lost are counted in its journal."""

    def __init__(self) -> None:
        self.events = 0
        self.artifacts: dict[str, str] = {}  # why, by name, in the order they were lost
        self._said = False

    def say_once(self, run_id: str, place: str, error: Exception) -> None:
        """Say that the disk fails, or that the machine has run out of something; the first time."""
        if not self._said:
            self._said = True
            words = "run %s: %s (%s); training goes on, what can't be stored is counted"
            say(words, run_id, words_of(error), place)

    def add_artifact(self, run_id: str, name: str, error: Exception, *, named: bool = True) -> None:
        """Count an artifact, and name it, unless all is lost anyway."""
        if named and name not in self.artifacts and len(self.artifacts) < NAMED_MAX:
            say("run %s: the artifact %s was not stored: %s", run_id, repr(name), words_of(error))
        self.artifacts[name] = words_of(error)

    def report(self, run_id: str, points: int, waiting_events: int) -> None:
        """Say what was lost in all, if anything was."""
        events = self.events + waiting_events
        lost = [
            *([plural(points, "point")] if points else []),
            *([self._artifacts_in_words()] if self.artifacts else []),
            *([plural(events, "other event")] if events else []),
        ]
        if lost:
            say("run %s lost: %s", run_id, ", ".join(lost))

    def _artifacts_in_words(self) -> str:
        names = [repr(name) for name in list(self.artifacts)[:NAMED_MAX]]
        more = len(self.artifacts) - len(names)
        return f"{plural(len(self.artifacts), 'artifact')} ({', '.join(names)}{f' and {more} more' if more else ''})"
