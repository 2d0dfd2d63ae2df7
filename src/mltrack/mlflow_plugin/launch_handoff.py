"""The run this process was launched for (``mltrack run``): the first one that MLflow starts here is that one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mltrack.disk.layout import find_store
from mltrack.disk.store_path import STORE_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack.store import Store

__all__ = ["launched_run", "tags_to_set"]

RUN_ID_VARIABLE = "MLTRACK_RUN_ID"
RUN_NAME_VARIABLE = "MLTRACK_RUN_NAME"

_NAME_TAG = "mlflow.runName"
_PARENT_TAG = "mlflow.parentRunId"
_taken_in = 0  # the process that has begun it: a fork of it may begin it too, as any other child may


def launched_run(store: Store, tags: Mapping[str, str | None]) -> str | None:
    """The id of the run to go on with instead of making one; once in a process, as MLflow does with MLFLOW_RUN_ID.

    None where this process was not launched for a run of this store, or has begun it already, or begins a child run.
    """
    global _taken_in
    run_id = os.environ.get(RUN_ID_VARIABLE)
    if _taken_in == os.getpid() or not run_id or _PARENT_TAG in tags:
        return None
    if not os.environ.get(STORE_VARIABLE) or os.path.realpath(find_store()) != os.path.realpath(store.path):
        return None
    _taken_in = os.getpid()
    return run_id


def tags_to_set(given: Mapping[str, str | None], held: Mapping[str, str], *, named: bool) -> dict[str, str]:
    """What of a new run's tags the launched run takes: not its name unless it was ``named`` here and nowhere before.

    What MLflow finds out by itself (user, source, commit), the launch knows better.
    """
    keep_name = not named or bool(os.environ.get(RUN_NAME_VARIABLE))
    return {
        key: value
        for key, value in given.items()
        if value is not None
        and not (key == _NAME_TAG and keep_name)
        and not (key != _NAME_TAG and key.startswith("mlflow.") and key in held)
    }
