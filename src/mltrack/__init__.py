"""mltrack: an embedded, local-first experiment tracker with sync.

Record with MLflow's names (``start_run``, ``log_metric``, ``log_params`` ...), read with ``Store``. Importing this
package imports nothing else: each name is loaded where it is first used.
"""

from __future__ import annotations

import sys

__all__ = [
    "ActiveRun",
    "Alert",
    "Artifact",
    "BusyError",
    "CorruptionError",
    "Dataset",
    "DatasetInput",
    "Event",
    "Experiment",
    "FilterError",
    "Guard",
    "Histogram",
    "Image",
    "InvalidMetricError",
    "InvalidPathError",
    "Lake",
    "MetricSummary",
    "MissingPackageError",
    "MlflowClient",
    "MlflowException",
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
    "UntrustedError",
    "UsageError",
    "Workspace",
    "active_run",
    "artifacts",
    "autolog",
    "client",
    "create_experiment",
    "data",
    "delete_experiment",
    "delete_experiment_tag",
    "delete_run",
    "delete_tag",
    "disable_system_metrics_logging",
    "enable_system_metrics_logging",
    "end_run",
    "exceptions",
    "flush",
    "flush_artifact_async_logging",
    "flush_async_logging",
    "fork_run",
    "get_artifact_uri",
    "get_experiment",
    "get_experiment_by_name",
    "get_parent_run",
    "get_registry_uri",
    "get_run",
    "get_store",
    "get_tracking_uri",
    "is_tracking_uri_set",
    "last_active_run",
    "load_table",
    "log",
    "log_artifact",
    "log_artifacts",
    "log_dict",
    "log_figure",
    "log_image",
    "log_input",
    "log_inputs",
    "log_metric",
    "log_metrics",
    "log_outputs",
    "log_param",
    "log_params",
    "log_series",
    "log_stream",
    "log_table",
    "log_text",
    "register_model",
    "restore_experiment",
    "restore_run",
    "search_experiments",
    "search_runs",
    "set_experiment",
    "set_experiment_tag",
    "set_experiment_tags",
    "set_registry_uri",
    "set_store",
    "set_system_metrics_node_id",
    "set_system_metrics_samples_before_logging",
    "set_system_metrics_sampling_interval",
    "set_tag",
    "set_tags",
    "set_tracking_uri",
    "start_run",
    "submit",
    "tracking",
]

TYPE_CHECKING = False  # typing's own is not imported for it: this file is all that a bare import costs

_WHERE = {
    "errors": (
        "BusyError CorruptionError FilterError InvalidMetricError InvalidPathError MissingPackageError MltrackError "
        "NotFoundError ParamConflictError RemoteError RunStateError StoreError StoreVersionError UntrustedError "
        "UsageError"
    ),
    "entities": (
        "Alert Artifact Dataset DatasetInput Event Experiment MetricSummary ModelVersion RegisteredModel RunData "
        "RunInfo"
    ),
    "recording.active": "active_run",
    "client": "MlflowClient",
    "exceptions": "MlflowException",
    "guards.rules": "Guard",
    "integrations.autolog": "autolog",
    "recording.experiment_functions": "delete_experiment_tag restore_experiment search_experiments set_experiment_tags",
    "recording.current_store": (
        "create_experiment delete_experiment get_experiment get_experiment_by_name get_store set_experiment "
        "set_experiment_tag set_store"
    ),
    "recording.fluent": "end_run fork_run last_active_run log log_metric log_metrics log_series start_run",
    "launch.submit": "ScriptRunConfig SubmittedRun submit",
    "recording.log_functions": (
        "delete_tag flush flush_artifact_async_logging flush_async_logging get_artifact_uri log_artifact "
        "log_artifacts log_dict log_figure log_image log_input log_inputs log_outputs log_param log_params "
        "log_stream log_table log_text register_model set_tag set_tags"
    ),
    "recording.run_functions": "delete_run get_parent_run get_run load_table restore_run search_runs",
    "store": "Store",
    "values.rich": "Histogram Image Table Text",
    "recording.run": "ActiveRun Run",
    "storage.runs.stored_run": "StoredRun",
    "recording.system_metrics_settings": (
        "disable_system_metrics_logging enable_system_metrics_logging set_system_metrics_node_id "
        "set_system_metrics_samples_before_logging set_system_metrics_sampling_interval"
    ),
    "recording.tracking_uri": "get_registry_uri get_tracking_uri is_tracking_uri_set set_registry_uri set_tracking_uri",
}
_MODULES = {"artifacts", "client", "data", "exceptions", "tracking"}  # imported where they are first named
_ELSEWHERE = {  # by name alone: what talks to remotes
    "Lake": ("mltrack_sync.lake.lake", "Lake"),
    "Workspace": ("mltrack_sync.azureml.workspace", "AzureWorkspace"),
}
_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names.split()}


