"""Rewinding a run that is being recorded, and forking one: ``Run.rewind``, ``start_run(rewind_to=)``, ``fork_run``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mltrack.environment import FORK_STEP_TAG, FORKED_FROM_TAG, NOTE_TAG
from mltrack.errors import NotFoundError, RunStateError
from mltrack.process.trouble import TROUBLE, say, words_of
from mltrack.values.scalars import integer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack.disk.layout import RunFolder
    from mltrack.journal.recorder import Recorder
    from mltrack.storage.runs.stored_run import StoredRun

__all__ = ["RunRewinds", "fork_facts", "resume_rewound"]


class RunRewinds:
    """The part of ``Run`` that is about rewinds."""

    _recorder: Recorder
    _auto_step: int | None
    run_id: str

    if TYPE_CHECKING:  # what Run has

        def _check_open(self) -> None: ...

    def rewind(self, step: int) -> None:
        """Go back to a step: all that was logged so far with a greater step no longer counts, for any reader.

        Nothing is removed, and ``mltrack rewind RUN --undo`` takes it back. It concerns the points and the series of
        histograms, images, tables and texts that all processes have logged until now; what is logged afterwards
        counts, whatever its step. System metrics, params, tags, files and models stay. ``log`` goes on with the step
        after this one. On return it survives power loss. If the disk fails the training goes on, without the rewind.

        Args:
            step: the last step that counts, as that of a checkpoint.

        Raises:
            InvalidMetricError: the step is not a 64-bit integer.
            RunStateError: the run has ended.
        """
        self._check_open()
        step = integer("step", step)
        try:
            from mltrack.storage.runs.rewinding import rewind_event
            from mltrack.storage.runs.stored_run import StoredRun

            event = rewind_event(StoredRun(self._recorder.folder), step)
        except (*TROUBLE, NotFoundError) as error:
            say("run %s is not rewound to step %s: %s", self.run_id, step, words_of(error))
            return
        self._recorder.emit(event)
        self._recorder.sync()
        self.continue_after(step)

    def continue_after(self, step: int) -> None:
        """Let ``log`` without a step go on with the step after this one."""
        self._auto_step = min(step + 1, (1 << 63) - 1)


def resume_rewound(folder: RunFolder, step: int) -> list[dict[str, Any]]:
    """The event with which a process resumes a run from a checkpoint; none if another one of its job has done so.

    Raises:
        InvalidMetricError: the step is not a 64-bit integer.
    """
    from mltrack.storage.runs.rewinding import is_rewound_already, rewind_event
    from mltrack.storage.runs.stored_run import StoredRun

    # first what there is, then whether another process was earlier: what that one has logged since is never hidden
    event = rewind_event(StoredRun(folder), step)
    return [] if is_rewound_already(folder, event["step"]) else [event]


# --- forks ---


def fork_facts(parent: StoredRun, step: int) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The events and the tags that make a new run a fork of ``parent``: its points up to a step, params and datasets.

    The parent's files are needed as long as the fork exists.

    Raises:
        RunStateError: the parent is deleted.
        InvalidMetricError: the step is not a 64-bit integer.
        CorruptionError: a file with the parent's points is damaged.
    """
    from mltrack.storage.runs.rewinding import fork_event
    from mltrack.values.datasets import dataset_event

    if parent.info.lifecycle_stage == "deleted":
        raise RunStateError(f"run {parent.run_id} is deleted", hint=f"restore it: mltrack restore {parent.run_id}")
    event = fork_event(parent, step)
    params = ({"type": "param", "key": key, "value": value} for key, value in parent.params.items())
    datasets = (dataset_event(used.dataset, used.tags) for used in parent.datasets)
    tags = {**_copied_tags(parent.tags), FORKED_FROM_TAG: parent.run_id, FORK_STEP_TAG: str(event["step"])}
    return [event, *params, *datasets], tags


def _copied_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that people set: not those that say how, where and by whom the parent was recorded."""
    return {key: value for key, value in tags.items() if key == NOTE_TAG or not key.startswith(("mlflow.", "mltrack."))}
