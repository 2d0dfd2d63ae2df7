"""mltrack: an embedded, local-first experiment tracker with sync.

Record with MLflow's names (``start_run``, ``log_metric``, ``log_params`` ...), read with ``Store``. Importing this
package imports nothing else: each name is loaded where it is first used.
"""

from __future__ import annotations

__all__ = [
    "Artifact",
    "BusyError",
    "CorruptionError",
    "Dataset",
    "DatasetInput",
    "Event",
    "Experiment",
    "FilterError",
    "Histogram",
    "Image",
    "InvalidMetricError",
    "InvalidPathError",
    "MetricSummary",
    "MltrackError",
    "ModelVersion",
    "NotFoundError",
    "ParamConflictError",
    "RegisteredModel",
    "RemoteError",
    "Run",
    "RunData",
    "RunInfo",
    "RunStateError",
    "ScriptRunConfig",
    "Store",
    "StoreError",
    "StoreVersionError",
    "StoredRun",
    "SubmittedRun",
    "Table",
    "Text",
    "UsageError",
    "Workspace",
    "active_run",
    "create_experiment",
    "delete_experiment",
    "delete_experiment_tag",
    "delete_run",
    "delete_tag",
    "end_run",
    "flush",
    "get_artifact_uri",
    "get_experiment",
    "get_experiment_by_name",
    "get_run",
    "get_store",
    "last_active_run",
    "log",
    "log_artifact",
    "log_artifacts",
    "log_dict",
    "log_figure",
    "log_image",
    "log_input",
    "log_metric",
    "log_metrics",
    "log_param",
    "log_params",
    "log_series",
    "log_table",
    "log_text",
    "register_model",
    "restore_experiment",
    "search_experiments",
    "search_runs",
    "set_experiment",
    "set_experiment_tag",
    "set_experiment_tags",
    "set_store",
    "set_tag",
    "set_tags",
    "start_run",
    "submit",
]

TYPE_CHECKING = False  # typing's own is not imported for it: this file is all that a bare import costs

_WHERE = {
    "errors": (
        "BusyError CorruptionError FilterError InvalidMetricError InvalidPathError MltrackError NotFoundError "
        "ParamConflictError RemoteError RunStateError StoreError StoreVersionError UsageError"
    ),
    "entities": (
        "Artifact Dataset DatasetInput Event Experiment MetricSummary ModelVersion RegisteredModel RunData RunInfo"
    ),
    "experiments": "delete_experiment_tag restore_experiment search_experiments set_experiment_tags",
    "fluent": (
        "active_run create_experiment delete_experiment delete_tag end_run flush get_artifact_uri get_experiment "
        "get_experiment_by_name get_store last_active_run log log_artifact log_artifacts log_dict log_figure "
        "log_image log_input log_metric log_metrics log_param log_params log_series log_table log_text register_model "
        "set_experiment set_experiment_tag set_store set_tag set_tags start_run"
    ),
    "launch.submit": "ScriptRunConfig SubmittedRun submit",
    "lookup": "delete_run get_run search_runs",
    "reading": "Store",
    "rich_values": "Histogram Image Table Text",
    "run": "Run",
    "store.stored_run": "StoredRun",
}
_ELSEWHERE = {"Workspace": ("mltrack_sync.azure.workspace", "AzureWorkspace")}  # by name alone: what talks to remotes
_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names.split()}


if TYPE_CHECKING:
    from mltrack.entities import (
        Artifact,
        Dataset,
        DatasetInput,
        Event,
        Experiment,
        MetricSummary,
        ModelVersion,
        RegisteredModel,
        RunData,
        RunInfo,
    )
    from mltrack.errors import (
        BusyError,
        CorruptionError,
        FilterError,
        InvalidMetricError,
        InvalidPathError,
        MltrackError,
        NotFoundError,
        ParamConflictError,
        RemoteError,
        RunStateError,
        StoreError,
        StoreVersionError,
        UsageError,
    )
    from mltrack.experiments import (
        delete_experiment_tag,
        restore_experiment,
        search_experiments,
        set_experiment_tags,
    )
    from mltrack.fluent import (
        active_run,
        create_experiment,
        delete_experiment,
        delete_tag,
        end_run,
        flush,
        get_artifact_uri,
        get_experiment,
        get_experiment_by_name,
        get_store,
        last_active_run,
        log,
        log_artifact,
        log_artifacts,
        log_dict,
        log_figure,
        log_image,
        log_input,
        log_metric,
        log_metrics,
        log_param,
        log_params,
        log_series,
        log_table,
        log_text,
        register_model,
        set_experiment,
        set_experiment_tag,
        set_store,
        set_tag,
        set_tags,
        start_run,
    )
    from mltrack.launch.submit import ScriptRunConfig, SubmittedRun, submit
    from mltrack.lookup import delete_run, get_run, search_runs
    from mltrack.reading import Store
    from mltrack.rich_values import Histogram, Image, Table, Text
    from mltrack.run import Run
    from mltrack.store.stored_run import StoredRun
    from mltrack_sync.azure.workspace import AzureWorkspace as Workspace

    __version__: str


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "__version__":
        from importlib.metadata import version

        return version("mltrack")
    if name in _ELSEWHERE:
        module, attribute = _ELSEWHERE[name]
        value = getattr(import_module(module), attribute)
        globals()[name] = value
        return value
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'mltrack' has no attribute {name!r}")
    value = getattr(import_module(f"mltrack.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
