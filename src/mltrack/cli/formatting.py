"""Formats times, sizes, numbers and states for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.entities import elapsed_ms
from mltrack.text.counting import plural
from mltrack.text.figures import ago, count, duration, number, percentage, plain_number, size, spread_text
from mltrack.text.moments import moment, point_time
from mltrack.text.printable import printable

if TYPE_CHECKING:
    from rich.text import Text

    from mltrack.entities import Elsewhere, RunInfo

__all__ = [
    "ago",
    "count",
    "duration",
    "moment",
    "number",
    "percentage",
    "plain_number",
    "plural",
    "point_time",
    "size",
    "spread_text",
    "state",
    "status",
]


def status(info: RunInfo) -> str:
    """MLflow's status, or CRASHED if the run's process has died without ending it."""
    return info.shown_status


_STYLES = {
    "RUNNING": "bold green",
    "SCHEDULED": "cyan",
    "FINISHED": "",
    "FAILED": "red",
    "KILLED": "yellow",
    "CRASHED": "bold red",
}


def run_time(info: RunInfo, elsewhere: Elsewhere | None, now_ms: int) -> str:
    """How long a run lasted, or has lasted: of a copy, up to the moment when it was made."""
    now_ms = now_ms if elsewhere is None else elsewhere.time // 1_000_000
    return duration(elapsed_ms(info.shown_status, info.start_time, info.end_time, now_ms))


def state(info: RunInfo, elsewhere: Elsewhere | None = None, now_ms: int = 0) -> Text:
    """The status in color, and whether the run is deleted.

    ``elsewhere`` is where it is recorded if that is in another store: its host and the age of the copy are added. What
    became of it since is not known here, so that it is not shown as what goes on now.
    """
    from rich.text import Text

    word = status(info)
    style = _STYLES.get(word, "") if elsewhere is None else "cyan"
    text = Text(("● " if info.live and elsewhere is None else "") + word, style=style)
    if elsewhere is not None:
        text.append(f" on {printable(elsewhere.host)}, as of {ago(elsewhere.time // 1_000_000, now_ms)}", style="dim")
    if info.lifecycle_stage == "deleted":
        text.append(" deleted", style="dim")
    return text
