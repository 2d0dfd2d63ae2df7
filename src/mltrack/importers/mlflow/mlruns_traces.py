"""Traces in the folder ``mlruns``, of MLflow 2 (request ids) and of MLflow 3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mltrack.importers.mlflow.folders import read_yaml
from mltrack.importers.mlflow.terms import as_text
from mltrack.importers.mlflow.trace_facts import ARTIFACT_LOCATION, file_spans, info_fields, time_ms, yaml_assessment
from mltrack.importers.source import SourceError, SourceTrace

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.importers.mlflow.artifacts import Artifacts
    from mltrack.importers.mlflow.folders import MlflowFolders

__all__ = ["MlrunsTraces"]

INFO = "trace_info.yaml"
SOURCE_RUN = "mlflow.sourceRun"


class MlrunsTraces:
    """Reads them."""

    def __init__(self, folders: MlflowFolders, artifacts: Artifacts) -> None:
        self._folders = folders
        self._artifacts = artifacts

    def all(self, folder: Path, experiment: str) -> Iterator[SourceTrace]:
        """The traces of an experiment."""
        for place in self._folders.folders(folder):
            if not (place / INFO).is_file() or self._folders.leads_out(place / INFO):
                continue
            where = self._folders.where(place)
            try:
                yield self._trace(place, where, experiment)
            except (SourceError, ValueError, KeyError) as error:
                self._folders.findings.problem(where, str(error))

    def _trace(self, place: Path, where: str, experiment: str) -> SourceTrace:
        said = read_yaml(place / INFO)
        tags = self._folders.texts(place / "tags")
        metadata = self._folders.texts(place / "request_metadata")
        info: dict[str, Any] = {
            "request_time": time_ms(said.get("request_time", said.get("timestamp_ms"))),
            "state": as_text(said.get("state") or said.get("status")) or "STATE_UNSPECIFIED",
            **info_fields(metadata, tags),
        }
        duration = said.get("execution_duration_ms", said.get("execution_time_ms"))
        if duration is None and said.get("execution_duration") is not None:
            duration = round(float(str(said["execution_duration"]).rstrip("s")) * 1000)
        if duration is not None:
            info["duration"] = int(duration)
        for key in ("client_request_id", "request_preview", "response_preview"):
            if said.get(key) is not None:
                info[key] = as_text(said[key])
        info["assessments"] = list(self._assessments(place / "assessments"))
        files = self._artifacts.files(where, tags.get(ARTIFACT_LOCATION, ""), [place / "artifacts"])
        spans: list[dict[str, Any]] = []
        try:
            spans = file_spans(files)
        except SourceError as error:
            self._folders.findings.problem(where, str(error))
        run = metadata.get(SOURCE_RUN)
        return SourceTrace(
            trace_id=as_text(said.get("trace_id") or said.get("request_id")) or place.name,
            where=where,
            experiment=experiment,
            info=info,
            spans=spans,
            runs=[run] if run else [],
        )

    def _assessments(self, folder: Path) -> Iterator[dict[str, Any]]:
        for path, _ in self._folders.files(folder):
            try:
                yield yaml_assessment(read_yaml(path))
            except (SourceError, ValueError, KeyError, TypeError) as error:
                self._folders.findings.problem(self._folders.where(path), str(error))
