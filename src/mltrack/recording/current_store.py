"""Which store and which experiment new runs are recorded into; MLflow's names and meanings for experiments."""

from __future__ import annotations

import json
import os
from time import time_ns
from typing import TYPE_CHECKING, Any

from mltrack.disk.layout import Layout, find_store
from mltrack.environment import MLTRACK_EXPERIMENT_NAME, MLTRACK_STORE
from mltrack.errors import UsageError
from mltrack.process.trouble import say
from mltrack.recording.child_settings import inherited, offer
from mltrack.storage.experiments import Workspace
from mltrack.text.shown import shown
from mltrack.values.scalars import as_text, texts_by_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mltrack.entities import Experiment
    from mltrack.store import Store

EXPERIMENT_VARIABLES = (MLTRACK_EXPERIMENT_NAME, "MLFLOW_EXPERIMENT_NAME")

_store_path: os.PathLike[str] | None = None
_experiment: Experiment | None = None
_experiment_store = ""  # the id of its store
_is_inherited = False

SETTING = "mltrack.chosen"
"""Under which children of multiprocessing inherit the store and the experiment, as forked ones do."""


def set_store(path: str | os.PathLike[str] | None) -> None:
    """Record into the store at ``path`` from now on; with None, into that of ``Store.open``.

    Raises:
        UsageError: ``path`` can't be a folder.
    """
    global _store_path, _experiment, _is_inherited
    _store_path, _experiment, _is_inherited = None if path is None else find_store(path), None, True
    offer(SETTING, _chosen)


def get_store() -> Store:
    """The store that is recorded into, opened for reading; created if it does not exist."""
    from mltrack.store import Store

    return Store(current_layout())


def store_folder() -> Path:
    """The folder of the store that is recorded into; it need not exist yet."""
    _inherit()
    return find_store(_store_path)


def is_store_set() -> bool:
    """Whether ``set_store`` has chosen the store."""
    _inherit()
    return _store_path is not None


def _chosen() -> bytes:
    path = None if _store_path is None else os.path.abspath(_store_path)
    return json.dumps([path, None if _experiment is None else _experiment.name]).encode()


def _inherit() -> None:
    """In a child of multiprocessing that was not forked: choose what its parent had chosen."""
    global _is_inherited, _store_path
    if _is_inherited:
        return
    _is_inherited = True
    chosen = inherited(SETTING)
    if chosen:
        path, experiment = json.loads(chosen)
        _store_path = None if path is None else find_store(path)
        if experiment is not None:
            set_experiment(experiment)
    offer(SETTING, _chosen)


def was_searched() -> bool:
    """Whether that folder was found by looking upward from the working folder."""
    return not is_store_set() and not os.environ.get(MLTRACK_STORE)


def current_layout() -> Layout:
    """The layout of the store that is recorded into; created if it does not exist."""
    return Layout.open_or_create(store_folder(), now_ns=time_ns())


def workspace_of(layout: Layout) -> Workspace:
    """The experiments of a store."""
    return Workspace(layout, clock=time_ns)


def set_experiment(experiment_name: str | None = None, experiment_id: str | None = None) -> Experiment:
    """Choose the experiment of new runs: by name, created if it does not exist, or by id.

    Raises:
        UsageError: neither or both are given, or the experiment is deleted.
        NotFoundError: there is none with that id.
    """
    global _experiment, _experiment_store
    _inherit()
    if (experiment_name is None) == (experiment_id is None):
        raise UsageError("set_experiment needs a name or an id", hint="set_experiment('my-experiment')")
    layout = current_layout()
    workspace, _experiment_store = workspace_of(layout), layout.store_id
    _experiment = (
        workspace.get_or_create(experiment_name)
        if experiment_name is not None
        else workspace.usable(workspace.get(str(experiment_id)))
    )
    return _experiment


def create_experiment(
    name: str, artifact_location: str | os.PathLike[str] | None = None, tags: Mapping[str, Any] | None = None
) -> str:
    """Create an experiment; returns its id.

    ``artifact_location`` is MLflow's and has no effect but a warning: files are in the store, with their runs.

    Raises:
        UsageError: the name is empty or taken.
    """
    text = texts_by_name("tags", tags)
    made = workspace_of(current_layout()).create(name, text)
    if artifact_location is not None:
        say("experiment %r: files are kept in the store, with their runs; artifact_location is not used", name)
    return made.experiment_id


def get_experiment(experiment_id: str) -> Experiment:
    """The experiment with that id.

    Raises:
        NotFoundError: there is none.
    """
    return workspace_of(current_layout()).get(str(experiment_id))


def get_experiment_by_name(name: str) -> Experiment | None:
    """The experiment of that name, or None."""
    return workspace_of(current_layout()).by_name(name)


def set_experiment_tag(key: str, value: Any) -> None:
    """Set a tag of the experiment of new runs.

    Raises:
        UsageError: the experiment is deleted.
    """
    layout = current_layout()
    workspace = workspace_of(layout)
    workspace.set_tag(
        workspace.usable(chosen_experiment(layout, None)).experiment_id, key, as_text(f"tag {shown(key)}", value)
    )


def delete_experiment(experiment_id: str) -> None:
    """Mark an experiment and all its runs as deleted; ``restore_experiment`` restores them.

    Raises:
        NotFoundError, UsageError: no such experiment; the default one.
    """
    get_store().delete_experiment(str(experiment_id))


def chosen_experiment(layout: Layout, experiment_id: str | None) -> Experiment:
    """The experiment of a new run: by id, else that of set_experiment or the environment, else the default one.

    It is as the store has it now, so it may be deleted.
    """
    _inherit()
    workspace = workspace_of(layout)
    if experiment_id is not None:
        return workspace.get(as_text("the experiment's id", experiment_id))
    if _experiment is not None:
        if _experiment_store != layout.store_id:  # a new store in place of one that was moved or removed
            return workspace.get_or_create(_experiment.name)
        return workspace.get(_experiment.experiment_id)
    for variable in EXPERIMENT_VARIABLES:
        if os.environ.get(variable):
            return workspace.get_or_create(os.environ[variable])
    return workspace.get("0")
