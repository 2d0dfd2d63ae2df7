"""MLflow's database as a source: its tables of runs, experiments, models and traces."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltrack.entities import DELETED, Dataset, DatasetInput, ModelMetric, ModelOutput
from mltrack.importers.database import Database
from mltrack.importers.mlflow.artifacts import Artifacts
from mltrack.importers.mlflow.database_points import DatabasePoints
from mltrack.importers.mlflow.mlruns_models import DELETED_STAGE, run_source
from mltrack.importers.mlflow.terms import (
    NS_PER_MS,
    as_text,
    model_stage,
    model_status,
    ns_of,
    run_name_of,
    run_status,
    user_of,
)
from mltrack.importers.mlflow.trace_facts import ARTIFACT_LOCATION, file_spans, info_fields
from mltrack.importers.source import (
    BaseSource,
    SourceError,
    SourceExperiment,
    SourceModel,
    SourceRegisteredModel,
    SourceRun,
    SourceTrace,
    SourceVersion,
)

if TYPE_CHECKING:
    from mltrack.importers.findings import Findings

__all__ = ["DatabaseSource"]

UNREAD = {
    "scorers": "scorers",
    "webhooks": "webhooks",
    "evaluation_datasets": "evaluation datasets",
    "jobs": "jobs",
}
"""Tables that have no place in a store, and what they hold."""


class DatabaseSource(BaseSource):
    """Such a database, open to read."""

    def __init__(self, path: Path, findings: Findings) -> None:
        """Open it.

        Raises:
            SourceError: it can't be read, or is not MLflow's.
        """
        self._findings = findings
        self._db = Database(path)
        if not (self._db.has("runs", "run_uuid") and self._db.has("experiments", "experiment_id")):
            self._db.close()
            raise SourceError("it has no tables of MLflow's")
        self._artifacts = Artifacts(path.resolve().parent, findings)
        self._names: dict[Any, str] = {}
        self._points = DatabasePoints(self._db, findings)
        columns = ["experiment_id", "name", "lifecycle_stage", "creation_time"]
        self._experiments = list(self._db.select("experiments", columns))
        for row in self._experiments:
            self._names[row["experiment_id"]] = as_text(row["name"]) or str(row["experiment_id"])
        for table, what in UNREAD.items():
            count = sum(1 for _ in self._db.select(table, ["rowid"])) if self._db.has(table) else 0
            if count:
                findings.left_out(what, count)

    def close(self) -> None:
        """Close it."""
        self._db.close()

    def experiments(self) -> Iterable[SourceExperiment]:
        """Its experiments, also deleted ones."""
        for row in self._experiments:
            key = row["experiment_id"]
            with_time = isinstance(row["creation_time"], int)
            yield SourceExperiment(
                name=self._names[key],
                tags=self._pairs("experiment_tags", "experiment_id", key),
                created=row["creation_time"] * NS_PER_MS if with_time else 0,
                deleted=row["lifecycle_stage"] == DELETED,
            )

    def _pairs(self, table: str, column: str, value: Any, names: tuple[str, str] = ("key", "value")) -> dict[str, str]:
        rows = self._db.select(table, names, f"{column} = ?", (value,))
        return {as_text(row[names[0]]): as_text(row[names[1]]) for row in rows}

    # --- runs ---

    def runs(self) -> Iterable[SourceRun]:
        """Its runs, also deleted ones."""
        columns = ["run_uuid", "name", "status", "start_time", "end_time", "user_id", "lifecycle_stage"]
        for row in self._db.select("runs", [*columns, "artifact_uri", "experiment_id"]):
            where = f"run {as_text(row['run_uuid'])}"
            try:
                yield self._run(row, where)
            except SourceError as error:
                self._findings.problem(where, str(error))

    def _run(self, row: dict[str, Any], where: str) -> SourceRun:
        run_id, end = as_text(row["run_uuid"]), row["end_time"]
        tags = self._pairs("tags", "run_uuid", run_id)
        experiment = row["experiment_id"]
        return SourceRun(
            source_id=run_id,
            where=where,
            name=run_name_of(row["name"], tags, run_id),
            experiment=self._names.get(experiment, str(experiment)),
            status=run_status(row["status"]),
            start_time=ns_of(row["start_time"]),
            end_time=None if end is None else ns_of(end),
            user=user_of(row["user_id"], tags),
            deleted=row["lifecycle_stage"] == DELETED,
            params=self._pairs("params", "run_uuid", run_id),
            tags=tags,
            datasets=list(self._datasets(run_id)),
            model_inputs=self._model_inputs(run_id),
            model_outputs=self._model_outputs(run_id),
            points=partial(self._points.of, run_id),
            files=partial(self._artifacts.files, where, as_text(row["artifact_uri"])),
            time_unit=NS_PER_MS,
        )

    def _datasets(self, run_id: str) -> Iterator[DatasetInput]:
        where = "source_type = 'DATASET' AND destination_type = 'RUN' AND destination_id = ?"
        for link in self._db.select("inputs", ["input_uuid", "source_id"], where, (run_id,)):
            names = ["name", "digest", "dataset_source_type", "dataset_source", "dataset_schema", "dataset_profile"]
            tags = self._pairs("input_tags", "input_uuid", link["input_uuid"], ("name", "value"))
            for row in self._db.select("datasets", names, "dataset_uuid = ?", (link["source_id"],)):
                texts = [as_text(row[name]) for name in names[:4]]
                yield DatasetInput(Dataset(*texts, *(as_text(row[name]) or None for name in names[4:])), tags)

    def _model_inputs(self, run_id: str) -> list[str]:
        where = "source_type = 'RUN_INPUT' AND destination_type = 'MODEL_INPUT' AND source_id = ?"
        rows = self._db.select("inputs", ["destination_id"], where, (run_id,))
        return [as_text(row["destination_id"]) for row in rows]

    def _model_outputs(self, run_id: str) -> list[ModelOutput]:
        where = "source_type = 'RUN_OUTPUT' AND destination_type = 'MODEL_OUTPUT' AND source_id = ?"
        rows = self._db.select("inputs", ["destination_id", "step"], where, (run_id,))
        return [ModelOutput(as_text(row["destination_id"]), int(row["step"] or 0)) for row in rows]

    # --- models ---

    def logged_models(self) -> Iterable[SourceModel]:
        """Its logged models."""
        names = ["model_id", "experiment_id", "name", "artifact_location", "creation_timestamp_ms", "status"]
        names += ["lifecycle_stage", "model_type", "source_run_id", "status_message"]
        for row in self._db.select("logged_models", names):
            model_id = as_text(row["model_id"])
            where = f"logged model {model_id}"
            try:
                yield SourceModel(
                    source_id=model_id,
                    where=where,
                    name=as_text(row["name"]),
                    experiment=self._names.get(row["experiment_id"], str(row["experiment_id"])),
                    status=model_status(row["status"]),
                    status_message=as_text(row["status_message"]) or None,
                    model_type=as_text(row["model_type"]) or None,
                    source_run=as_text(row["source_run_id"]),
                    created=ns_of(row["creation_timestamp_ms"]),
                    deleted=row["lifecycle_stage"] == DELETED,
                    params=self._pairs("logged_model_params", "model_id", model_id, ("param_key", "param_value")),
                    tags=self._pairs("logged_model_tags", "model_id", model_id, ("tag_key", "tag_value")),
                    metrics=list(self._model_metrics(model_id)),
                    files=partial(self._artifacts.files, where, as_text(row["artifact_location"])),
                )
            except SourceError as error:
                self._findings.problem(where, str(error))

    def _model_metrics(self, model_id: str) -> Iterator[ModelMetric]:
        names = ["metric_name", "metric_value", "metric_step", "metric_timestamp_ms", "run_id"]
        names += ["dataset_name", "dataset_digest"]
        for row in self._db.select("logged_model_metrics", names, "model_id = ?", (model_id,)):
            key, value, step, time, run, dataset, digest = row.values()
            number = float("nan") if value is None else float(value)
            yield ModelMetric(as_text(key), number, step, time, as_text(run), dataset or None, digest or None)

    def registered_models(self) -> Iterable[SourceRegisteredModel]:
        """Its registry."""
        for row in self._db.select("registered_models", ["name", "description", "creation_time"]):
            name = as_text(row["name"])
            aliases = self._db.select("registered_model_aliases", ["alias", "version"], "name = ?", (name,))
            yield SourceRegisteredModel(
                name=name,
                where=f"registered model {name}",
                description=as_text(row["description"]),
                created=ns_of(row["creation_time"]),
                tags=self._pairs("registered_model_tags", "name", name),
                aliases={as_text(alias["alias"]): int(alias["version"]) for alias in aliases},
                versions=list(self._versions(name)),
            )

    def _versions(self, name: str) -> Iterator[SourceVersion]:
        names = ["version", "source", "run_id", "description", "current_stage", "run_link", "creation_time"]
        for row in self._db.select("model_versions", names, "name = ?", (name,), "version"):
            if row["current_stage"] == DELETED_STAGE:
                continue
            where, values = "name = ? AND version = ?", (name, row["version"])
            tags = self._db.select("model_version_tags", ["key", "value"], where, values)
            run, source = as_text(row["run_id"]), as_text(row["source"])
            model = source.removeprefix("models:/") if source.startswith("models:/m-") else ""
            yield SourceVersion(
                version=int(row["version"]),
                source=run_source(source, run),
                run=run,
                model=model,
                description=as_text(row["description"]),
                stage=model_stage(row["current_stage"]),
                run_link=as_text(row["run_link"]),
                created=ns_of(row["creation_time"]),
                tags={as_text(tag["key"]): as_text(tag["value"]) for tag in tags},
            )

    # --- traces ---

    def traces(self) -> Iterable[SourceTrace]:
        """Its traces."""
        names = ["request_id", "experiment_id", "timestamp_ms", "execution_time_ms", "status", "client_request_id"]
        names += ["request_preview", "response_preview", "trace_name", "session_id"]
        for row in self._db.select("trace_info", names):
            trace_id = as_text(row["request_id"])
            where = f"trace {trace_id}"
            try:
                yield self._trace(row, trace_id, where)
            except (SourceError, ValueError, KeyError, TypeError) as error:
                self._findings.problem(where, str(error))

    def _trace(self, row: dict[str, Any], trace_id: str, where: str) -> SourceTrace:
        tags = self._pairs("trace_tags", "request_id", trace_id)
        metadata = self._pairs("trace_request_metadata", "request_id", trace_id)
        if row["trace_name"] and "mlflow.traceName" not in tags:
            tags["mlflow.traceName"] = as_text(row["trace_name"])
        info: dict[str, Any] = {
            "request_time": int(row["timestamp_ms"]),
            "state": as_text(row["status"]),
            **info_fields(metadata, tags),
            "assessments": list(self._assessments(trace_id)),
        }
        if row["execution_time_ms"] is not None:
            info["duration"] = int(row["execution_time_ms"])
        if row["session_id"]:
            info["session"] = as_text(row["session_id"])
        for name in ("client_request_id", "request_preview", "response_preview"):
            if row[name] is not None:
                info[name] = as_text(row[name])
        contents = self._db.select("spans", ["content"], "trace_id = ?", (trace_id,))
        spans = [json.loads(span["content"]) for span in contents]
        if not spans and tags.get(ARTIFACT_LOCATION):
            spans = file_spans(self._artifacts.files(where, tags[ARTIFACT_LOCATION]))
        links = "source_type = 'trace' AND destination_type = 'run' AND source_id = ?"
        linked = self._db.select("entity_associations", ["destination_id"], links, (trace_id,))
        runs = [as_text(link["destination_id"]) for link in linked]
        run = metadata.get("mlflow.sourceRun")
        return SourceTrace(
            trace_id=trace_id,
            where=where,
            experiment=self._names.get(row["experiment_id"], str(row["experiment_id"])),
            info=info,
            spans=spans,
            runs=list(dict.fromkeys([*runs, *([run] if run else [])])),
        )

    def _assessments(self, trace_id: str) -> Iterator[dict[str, Any]]:
        names = {
            "assessment_id": "assessment_id",
            "name": "name",
            "assessment_type": "kind",
            "value": "value",
            "error": "error",
            "created_timestamp": "create_time",
            "last_updated_timestamp": "update_time",
            "source_type": "source_type",
            "source_id": "source_id",
            "run_id": "run_id",
            "span_id": "span_id",
            "rationale": "rationale",
            "overrides": "overrides",
            "assessment_metadata": "metadata",
        }
        for row in self._db.select("assessments", list(names), "trace_id = ?", (trace_id,)):
            yield {names[key]: value for key, value in row.items() if value is not None}
