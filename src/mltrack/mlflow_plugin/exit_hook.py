"""At the end of the process: closes the runs that it still has open for MLflow, which stay RUNNING."""

from __future__ import annotations

import os
import sys

from mltrack.process.ending import ending_of_child
from mltrack.process.exits import Stage, at_exit, on_end_of_child

__all__ = ["close_open_runs", "prepare_child"]

_prepared = 0  # the id of the process that was


def close_open_runs() -> None:
    """Close all runs that this process has open, if any."""
    pools = sys.modules.get("mltrack.mlflow_plugin.run_pool")
    if pools is not None:
        pools.close_all()


def prepare_child(_: object = None) -> None:
    """Have the runs of a multiprocessing child closed at its end, as it does not call ``atexit`` handlers."""
    global _prepared
    if _prepared != os.getpid():
        _prepared = os.getpid()
        on_end_of_child(Stage.PLUGIN, _end_in_child)


def _end_in_child() -> None:
    """End the runs that are active in MLflow, as its handler does in other processes; close the rest."""
    status = ending_of_child().status
    pools = sys.modules.get("mltrack.mlflow_plugin.run_pool")
    fluent = sys.modules.get("mlflow.tracking.fluent")
    try:
        while pools and fluent and (run := fluent.active_run()) and pools.are_open(run.info.run_id):
            fluent.end_run(status)
    finally:
        close_open_runs()


# MLflow loads the entry points before it registers its own handler, which ends the active run; so this one comes after.
at_exit(Stage.PLUGIN, close_open_runs)
