"""Edits to runs from outside: delete, restore, tag and purge; all but the last are events by separate writers."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import LOCAL, TEMPORARY, FileSystem, safe_join
from mltrack.disk.layout import RunFolder
from mltrack.entities import ACTIVE, DELETED
from mltrack.errors import NotFoundError, RunStateError, StoreError, UsageError
from mltrack.journal.recorder import Recorder
from mltrack.storage.runs.series_artifacts import unpublished_series
from mltrack.storage.runs.state import RunState
from mltrack.text.shown import shown
from mltrack.values.scalars import as_text, check_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mltrack.disk.layout import Layout
    from mltrack.entities import Artifact, RunHead

__all__ = [
    "append_events",
    "existing_state",
    "not_written",
    "purge_run",
    "release_artifacts",
    "remove_run",
    "set_stage",
    "set_tag",
]


def set_stage(layout: Layout, run_id: str, stage: str, *, fs: FileSystem = LOCAL) -> None:
    """Mark a run as ``deleted`` or ``active``. On return it survives power loss.

    Args:
        layout: The store.
        run_id: The run's id.
        stage: ``deleted`` or ``active``.
        fs: The file system to write with.

    Raises:
        NotFoundError: there is no such run.
        UsageError: the stage is neither.
        StoreError: it can't be written.
    """
    if stage not in (ACTIVE, DELETED):
        raise UsageError(f"{stage!r} is not a stage", hint=f"use {ACTIVE!r} or {DELETED!r}")
    if append_events(layout, run_id, {"type": "lifecycle", "stage": stage}, fs).info().lifecycle_stage != stage:
        raise not_written(layout, run_id)


def set_tag(layout: Layout, run_id: str, key: str, value: str | None, *, fs: FileSystem = LOCAL) -> None:
    """Set a tag of a run that need not be open, or remove it (None). On return it survives power loss.

    Args:
        layout: The store.
        run_id: The run's id.
        key: The tag's name.
        value: Its value; None removes it.
        fs: The file system to write with.

    Raises:
        NotFoundError: there is no such run.
        UsageError: the key is not a non-empty text.
        StoreError: it can't be written.
    """
    text = None if value is None else as_text(f"tag {shown(key)}", value)
    if (
        append_events(layout, run_id, {"type": "tag", "key": check_key(key, "tag"), "value": text}, fs).tags.get(key)
        != text
    ):
        raise not_written(layout, run_id)


def append_events(
    layout: Layout, run_id: str, event: dict[str, Any], fs: FileSystem, *more: dict[str, Any]
) -> RunState:
    """Add events as a separate writer, later than all events of the run; returns the state after them.

    Args:
        layout: The store.
        run_id: The run's id.
        event: The event.
        fs: The file system to write with.
        more: Others that follow it.

    Raises:
        NotFoundError: there is no such run.
        StoreError: the store can't be written to. If the disk fails the events may be missing in the state.
    """
    folder = layout.run(run_id)
    state = existing_state(layout, run_id)
    recorder = Recorder(layout, folder, "edit", fs=fs, not_before=state.last_time)
    try:
        recorder.start([event, *more])
    finally:
        recorder.close()
    state.update()
    return state


def existing_state(layout: Layout, run_id: str) -> RunState:
    """What the events of a run say now.

    Raises:
        NotFoundError: there is no such run.
    """
    state = RunState(layout.run(run_id))
    state.update()
    if not state.exists:
        raise NotFoundError(f"no run {run_id} in {layout.root}", hint="see: mltrack ls")
    return state


def not_written(layout: Layout, run_id: str) -> StoreError:
    """The error for an edit that the disk did not take."""
    return StoreError(f"run {run_id} can't be changed: {layout.root} refuses writes", hint="check the disk")


def purge_run(
    layout: Layout, run_id: str, *, forks: Callable[[], Sequence[str]] = lambda: (), fs: FileSystem = LOCAL
) -> None:
    """Remove a run's folder for good. It is gone for every reader at once, even if this is interrupted.

    The run is marked as deleted first, so that no process resumes or forks it meanwhile.

    Args:
        layout: The store.
        run_id: The run's id.
        forks: Gives the ids of the runs that need its files now.
        fs: The file system to write with.

    Raises:
        NotFoundError: there is no such run.
        RunStateError: a process is recording into it, or other runs were forked from it.
        StoreError: it can't be removed.
    """
    folder = layout.run(run_id)
    _refuse_live(existing_state(layout, run_id))
    _refuse_needed(run_id, forks())
    set_stage(layout, run_id, DELETED, fs=fs)
    _refuse_live(existing_state(layout, run_id))
    _refuse_needed(run_id, forks())
    removed = folder.path.with_name(f".{run_id}.{os.getpid()}{TEMPORARY}")
    try:
        fs.rename(folder.path, removed)
        fs.sync_folder(layout.runs)
        shutil.rmtree(removed)
    except OSError as error:
        raise StoreError(
            f"run {run_id} can't be removed: {error.strerror or error}", hint="check the store's permissions"
        ) from error


def _refuse_needed(run_id: str, forks: Sequence[str]) -> None:
    if forks:
        more = f" and {len(forks) - 1} more" if len(forks) > 1 else ""
        words = f"run {run_id} has points that {forks[0]}{more} was forked from"
        raise RunStateError(words, hint="purge the forks first; mltrack rm without --purge marks it as deleted")


def remove_run(
    layout: Layout,
    run_id: str,
    head: RunHead,
    *,
    forks: Callable[[], Sequence[str]] = lambda: (),
    fs: FileSystem = LOCAL,
) -> None:
    """Remove the folder of a run that a remote has too.

    Nothing is written into it first, so that no syncer takes this for a deletion to be sent. One rename removes it for
    every reader: an interruption leaves it whole or gone. A process that opens it meanwhile gets it back.

    Args:
        layout: The store.
        run_id: The run's id.
        head: How far the run went when that was found out; it is kept if it has changed since.
        forks: Gives the ids of the runs that need its files now.
        fs: The file system to write with.

    Raises:
        NotFoundError: there is no such run.
        RunStateError: it is live, was written to since, has series that are only in its journals, or other runs were
            forked from it.
        StoreError: it can't be removed.
    """
    folder = layout.run(run_id)
    if unpublished_series(folder):
        words = f"run {run_id} has histograms, tables or texts that a crashed process left"
        raise RunStateError(words, hint=f"store them as artifacts: mltrack seal {run_id}; then sync")
    removed = RunFolder(folder.path.with_name(f".{run_id}.{os.getpid()}{TEMPORARY}"))
    try:
        _refuse_changed(folder, head)
        _refuse_needed(run_id, forks())
        fs.rename(folder.path, removed.path)
        try:
            _refuse_changed(removed, head)
            _refuse_needed(run_id, forks())
        except BaseException:
            fs.rename(removed.path, folder.path)
            raise
        fs.sync_folder(layout.runs)
        shutil.rmtree(removed.path)
    except OSError as error:
        raise StoreError(
            f"run {run_id} can't be removed: {error.strerror or error}", hint="check the store's permissions"
        ) from error


def _refuse_changed(folder: RunFolder, head: RunHead) -> None:
    from mltrack.storage.runs.stored_run import StoredRun  # which needs Arrow: other edits don't

    run = StoredRun(folder)
    now = run.head()
    if (now.events, now.points, now.live) != (head.events, head.points, False):
        words = "is being recorded" if now.live else "was written to meanwhile"
        raise RunStateError(f"run {head.run_id} {words}", hint="it stays as it is; sync, then try again")


def release_artifacts(
    layout: Layout,
    run_id: str,
    artifacts: Iterable[Artifact],
    remote: str,
    *,
    head: RunHead,
    fs: FileSystem = LOCAL,
) -> None:
    """Remove files of a run that a remote has too.

    The run then records where they are, durably, before the first file is removed.

    Args:
        layout: The store.
        run_id: The run's id.
        artifacts: The files.
        remote: The name of the remote that has them.
        head: How far the run went when that was found out; nothing is removed if it has changed since.
        fs: The file system to write with.

    Raises:
        NotFoundError: there is no such run.
        RunStateError: it is live, or was written to since.
        StoreError: that can't be written, or a file can't be removed.
    """
    folder = layout.run(run_id)
    _refuse_changed(folder, head)
    events = [
        {
            "type": "artifact",
            "path": artifact.path,
            "size": artifact.size,
            "sha256": artifact.sha256,
            "logged": artifact.time,
            "remote": remote,
        }
        for artifact in artifacts
    ]
    if not events:
        return
    noted = {
        a.path: a for a in append_events(layout, run_id, events[0], fs, *events[1:]).artifacts if a.remote == remote
    }
    try:
        for event in events:
            if event["path"] not in noted:
                raise not_written(layout, run_id)
            fs.unlink(safe_join(folder.artifacts, str(event["path"])))
    except OSError as error:
        raise StoreError(
            f"a file of run {run_id} can't be removed: {error.strerror or error}", hint="check the store's permissions"
        ) from error


def _refuse_live(state: RunState) -> None:
    if state.live:
        raise RunStateError(
            f"run {state.folder.run_id} is being recorded",
            hint="end it first; mltrack rm without --purge marks it as deleted",
        )
