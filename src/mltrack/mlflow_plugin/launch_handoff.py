"""The run this process was launched for (``mltrack run``): it is the first one that MLflow starts here."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mltrack.disk.layout import find_store
from mltrack.environment import MLTRACK_RUN_ID, MLTRACK_RUN_NAME, MLTRACK_STORE, PARENT_TAG, RUN_NAME_TAG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack.store import Store

__all__ = ["launched_run", "tags_to_set"]


_taken_in = 0  # the id of the process that has started it: a fork may start it too, like any other child


def launched_run(store: Store, tags: Mapping[str, str | None]) -> str | None:
    """The id of the run to resume instead of making one; once in a process, as MLflow does with MLFLOW_RUN_ID.

    None if this process was not launched for a run of this store, has started it already, or starts a child run.
    """
    global _taken_in
    run_id = os.environ.get(MLTRACK_RUN_ID)
    if _taken_in == os.getpid() or not run_id or PARENT_TAG in tags:
        return None
    if not os.environ.get(MLTRACK_STORE) or os.path.realpath(find_store()) != os.path.realpath(store.path):
        return None
    _taken_in = os.getpid()
    return run_id


def tags_to_set(given: Mapping[str, str | None], held: Mapping[str, str], *, named: bool) -> dict[str, str]:
    """Those of a new run's tags that the run gets which it joins: not its name, unless it was ``named`` only here.

    Tags that MLflow sets itself (user, source, commit) are better known to the launcher, so its values stay.
    """
    keep_name = not named or bool(os.environ.get(MLTRACK_RUN_NAME))
    return {
        key: value
        for key, value in given.items()
        if value is not None
        and not (key == RUN_NAME_TAG and keep_name)
        and not (key != RUN_NAME_TAG and key.startswith("mlflow.") and key in held)
    }
