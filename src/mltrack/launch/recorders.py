"""What is recorded of a launched program beside its output: the machine's load, the files it writes, its code."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from mltrack.launch.redact import Redactor
    from mltrack.run import Run

    Stop = Callable[[], None]
    Start = Callable[[Run, Path], Stop]

__all__ = ["recorders_for"]


def recorders_for(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    redactor: Redactor,
    watch: Sequence[str],
    snapshot: bool,
    system_metrics: bool,
) -> list[Start]:
    """What to start beside the program, in this order; each gets the run and the folder the program runs in."""
    starts: list[Start] = []
    if snapshot:

        def start_snapshot(run: Run, folder: Path) -> Stop:
            from mltrack.launch.snapshot import take_snapshot

            take_snapshot(run, folder, command, redactor, environment)
            return lambda: None

        starts.append(start_snapshot)
    return starts
