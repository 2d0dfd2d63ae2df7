"""Name, experiment and status of a run that is being recorded: known without Arrow, and without reading the disk.

Every script reads ``run.info.run_id``, even if Arrow can't be loaded or the disk has failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mltrack.entities import RunInfo
from mltrack.process.trouble import TROUBLE

if TYPE_CHECKING:
    from mltrack.disk.layout import RunFolder
    from mltrack.entities import Experiment

__all__ = ["first_info", "stored_info"]


def first_info(
    folder: RunFolder,
    name: str,
    *,
    experiment: Experiment,
    user: str,
    start_ns: int,
    parent: str | None,
) -> RunInfo:
    """The info of a run that starts now.

    Args:
        folder: the run's.
        name: its name.
        experiment: its experiment.
        user: who starts it.
        start_ns: its start, ns since the epoch.
        parent: the id of its parent run.
    """
    return RunInfo(
        run_id=folder.run_id,
        run_name=name,
        experiment_id=experiment.experiment_id,
        experiment_name=experiment.name,
        status="RUNNING",
        start_time=start_ns // 1_000_000,
        end_time=None,
        lifecycle_stage="active",
        user_id=user,
        parent_run_id=parent,
        crashed=False,
        live=True,
        artifact_uri=str(folder.artifacts),
    )


def stored_info(folder: RunFolder) -> RunInfo | None:
    """The info as stored; None if it can't be read, or only with the points (of a run that crashed)."""
    try:
        from mltrack.storage.runs.state import RunState

        state = RunState(folder)
        state.update()
        info = state.info() if state.exists else None
    except TROUBLE:
        return None
    return None if info is None or info.crashed else info
