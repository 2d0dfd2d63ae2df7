"""The file ``MLmodel`` names its logged model, run and location: these are mapped to those on the remote."""

from __future__ import annotations

import json
import posixpath
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mltrack.entities import LoggedModel
    from mltrack_sync.ledger.view import LedgerView

__all__ = ["MLMODEL", "map_mlmodel", "mlmodel_in_run"]

MLMODEL = "MLmodel"


def map_mlmodel(content: bytes, model: LoggedModel, *, uri: str, state: LedgerView) -> bytes:
    """``MLmodel`` with the run's id on the remote, and ``uri`` as the files' location."""
    below = rb"/models/" + model.model_id.encode() + rb"/artifacts"
    place = rb"(?:mltrack:[^\s'\"]*|(?<![^\s'\"])/[^\n'\"]*?)" + below  # as a URI, or as a plain path
    content = re.sub(place, lambda _: uri.encode(), content)
    run_id = model.source_run_id or ""
    run = state.runs.get(run_id)
    return content.replace(run_id.encode(), run.remote_id.encode()) if run is not None and run.remote_id else content


def mlmodel_in_run(content: bytes, *, model: LoggedModel, place: str, uri: str, state: LedgerView) -> bytes:
    """``MLmodel`` as MLflow 2 writes it: its path in the run, the run's id on the remote, and no id of a logged model.

    With ``model_id`` in it, MLflow 3 asks the server for that model when the file is viewed, and fails.
    """
    content = _set(content, "artifact_path", place)
    content = _set(content, "model_uuid", model.model_id.removeprefix("m-"))
    content = _set(content, "model_id", None)
    return map_mlmodel(content, model, uri=posixpath.join(uri, place), state=state)


def _set(content: bytes, key: str, value: str | None) -> bytes:
    """Change the value of a top-level YAML key, if it exists; None removes the key."""
    line = b"" if value is None else f"{key}: {json.dumps(value, ensure_ascii=False)}\n".encode()
    lines = re.compile(rb"^" + key.encode() + rb":[^\n]*(?:\n[ \t][^\n]*)*(?:\n|\Z)", re.MULTILINE)
    return lines.sub(lambda _: line, content, count=1)
