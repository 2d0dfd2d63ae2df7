"""What a launched program is told through its environment, so that what it logs lands in its run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mltrack.disk.store_path import uri_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mltrack.entities import RunInfo

__all__ = ["RUN_ID_VARIABLE", "child_environment"]

RUN_ID_VARIABLE = "MLTRACK_RUN_ID"
RUN_NAME_VARIABLE = "MLTRACK_RUN_NAME"

_NOT_PASSED_ON = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", RUN_NAME_VARIABLE)
"""They would name another run or experiment than the one the program was launched for."""


def child_environment(
    store: Path, run: RunInfo, given: Mapping[str, str] = os.environ, *, named: bool = False
) -> dict[str, str]:
    """The environment for a program that was launched for ``run``, in the store in the folder ``store``.

    ``named`` says that the run was given its name at the launch: the program's own name for it does not replace it.

    ``import mltrack`` finds the store and the run by mltrack's own variables; ``import mlflow`` finds the store by its
    tracking URI, and the store's plugin gives it that run for the first one it starts. Output is not buffered, so that
    it is kept in the order and at the time it was written.
    """
    environment = {name: value for name, value in given.items() if name not in _NOT_PASSED_ON}
    environment |= {
        "MLTRACK_STORE": str(store),
        RUN_ID_VARIABLE: run.run_id,
        "MLTRACK_EXPERIMENT_NAME": run.experiment_name,
        "MLFLOW_TRACKING_URI": uri_of(store),
        "MLFLOW_EXPERIMENT_ID": run.experiment_id,
    }
    if named:
        environment[RUN_NAME_VARIABLE] = run.run_name
    environment.setdefault("PYTHONUNBUFFERED", "1")
    return environment
