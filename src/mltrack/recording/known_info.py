"""Name, experiment and status of a run that is being recorded: read without Arrow, and known where nothing is read.

Every script asks for ``run.info.run_id``, also where Arrow can't be had or the disk has failed.
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
    """Of a run that starts now."""
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
    """As stored; None where nothing is, or can be read, or where points are to be read, too (of one that crashed)."""
    try:
        from mltrack.storage.runs.state import RunState

        state = RunState(folder)
        state.update()
        info = state.info() if state.exists else None
    except TROUBLE:
        return None
    return None if info is None or info.crashed else info
