"""Logged models with an MLmodel as MLflow 3 writes it, recorded into the store of a test."""

from __future__ import annotations

import hashlib

from mltrack.store import Store

MLMODEL = """\
artifact_path: mltrack://{store}/models/{model_id}/artifacts
flavors:
  python_function:
    loader_module: mlflow.pyfunc.model
mlflow_version: 3.17.2
model_id: {model_id}
model_size_bytes: 4
model_uuid: {model_id}
prompts: null
run_id: {run_id}
utc_time_created: '2026-01-01 00:00:00'
"""


def record_model(store: Store, run_id: str | None, name: str = "net", *, weights: bytes = b"\0\1\2\3") -> str:
    """A model that is ready, of two files; returns its id."""
    experiment = store.run(run_id).info.experiment_id if run_id else store.experiments()[0].experiment_id
    made = store.logged_models.create(experiment, name, source_run_id=run_id, params={"depth": "3"})
    mlmodel = MLMODEL.format(store=store.path, model_id=made.model_id, run_id=run_id)
    put_file(store, made.model_id, "MLmodel", mlmodel.encode())
    put_file(store, made.model_id, "data/weights.bin", weights)
    store.logged_models.set_status(made.model_id, "READY")
    return made.model_id


def put_file(store: Store, model_id: str, path: str, content: bytes) -> None:
    """One file of a model."""
    target = store.logged_models.folder(model_id).artifacts / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    store.logged_models.add_artifacts(model_id, [(path, len(content), hashlib.sha256(content).hexdigest())])


def mlmodel_there(model_id: str, remote_run: str, place: str) -> bytes:
    """What MLmodel is to hold in the run ``remote_run`` over there, in the folder ``place``."""
    return f"""\
artifact_path: "{place}"
flavors:
  python_function:
    loader_module: mlflow.pyfunc.model
mlflow_version: 3.17.2
model_size_bytes: 4
model_uuid: "{model_id.removeprefix("m-")}"
prompts: null
run_id: {remote_run}
utc_time_created: '2026-01-01 00:00:00'
""".encode()
