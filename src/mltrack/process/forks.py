"""What modules do in a forked child: all hooks run from here, lower layers first.

A child of ``os.fork`` has only the thread that forked: others may have held a lock in mid-work, and files, threads and
finalizers of the parent are not the child's. Each module that holds such things registers one hook, at its import, with
the stage that it belongs to. The order of stages is the order of layers, so that a hook may use what is below it. What
is done at a process's end is in exits.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from enum import IntEnum

__all__ = ["Stage", "after_fork_in_child"]


class Stage(IntEnum):
    """In which order hooks run; those of one stage run in the order in which they were registered."""

    DISK = 0
    """Locks and logs that are not one run's."""

    JOURNAL = 1
    """Recorders: each becomes a writer of its own."""

    STORAGE = 2
    """Traces: readers forget what they have open, writers become ones of their own."""

    RECORDING = 3
    """Active runs, which by now have their own recorders, and what ends them at exit."""

    PLUGIN = 4
    """What MLflow's plugin holds open."""


_HOOKS: list[tuple[Stage, Callable[[], object]]] = []


def after_fork_in_child(stage: Stage, hook: Callable[[], object]) -> None:
    """Run the hook in each child that this process forks from now on."""
    _HOOKS.append((stage, hook))
    _HOOKS.sort(key=lambda held: held[0])  # stable: in one stage as they came


def _run_all() -> None:
    with ExitStack() as hooks:  # all run though one fails, whose error Python reports; the last pushed goes first
        for _, hook in reversed(_HOOKS):
            hooks.callback(hook)


os.register_at_fork(after_in_child=_run_all)
