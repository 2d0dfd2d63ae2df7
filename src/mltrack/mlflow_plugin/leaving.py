"""What is done when the process ends: the runs that it still has open for MLflow are let go, as running ones."""

from __future__ import annotations

import atexit
import sys

__all__ = ["let_go"]


def let_go() -> None:
    """Let go of all runs that this process has open; does nothing where it has none."""
    writers = sys.modules.get("mltrack.mlflow_plugin.writers")
    if writers is not None:
        writers.close_all()


# Handlers run in the reverse order of their registration. MLflow loads the entry points before it registers its own
# handler, which ends the active run; so this one comes after that, and finds only what nobody ended.
atexit.register(let_go)
