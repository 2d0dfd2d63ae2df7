"""MLflow's FileStore, the folder ``mlruns``: an experiment a folder, a run a folder in it, a metric a file of lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mltrack.disk.layout import is_run_id
from mltrack.entities import DELETED, Dataset, DatasetInput, ModelOutput
from mltrack.importers.mlflow.artifacts import Artifacts
from mltrack.importers.mlflow.folders import META, MlflowFolders
from mltrack.importers.mlflow.mlruns_models import MlrunsModels
from mltrack.importers.mlflow.mlruns_traces import MlrunsTraces
from mltrack.importers.mlflow.terms import NS_PER_MS, as_text, ns_of, run_name_of, run_status, user_of
from mltrack.importers.source import (
    BaseSource,
    SourceError,
    SourceExperiment,
    SourceModel,
    SourceRegisteredModel,
    SourceRun,
    SourceTrace,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from mltrack.importers.findings import Findings
    from mltrack.importers.source import SourceFile

__all__ = ["MlrunsSource"]

TRASH = ".trash"
REGISTRY = "models"


class MlrunsSource(BaseSource):
    """Such a folder, open to read."""

    def __init__(self, root: Path, findings: Findings) -> None:
        self._folders = MlflowFolders(root, findings)
        self._findings = findings
        self._root = root
        self._artifacts = Artifacts(root, findings)
        self._experiments: dict[Path, SourceExperiment] = {}
        self._names: dict[str, str] = {}
        for folder in self._experiment_folders():
            self._open_experiment(folder)

    def experiments(self) -> Iterable[SourceExperiment]:
        """Its experiments, also those in the trash."""
        return self._experiments.values()

    def _experiment_folders(self) -> Iterator[Path]:
        for parent in (self._root, self._root / TRASH):
            for folder in self._folders.folders(parent):
                if folder.name not in (TRASH, REGISTRY):
                    yield folder

    def _open_experiment(self, folder: Path) -> None:
        if not (folder / META).is_file():
            if any((run / META).is_file() for run in self._folders.folders(folder)):
                self._findings.problem(self._folders.where(folder), f"{META} is missing: its runs are in {folder.name}")
                self._add_experiment(folder, {"name": folder.name})
            return
        meta = self._folders.meta(folder)
        self._add_experiment(folder, meta if meta is not None else {"name": folder.name})

    def _add_experiment(self, folder: Path, meta: dict[str, Any]) -> None:
        name = as_text(meta.get("name")) or folder.name
        self._names[folder.name] = name
        try:
            created = ns_of(meta.get("creation_time"))
        except SourceError:
            created = 0
        self._experiments[folder] = SourceExperiment(
            name=name,
            tags=self._folders.texts(folder / "tags"),
            created=created,
            deleted=meta.get("lifecycle_stage") == DELETED or folder.parent.name == TRASH,
        )

    # --- runs ---

    def runs(self) -> Iterable[SourceRun]:
        """The runs of all experiments, also deleted ones."""
        for experiment in self._experiments:
            for folder in self._folders.below(experiment):
                where = self._folders.where(folder)
                meta = self._folders.meta(folder)
                if meta is not None:
                    try:
                        yield self._run(folder, where, meta, experiment)
                    except SourceError as error:
                        self._findings.problem(where, str(error))

    def _run(self, folder: Path, where: str, meta: dict[str, Any], experiment: Path) -> SourceRun:
        run_id = folder.name if is_run_id(folder.name) else as_text(meta.get("run_id") or meta.get("run_uuid"))
        if not run_id:
            raise SourceError(f"its {META} names no run")
        tags = self._folders.texts(folder / "tags")
        end = meta.get("end_time")
        inputs, models = self._inputs(folder, experiment)
        return SourceRun(
            source_id=run_id,
            where=where,
            name=run_name_of(meta.get("run_name") or meta.get("name"), tags, run_id),
            experiment=self._experiments[experiment].name,
            status=run_status(meta.get("status")),
            start_time=ns_of(meta.get("start_time")),
            end_time=None if end is None else ns_of(end),
            user=user_of(meta.get("user_id"), tags),
            deleted=meta.get("lifecycle_stage") == DELETED,
            params=self._folders.texts(folder / "params"),
            tags=tags,
            datasets=inputs,
            model_inputs=models,
            model_outputs=self._outputs(folder),
            points=partial(self._points, folder / "metrics"),
            files=partial(self._files, folder, where, as_text(meta.get("artifact_uri"))),
            time_unit=NS_PER_MS,
        )

    def _files(self, folder: Path, where: str, uri: str) -> Iterator[SourceFile]:
        return self._artifacts.files(where, uri, [folder / "artifacts"])

    def _points(self, folder: Path) -> Iterator[pa.RecordBatch]:
        from mltrack.importers.batches import make_batch
        from mltrack.importers.mlflow.metric_lines import read_metric_file

        for path, key in self._folders.files(folder):
            where = self._folders.where(path)
            try:
                for lines in read_metric_file(path, where, self._findings):
                    codes = np.zeros(len(lines.values), np.int64)
                    yield make_batch([as_text(key)], codes, lines.steps, lines.times, lines.values)
            except OSError as error:
                self._findings.problem(where, f"can't be read: {error.strerror}")

    def _inputs(self, folder: Path, experiment: Path) -> tuple[list[DatasetInput], list[str]]:
        datasets: list[DatasetInput] = []
        models: list[str] = []
        for place in self._folders.below(folder / "inputs"):
            fields = self._folders.meta(place)
            if fields is None:
                continue
            if str(fields.get("source_type")) == "MODEL":
                models.append(as_text(fields.get("source_id")))
                continue
            dataset = self._folders.meta(experiment / "datasets" / as_text(fields.get("source_id")))
            if dataset is not None:
                texts = [as_text(dataset.get(key)) for key in ("name", "digest", "source_type", "source")]
                more = [as_text(dataset.get(key)) or None for key in ("schema", "profile")]
                tags = fields.get("tags") or {}
                used = {as_text(key): as_text(value) for key, value in tags.items()}
                datasets.append(DatasetInput(Dataset(*texts, *more), used))
        return datasets, models

    def _outputs(self, folder: Path) -> list[ModelOutput]:
        metas = [self._folders.meta(place) for place in self._folders.below(folder / "outputs")]
        return [
            ModelOutput(as_text(meta.get("destination_id")), int(meta.get("step") or 0))
            for meta in metas
            if meta is not None
        ]

    # --- the rest ---

    def logged_models(self) -> Iterable[SourceModel]:
        """The logged models of all experiments."""
        models = MlrunsModels(self._folders, self._artifacts)
        for folder, experiment in self._experiments.items():
            yield from models.logged(folder / "models", experiment.name)

    def registered_models(self) -> Iterable[SourceRegisteredModel]:
        """The registry."""
        return MlrunsModels(self._folders, self._artifacts).registered(self._root / REGISTRY)

    def traces(self) -> Iterable[SourceTrace]:
        """The traces of all experiments."""
        traces = MlrunsTraces(self._folders, self._artifacts)
        for folder, experiment in self._experiments.items():
            yield from traces.all(folder / "traces", experiment.name)
