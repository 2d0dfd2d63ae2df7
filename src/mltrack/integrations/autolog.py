"""MLflow's autologging, and every logger that writes to MLflow, into the run that this program records."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mltrack.extras import need
from mltrack.recording import current_store
from mltrack.recording.active import active_run
from mltrack.recording.tracking_uri import get_tracking_uri
from mltrack.values.arguments import list_argument

if TYPE_CHECKING:
    from mltrack.recording.run import Run
    from mltrack.store import Store

__all__ = ["autolog"]


def autolog(
    log_input_examples: bool = False,
    log_model_signatures: bool = True,
    log_models: bool = True,
    log_datasets: bool = True,
    log_traces: bool = True,
    disable: bool = False,
    exclusive: bool = False,
    disable_for_unsupported_versions: bool = False,
    silent: bool = False,
    extra_tags: dict[str, str] | None = None,
    exclude_flavors: list[str] | None = None,
) -> None:
    """Turn on MLflow's autologging of every library it knows, into this store and into the active run.

    From now on MLflow records into the store that is recorded into (its tracking and registry URI are set), and a run
    that MLflow starts while a run of ``mltrack.start_run`` is active is that run: what ``mlflow.autolog``, a Trainer's
    ``report_to="mlflow"``, Lightning's ``MLFlowLogger`` or ``mlflow.log_metric`` log goes there. The program that
    started the run ends it, with the status that the program gives it: MLflow's ends of it are ignored, until the run
    has ended and MLflow has ended each of its own. Child runs (``nested=True``) become its children. While no
    run is active, MLflow makes runs of its own, in the same store and experiment.

    Call it once, before the training; ``set_store`` and ``set_experiment`` come before it.

    Args:
        log_input_examples: log an example of the input with each model.
        log_model_signatures: log what each model takes and gives.
        log_models: log trained models.
        log_datasets: log what was trained on.
        log_traces: log traces of libraries that make some.
        disable: turn autologging off, and let MLflow make runs of its own again.
        exclusive: don't log to runs that were started by hand; as that is what this function is for, leave it False.
        disable_for_unsupported_versions: skip libraries in versions that MLflow was not tested with.
        silent: show none of MLflow's messages and warnings.
        extra_tags: tags to set on each run.
        exclude_flavors: libraries to leave out.

    Raises:
        MissingPackageError: mlflow is not installed.
    """
    if exclude_flavors is not None:
        exclude_flavors = list_argument("exclude_flavors", exclude_flavors)
    need("mlflow", "autolog()")
    import mlflow

    from mltrack.mlflow_plugin.joining import join_runs

    if not disable:
        uri = get_tracking_uri()
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        experiment = current_store.chosen_experiment(current_store.current_layout(), None)
        mlflow.set_experiment(experiment_id=experiment.experiment_id)
    join_runs(None if disable else _active_in)
    mlflow.autolog(
        log_input_examples=log_input_examples,
        log_model_signatures=log_model_signatures,
        log_models=log_models,
        log_datasets=log_datasets,
        log_traces=log_traces,
        disable=disable,
        exclusive=exclusive,
        disable_for_unsupported_versions=disable_for_unsupported_versions,
        silent=silent,
        extra_tags=extra_tags,
        exclude_flavors=exclude_flavors,
    )


def _active_in(store: Store) -> Run | None:
    """The active run, if it is one of this store."""
    run = active_run()
    if run is None or run.ended or os.path.realpath(run.store_folder) != os.path.realpath(store.path):
        return None
    return run
