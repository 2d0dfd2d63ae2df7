"""The run that wandb's functions log to: one for the whole process, as in wandb."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mltrack.wandb.errors import Error

__all__ = ["current", "listeners", "need", "replace"]

_run: Any = None
listeners: list[Callable[[], None]] = []
"""Called when another run becomes the current one."""


def current() -> Any:
    """The run (``wandb_run.Run``), None before ``init`` and after ``finish``."""
    return _run


def need(what: str) -> Any:
    """The run, for the function of that name.

    Raises:
        Error: there is none.
    """
    if _run is None:
        raise Error(f"You must call wandb.init() before {what}", hint="run = wandb.init(project=...)")
    return _run


def replace(run: Any) -> None:
    """Make another run the current one, or none."""
    global _run
    _run = run
    for listener in listeners:
        listener()
