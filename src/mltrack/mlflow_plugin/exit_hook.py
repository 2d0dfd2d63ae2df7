"""What is done when the process ends: the runs that it still has open for MLflow are let go, as running ones."""

from __future__ import annotations

import atexit
import os
import sys

from mltrack.process.ending import finalize, status_of_child

__all__ = ["let_go", "prepare_child"]

_prepared = 0  # the process that was, by its id


def let_go() -> None:
    """Let go of all runs that this process has open; does nothing where it has none."""
    writers = sys.modules.get("mltrack.mlflow_plugin.run_pool")
    if writers is not None:
        writers.close_all()


def prepare_child(_: object = None) -> None:
    """In a child of multiprocessing, which calls no handlers of ``atexit``, have its runs seen to before its end."""
    global _prepared
    if _prepared != os.getpid():
        _prepared = os.getpid()
        finalize(_end_in_child, priority=200)  # before the recorders are closed


def _end_in_child() -> None:
    """End the runs that are active in MLflow's own stack, which its handler does elsewhere; let go of the others."""
    status = status_of_child()
    writers = sys.modules.get("mltrack.mlflow_plugin.run_pool")
    fluent = sys.modules.get("mlflow.tracking.fluent")
    try:
        while writers and fluent and (run := fluent.active_run()) and writers.are_open(run.info.run_id):
            fluent.end_run(status)
    finally:
        let_go()


# Handlers run in the reverse order of their registration. MLflow loads the entry points before it registers its own
# handler, which ends the active run; so this one comes after that, and finds only what nobody ended.
atexit.register(let_go)
