"""Converts mltrack's entities to MLflow's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from mlflow.entities import (
    Dataset,
    DatasetInput,
    ExperimentTag,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Param,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunOutputs,
    RunTag,
)
from mlflow.entities import Experiment as MlflowExperiment
from mlflow.utils.uri import append_to_uri_path

from mltrack.disk.codec import BadLine, decode_line
from mltrack.disk.filesystem import read_small
from mltrack.mlflow_plugin.tracking.graphql import representable
from mltrack.mlflow_plugin.uris import artifact_uri
from mltrack.text.encodable import encodable, encodable_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mltrack import entities
    from mltrack.disk.layout import Layout
    from mltrack.storage.runs.stored_run import StoredRun

__all__ = ["RunPlaces", "as_inputs", "as_outputs", "as_run", "as_run_data", "as_run_info", "to_experiment"]


class RunPlaces:
    """Where the files of runs are: below their experiment's own location, else in the store."""

    def __init__(self, artifact_root: str, experiments: Mapping[str, entities.Experiment]) -> None:
        self._artifact_root = artifact_root
        self._experiments = experiments

    def of(self, run_id: str, experiment_id: str) -> str:
        """A run's artifact URI."""
        experiment = self._experiments.get(experiment_id)
        if experiment is not None and experiment.artifact_location:
            return str(append_to_uri_path(experiment.artifact_location, run_id, "artifacts"))
        return f"{self._artifact_root}/{run_id}/artifacts"


def to_experiment(experiment: entities.Experiment, layout: Layout) -> Any:
    """MLflow's experiment; the default one has no record, so it is as old as the store."""
    location = experiment.artifact_location or artifact_uri(
        layout.root.absolute() / "artifacts" / experiment.experiment_id
    )
    made = experiment.creation_time or _made(layout)
    return MlflowExperiment(
        experiment_id=experiment.experiment_id,
        name=encodable(experiment.name),
        artifact_location=location,
        lifecycle_stage=experiment.lifecycle_stage,
        tags=[ExperimentTag(key, value) for key, value in encodable_pairs(experiment.tags).items()],
        creation_time=made,
        last_update_time=experiment.last_update_time or made,
    )


def _made(layout: Layout) -> int:
    """When the store was created, in ms; 0 if that can't be read."""
    try:
        return int(decode_line(read_small(layout.root / "store.json").rstrip(b"\n"))["created"]) // 1_000_000
    except (OSError, BadLine, KeyError, TypeError, ValueError):
        return 0


def as_run_info(info: entities.RunInfo, places: RunPlaces) -> Any:
    """MLflow's run info."""
    return RunInfo(
        run_id=info.run_id,
        experiment_id=encodable(info.experiment_id),
        user_id=encodable(info.user_id),
        status=info.status,
        start_time=info.start_time,
        end_time=info.end_time,
        lifecycle_stage=info.lifecycle_stage,
        artifact_uri=places.of(info.run_id, info.experiment_id),
        run_name=encodable(info.run_name),
    )


def as_run_data(
    latest: Iterable[tuple[str, float, int, int]], params: Mapping[str, str], tags: Mapping[str, str]
) -> Any:
    """MLflow's run data, with the latest point of each metric: (key, value, step, time in ns)."""
    points = list(latest)
    values = representable(np.array([value for _, value, _, _ in points], dtype=np.float64)).tolist()
    return RunData(
        [
            Metric(encodable(key), value, time // 1_000_000, step)
            for (key, _, step, time), value in zip(points, values, strict=True)
        ],
        [Param(key, value) for key, value in encodable_pairs(params).items()],
        [RunTag(key, value) for key, value in encodable_pairs(tags).items()],
    )


def as_inputs(datasets: Iterable[entities.DatasetInput], model_inputs: Iterable[str]) -> Any:
    """MLflow's run inputs."""
    return RunInputs(
        [
            DatasetInput(
                Dataset(
                    encodable(d.dataset.name),
                    encodable(d.dataset.digest),
                    encodable(d.dataset.source_type),
                    encodable(d.dataset.source),
                    encodable(d.dataset.schema),
                    encodable(d.dataset.profile),
                ),
                [InputTag(key, value) for key, value in encodable_pairs(d.tags).items()],
            )
            for d in datasets
        ],
        [LoggedModelInput(encodable(model_id)) for model_id in model_inputs],
    )


def as_outputs(outputs: Iterable[entities.ModelOutput]) -> Any:
    """MLflow's run outputs."""
    return RunOutputs([LoggedModelOutput(encodable(output.model_id), output.step) for output in outputs])


def as_run(run: StoredRun, places: RunPlaces) -> Any:
    """MLflow's run, with its inputs and outputs."""
    return Run(
        as_run_info(run.info, places),
        as_run_data([(m.key, m.value, m.step, m.time) for m in run.summaries.values()], run.params, run.tags),
        as_inputs(run.datasets, run.model_inputs),
        as_outputs(run.model_outputs),
    )
