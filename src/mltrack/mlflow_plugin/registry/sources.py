"""Where a model version's files are: as MLflow has it (addresses), and as the store keeps it (relative to the store).

``mltrack:///abs/.mltrack/runs/<run_id>/artifacts/model`` is kept as ``runs:/<run_id>/model``, and the artifacts of a
logged model as ``models:/<model_id>``, so that a store may be moved. Any other source is kept as it was given.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mltrack.disk.store_path import SCHEME
from mltrack.errors import UsageError
from mltrack.mlflow_plugin.uris import artifact_place, artifact_uri, local_uri

if TYPE_CHECKING:
    from mltrack.disk.layout import Layout
    from mltrack.entities import ModelVersion

__all__ = ["download_uri", "kept_place", "shown_source"]

_KEPT = re.compile(r"(?:runs:/(?P<run_id>[0-9a-f]{32})|models:/(?P<model_id>m-[0-9a-f]{32}))(?:/(?P<path>.*))?", re.S)


def kept_place(layout: Layout, uri: str) -> str | None:
    """The stored form of an address of files in the store itself; None for another address."""
    uri = local_uri(uri)
    if not uri.startswith(f"{SCHEME}:"):
        return None
    try:
        place = artifact_place(uri)
    except UsageError:
        return None
    if place.experiment_id or place.root.resolve() != layout.root.resolve():
        return None
    base = f"runs:/{place.run_id}" if place.run_id else f"models:/{place.model_id}"
    return f"{base}/{place.path}" if place.path else base


def shown_source(layout: Layout, version: ModelVersion) -> str:
    """The source as MLflow gave it, as a present address."""
    return _address(layout, version.source) if version.as_address else version.source


def download_uri(layout: Layout, version: ModelVersion) -> str:
    """Where to read the files of a version."""
    if version.location is not None:
        return _address(layout, version.location)
    if version.as_address or version.source.startswith("models:/m-"):
        return _address(layout, version.source)
    return version.source


def _address(layout: Layout, kept: str) -> str:
    match = _KEPT.fullmatch(kept)
    if match is None:
        return kept
    folder = layout.run(match["run_id"]) if match["run_id"] else layout.model(match["model_id"])
    if not folder.path.is_dir():
        return kept  # of another store: only its tracking server knows the address
    return artifact_uri(folder.artifacts / match["path"] if match["path"] else folder.artifacts)
