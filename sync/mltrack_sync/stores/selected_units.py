"""Which units a selection takes in addition to its runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mltrack.disk.jsonlog import each_line
from mltrack.disk.layout import is_model_id
from mltrack.disk.line_types import EVENTS
from mltrack_sync.stores.transfer import TransferError
from mltrack_sync.stores.unit_files import unit_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from mltrack.store import Store
    from mltrack_sync.selection import Selection

__all__ = ["other_units"]


def other_units(store: Store, selection: Selection, run_ids: Iterable[str]) -> Iterator[str]:
    """The workspace, sources, the logged models of these runs, and the traces of the experiments that are asked for.

    Of everything, all. What does not exist may be among them.

    Args:
        store: The store.
        selection: What was asked for.
        run_ids: The runs that it selects.
    """
    layout = store.layout
    yield "workspace"
    yield "sources"
    if selection.everything:
        models = store.logged_models.ids()
        experiments = sorted({*_names(layout.traces), *_names(layout.root / "artifacts")})
    else:
        models = sorted({model for run_id in run_ids for model in _models_of(layout.run(run_id).events)})
        wanted = set(selection.experiments)
        experiments = [e.experiment_id for e in store.experiments(deleted=True) if e.name in wanted]
    for model_id in models:
        yield f"models/{model_id}"
    for experiment_id in experiments:
        for unit in (f"traces/{experiment_id}", f"artifacts/{experiment_id}"):
            try:
                unit_folder(layout, unit)
            except TransferError:
                continue  # a folder of another name
            yield unit


def _models_of(events: Path) -> Iterator[str]:
    """The logged models that a run used or made."""
    for name in _names(events):
        if name.endswith(".jsonl"):
            for line in each_line(events / name, records=EVENTS, holding=b'"type":"model_'):
                model_id = str(line.fields.get("model_id", "")) if not line.fault else ""
                if is_model_id(model_id):
                    yield model_id


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
