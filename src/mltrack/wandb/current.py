"""The run that wandb's functions log to: one for the whole process, as in wandb."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mltrack.wandb.errors import Error

if TYPE_CHECKING:
    from mltrack.wandb.wandb_run import Run

__all__ = ["current", "listeners", "need", "replace"]

_run: Run | None = None
listeners: list[Callable[[], None]] = []
"""Called when another run becomes the current one."""


def current() -> Run | None:
    """The run, None before ``init`` and after ``finish``."""
    return _run


def need(what: str) -> Run:
    """The run, for the function of that name.

    Raises:
        Error: there is none.
    """
    if _run is None:
        raise Error(f"You must call wandb.init() before {what}", hint="run = wandb.init(project=...)")
    return _run


def replace(run: Run | None) -> None:
    """Make another run the current one, or none."""
    global _run
    _run = run
    for listener in listeners:
        listener()
