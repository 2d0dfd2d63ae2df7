"""Says once in a process what has no effect here, so that nothing is left out silently."""

from __future__ import annotations

from mltrack.recording import announcements
from mltrack.text.printing import say

__all__ = ["inform", "say_once", "silence"]

_said: set[str] = set()
_silent = False


def silence(silent: bool) -> None:
    """Whether information is kept back; what has no effect is said nevertheless."""
    global _silent
    _silent = silent
    if silent:
        announcements.silence()


def inform(text: str) -> None:
    """Say on stderr what is good to know."""
    if not _silent:
        say(f"mltrack.wandb: {text}", err=True)


def say_once(text: str) -> None:
    """Say on stderr, the first time, what has no effect or is done in another way."""
    if text not in _said:
        _said.add(text)
        say(f"mltrack.wandb: {text}", err=True)
