"""The environment of a launched program, by which what it logs goes to its run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mltrack.disk.store_path import uri_of
from mltrack.environment import MLTRACK_EXPERIMENT_NAME, MLTRACK_RUN_ID, MLTRACK_RUN_NAME, MLTRACK_STORE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mltrack.entities import RunInfo

__all__ = ["child_environment"]


_NOT_FORWARDED = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", MLTRACK_RUN_NAME)
"""They would name a run or experiment other than the one the program was launched for."""


def child_environment(
    store: Path, run: RunInfo, given: Mapping[str, str] = os.environ, *, named: bool = False
) -> dict[str, str]:
    """The environment for a program launched for ``run``.

    ``import mltrack`` finds the store and the run by mltrack's own variables; ``import mlflow`` finds the store by its
    tracking URI, and mltrack's plugin makes this run the first one it starts. Output is not buffered, so that it is
    logged in the order and at the time it was written.

    Args:
        store: the store's folder.
        run: the run.
        given: the variables to start from.
        named: the run was named at the launch, so the program's own name for it does not replace that.
    """
    environment = {name: value for name, value in given.items() if name not in _NOT_FORWARDED}
    environment |= {
        MLTRACK_STORE: str(store),
        MLTRACK_RUN_ID: run.run_id,
        MLTRACK_EXPERIMENT_NAME: run.experiment_name,
        "MLFLOW_TRACKING_URI": uri_of(store),
        "MLFLOW_EXPERIMENT_ID": run.experiment_id,
    }
    if named:
        environment[MLTRACK_RUN_NAME] = run.run_name
    environment.setdefault("PYTHONUNBUFFERED", "1")
    return environment
