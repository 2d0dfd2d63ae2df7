"""MLflow's autologging, and every logger that writes to MLflow, into the run that this program records."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mltrack.extras import need
from mltrack.recording import current_store
from mltrack.recording.active import active_run
from mltrack.recording.tracking_uri import get_tracking_uri

if TYPE_CHECKING:
    from mltrack.store import Store

__all__ = ["autolog"]


def autolog(*, disable: bool = False, **options: Any) -> None:
    """Turn on MLflow's autologging of every library it knows, into this store and into the active run.

    From now on MLflow records into the store that is recorded into (its tracking and registry URI are set), and a run
    that MLflow starts while a run of ``mltrack.start_run`` is active is that run: what ``mlflow.autolog``, a Trainer's
    ``report_to="mlflow"``, Lightning's ``MLFlowLogger`` or ``mlflow.log_metric`` log goes there. The program that
    started the run ends it; MLflow's end of it is ignored. Child runs (``nested=True``) become its children. While no
    run is active, MLflow makes runs of its own, in the same store and experiment.

    Call it once, before the training; ``set_store`` and ``set_experiment`` come before it.

    Args:
        disable: Turn autologging off, and let MLflow make runs of its own again.
        options: What ``mlflow.autolog`` takes: ``log_models=False``, ``silent=True`` ...

    Raises:
        MissingPackageError: mlflow is not installed.
    """
    need("mlflow", "autolog()")
    import mlflow

    from mltrack.mlflow_plugin.joining import join_runs

    if disable:
        join_runs(None)
        mlflow.autolog(disable=True, **options)
        return
    uri = get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    mlflow.set_experiment(
        experiment_id=current_store.chosen_experiment(current_store.current_layout(), None).experiment_id
    )
    join_runs(_active_in)
    mlflow.autolog(**options)


def _active_in(store: Store) -> str | None:
    """The id of the active run, if it is one of this store."""
    run = active_run()
    if run is None or run.ended or os.path.realpath(run.store_folder) != os.path.realpath(store.path):
        return None
    return run.run_id
