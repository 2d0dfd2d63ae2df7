"""The ends of what runs printed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mltrack.errors import NotFoundError
from mltrack.launch.ansi import LineFilter
from mltrack.launch.log_file import log_name
from mltrack.launch.log_reader import last_lines, output_numbers, output_of
from mltrack.report.model import LogEnd
from mltrack.text.counting import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mltrack.storage.runs.stored_run import StoredRun

__all__ = ["collect_logs"]

END_BYTES = 64 << 10
LINE_CHARACTERS_MAX = 2_000
LOGS_MAX = 100


def collect_logs(runs: Sequence[StoredRun], lines: int, characters_max: int, left_out: list[str]) -> tuple[LogEnd, ...]:
    """The last lines of each log of each run, as plain text; of many logs each has an equal share of the characters."""
    logs = [(run, number) for run in runs for number in output_numbers(run)]
    if len(logs) > LOGS_MAX:
        left_out.append(f"{plural(len(logs) - LOGS_MAX, 'log')}: name fewer runs")
    ends = (_end(run, number, lines) for run, number in logs[:LOGS_MAX])
    found = [end for end in ends if end is not None]
    share = characters_max // max(1, len(found))
    return tuple(log if len(log.text) <= share else replace(log, text=log.text[-share:], cut=True) for log in found)


def _end(run: StoredRun, number: int, lines: int) -> LogEnd | None:
    size = next((a.size for a in run.artifacts if a.path == log_name(number)), 0)
    start = max(0, size - END_BYTES)
    shown = LineFilter()
    try:
        data = b"".join([*map(shown.feed, output_of(run, start, number=number)), shown.end()])
    except (NotFoundError, OSError):
        return None
    if not data.strip():
        return None
    kept = last_lines([data], lines)
    text = "\n".join(line[:LINE_CHARACTERS_MAX] for line in kept.decode("utf-8", "replace").rstrip("\n").split("\n"))
    return LogEnd(run.run_id, number, text, cut=start > 0 or len(kept) < len(data))