if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from mltrack import artifacts, client, data, exceptions, tracking
    from mltrack.client import (
        MlflowClient,
    )
    from mltrack.entities import (
        Alert,
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
        MissingPackageError,
        MltrackError,
        NotFoundError,
        ParamConflictError,
        RemoteError,
        RunStateError,
        StoreError,
        StoreVersionError,
        UntrustedError,
        UsageError,
    )
    from mltrack.exceptions import (
        MlflowException,
    )
    from mltrack.guards.rules import Guard
    from mltrack.integrations.autolog import autolog
    from mltrack.launch.submit import (
        ScriptRunConfig,
        SubmittedRun,
        submit,
    )
    from mltrack.recording.active import active_run
    from mltrack.recording.current_store import (
        create_experiment,
        delete_experiment,
        get_experiment,
        get_experiment_by_name,
        get_store,
        set_experiment,
        set_experiment_tag,
        set_store,
    )
    from mltrack.recording.experiment_functions import (
        delete_experiment_tag,
        restore_experiment,
        search_experiments,
        set_experiment_tags,
    )
    from mltrack.recording.fluent import (
        end_run,
        fork_run,
        last_active_run,
        log,
        log_metric,
        log_metrics,
        log_series,
        start_run,
    )
    from mltrack.recording.log_functions import (
        delete_tag,
        flush,
        flush_artifact_async_logging,
        flush_async_logging,
        get_artifact_uri,
        log_artifact,
        log_artifacts,
        log_dict,
        log_figure,
        log_image,
        log_input,
        log_inputs,
        log_outputs,
        log_param,
        log_params,
        log_stream,
        log_table,
        log_text,
        register_model,
        set_tag,
        set_tags,
    )
    from mltrack.recording.run import (
        ActiveRun,
        Run,
    )
    from mltrack.recording.run_functions import (
        delete_run,
        get_parent_run,
        get_run,
        load_table,
        restore_run,
        search_runs,
    )
    from mltrack.recording.system_metrics_settings import (
        disable_system_metrics_logging,
        enable_system_metrics_logging,
        set_system_metrics_node_id,
        set_system_metrics_samples_before_logging,
        set_system_metrics_sampling_interval,
    )
    from mltrack.recording.tracking_uri import (
        get_registry_uri,
        get_tracking_uri,
        is_tracking_uri_set,
        set_registry_uri,
        set_tracking_uri,
    )
    from mltrack.storage.runs.stored_run import (
        StoredRun,
    )
    from mltrack.store import (
        Store,
    )
    from mltrack.values.rich import (
        Histogram,
        Image,
        Table,
        Text,
    )
    from mltrack_sync.azureml.workspace import AzureWorkspace as Workspace
    from mltrack_sync.lake.lake import Lake

    __version__: str


class _OldPaths:
    """Finds modules of ours by the paths they had before; it is asked last, for what nothing else has found."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not name.startswith(("mltrack.", "mltrack_sync.")) or name == "mltrack.moved":
            return None
        from mltrack.moved import find_spec

        return find_spec(name)


sys.meta_path.append(_OldPaths)


if not TYPE_CHECKING:  # so that a checker knows a name that is not here

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name == "__version__":
            from importlib.metadata import version

            return version("mltrack-local")
        if name in _ELSEWHERE:
            module, attribute = _ELSEWHERE[name]
            value = getattr(import_module(module), attribute)
            globals()[name] = value
            return value
        if name in _MODULES:
            return import_module(f"mltrack.{name}")
        if name not in _MODULE_OF:
            from mltrack.recording.mlflow_names import how_to_get

            raise AttributeError(f"module 'mltrack' has no attribute {name!r}{how_to_get(name)}")
        value = getattr(import_module(f"mltrack.{_MODULE_OF[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    dunders = {name for name in globals() if name.startswith("__")}
    return sorted({*dunders, *__all__, *_MODULES, *_ELSEWHERE})
