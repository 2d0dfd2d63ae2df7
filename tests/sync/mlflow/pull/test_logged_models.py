"""Logged models and what runs are linked to come from a server, and are what they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mlflow.data import numpy_dataset

from mltrack.recording import current_store, fluent
from mltrack.storage.check.check import check_store
from mltrack.store import Store
from mltrack_sync import Remote, Selection, push
from mltrack_sync.engine.pull import pull
from mltrack_sync.engine.verify import verify
from mltrack_sync.remotes.config import Remotes
from tests.support.model_recording import record_model
from tests.support.server import MlflowServer


def recorded(store: Store, experiment: str) -> tuple[str, str]:
    """A run with a dataset and a model with files and metrics; the ids of the run and the model."""
    current_store.set_store(store.path)
    try:
        current_store.set_experiment(experiment)
        with fluent.start_run(run_name="trained") as run:
            run.log_metric("loss", 0.5, 3)
            run.log_input(numpy_dataset.from_numpy(np.arange(6.0)), context="train")
            run_id: str = run.run_id
    finally:
        current_store.set_store(None)
    model_id = record_model(store, run_id)
    store.logged_models.set_tags(model_id, {"team": "a"})
    return run_id, model_id


def test_a_pushed_model_and_dataset_are_pulled_unchanged(
    tmp_path: Path, store: Store, server: MlflowServer, remote: Remote, experiment: str, mine: Selection
) -> None:
    run_id, model_id = recorded(store, experiment)
    assert push(store, remote).complete
    other = Store.create(tmp_path / "other")
    again = Remotes(other).add("again", server.url)
    report = pull(other, again, selection=mine)
    assert report.complete, report.problems
    assert (report.runs, report.logged_models) == (1, 1)
    assert other.run_ids() == [run_id]
    here, there = store.run(run_id), other.run(run_id)
    assert there.datasets == here.datasets
    first, second = store.logged_models.get(model_id), other.logged_models.get(model_id)
    assert (second.name, second.status, dict(second.params)) == (first.name, first.status, dict(first.params))
    assert second.tags["team"] == "a"
    hashes = [{file.path: file.sha256 for file in model.artifacts} for model in (first, second)]
    assert hashes[0].keys() == hashes[1].keys()
    assert hashes[0]["data/weights.bin"] == hashes[1]["data/weights.bin"]  # MLmodel names the model's place
    assert check_store(other.path).sound
    assert verify(other, again).differences == ()
    back = pull(other, again, selection=mine)
    assert (back.runs, back.logged_models, back.artifacts) == (0, 0, 0)
    sent = push(other, again)
    assert (sent.runs, sent.created, sent.logged_models, sent.artifacts) == (0, 0, 0, 0)
