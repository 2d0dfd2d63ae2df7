"""Logged models and registered models in the folder ``mlruns``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from mltrack.entities import DELETED, ModelMetric
from mltrack.importers.mlflow.terms import as_text, model_stage, model_status, ns_of
from mltrack.importers.source import SourceError, SourceModel, SourceRegisteredModel, SourceVersion

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.importers.mlflow.artifacts import Artifacts
    from mltrack.importers.mlflow.folders import MlflowFolders
    from mltrack.importers.source import SourceFile

__all__ = ["DELETED_STAGE", "MlrunsModels", "run_source"]

DELETED_STAGE = "Deleted_Internal"
_VERSION = re.compile(r"version-(\d+)")
_RUN_FILES = re.compile(r"/([0-9a-f]{32})/artifacts(?:/(.*))?$")
_MODEL_FILES = re.compile(r"/models/(m-[0-9a-f]{32})/artifacts/?$")


def run_source(uri: str, run: str) -> str:
    """A version's source as ``runs:/`` or ``models:/``, where it is an address of files of a run or a logged model."""
    model = _MODEL_FILES.search(uri)
    if model is not None:
        return f"models:/{model[1]}"
    found = _RUN_FILES.search(uri)
    if found is None or (run and found[1] != run):
        return uri
    return f"runs:/{found[1]}/{found[2]}" if found[2] else f"runs:/{found[1]}"


class MlrunsModels:
    """Reads them."""

    def __init__(self, folders: MlflowFolders, artifacts: Artifacts) -> None:
        self._folders = folders
        self._artifacts = artifacts

    # --- logged models ---

    def logged(self, folder: Path, experiment: str) -> Iterator[SourceModel]:
        """The logged models of an experiment."""
        for place in self._folders.below(folder):
            meta, where = self._folders.meta(place), self._folders.where(place)
            if meta is None:
                continue
            try:
                yield self._logged(place, where, meta, experiment)
            except SourceError as error:
                self._folders.findings.problem(where, str(error))

    def _logged(self, place: Path, where: str, meta: dict[str, Any], experiment: str) -> SourceModel:
        return SourceModel(
            source_id=as_text(meta.get("model_id")) or place.name,
            where=where,
            name=as_text(meta.get("name")),
            experiment=experiment,
            status=model_status(meta.get("status")),
            status_message=as_text(meta.get("status_message")) or None,
            model_type=as_text(meta.get("model_type")) or None,
            source_run=as_text(meta.get("source_run_id")),
            created=ns_of(meta.get("creation_timestamp")),
            deleted=meta.get("lifecycle_stage") == DELETED,
            params=self._folders.texts(place / "params"),
            tags=self._folders.texts(place / "tags"),
            metrics=list(self._metrics(place / "metrics")),
            files=partial(self._files, place, where, as_text(meta.get("artifact_location"))),
        )

    def _files(self, place: Path, where: str, uri: str) -> Iterator[SourceFile]:
        return self._artifacts.files(where, uri, [place / "artifacts"])

    def _metrics(self, folder: Path) -> Iterator[ModelMetric]:
        for key, text in self._folders.texts(folder).items():
            for number, line in enumerate(text.splitlines(), 1):
                parts = line.split(" ")
                try:
                    time, value, step, run = int(parts[0]), float(parts[1]), int(parts[2]), parts[3]
                except (ValueError, IndexError):
                    where = self._folders.where(folder / key)
                    self._folders.findings.problem(where, f"line {number:,} is torn: {line[:60]!r}")
                    continue
                dataset = (parts[4], parts[5]) if len(parts) > 5 else (None, None)
                yield ModelMetric(key, value, step, time, run, *dataset)

    # --- the registry ---

    def registered(self, folder: Path) -> Iterator[SourceRegisteredModel]:
        """The registered models."""
        for place in self._folders.below(folder):
            meta, where = self._folders.meta(place), self._folders.where(place)
            if meta is None:
                continue
            aliases = {
                alias: int(version)
                for alias, version in self._folders.texts(place / "aliases").items()
                if version.strip().isdigit()
            }
            yield SourceRegisteredModel(
                name=as_text(meta.get("name")) or place.name,
                where=where,
                description=as_text(meta.get("description")),
                created=ns_of(meta.get("creation_timestamp")),
                tags=self._folders.texts(place / "tags"),
                aliases=aliases,
                versions=sorted(self._versions(place), key=lambda version: version.version),
            )

    def _versions(self, folder: Path) -> Iterator[SourceVersion]:
        for place in self._folders.below(folder):
            meta = self._folders.meta(place)
            named = _VERSION.fullmatch(place.name)
            if meta is None or named is None or meta.get("current_stage") == DELETED_STAGE:
                continue
            run = as_text(meta.get("run_id"))
            yield SourceVersion(
                version=int(named[1]),
                source=run_source(as_text(meta.get("source")), run),
                run=run,
                model=as_text(meta.get("model_id")),
                description=as_text(meta.get("description")),
                stage=model_stage(meta.get("current_stage")),
                run_link=as_text(meta.get("run_link")),
                created=ns_of(meta.get("creation_timestamp")),
                tags=self._folders.texts(place / "tags"),
            )
