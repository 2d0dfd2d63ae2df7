"""Modules by the paths they had before: they can be imported by those for one release, with a warning."""

from __future__ import annotations

import warnings
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["PACKAGES", "PATHS", "find_name", "find_spec"]

PATHS = {
    "mltrack.active": "mltrack.recording.active",
    "mltrack.artifact_files": "mltrack.disk.artifact_files",
    "mltrack.cli.changes": "mltrack.cli.manage",
    "mltrack.cli.checking": "mltrack.cli.check",
    "mltrack.cli.comparing": "mltrack.cli.compare",
    "mltrack.cli.completing": "mltrack.cli.completion",
    "mltrack.cli.demonstrating": "mltrack.cli.demo",
    "mltrack.cli.exits": "mltrack.cli.exit_codes",
    "mltrack.cli.finding": "mltrack.cli.select",
    "mltrack.cli.launching": "mltrack.cli.launch",
    "mltrack.cli.listing": "mltrack.cli.runs mltrack.cli.show",
    "mltrack.cli.points": "mltrack.cli.metrics",
    "mltrack.cli.serving": "mltrack.cli.serve",
    "mltrack.cli.session": "mltrack.cli.context",
    "mltrack.cli.tables": "mltrack.cli.export",
    "mltrack.cli.wording": "mltrack.cli.formatting",
    "mltrack.demo.counting": "mltrack.demo.compare",
    "mltrack.exit_code": "mltrack.process.exit_code",
    "mltrack.experiments": "mltrack.recording.experiment_functions",
    "mltrack.export": "mltrack.catalog.export",
    "mltrack.fluent": "mltrack.recording.fluent mltrack.recording.current_store",
    "mltrack.flusher": "mltrack.disk.flusher",
    "mltrack.folder_events": "mltrack.recording.fs_events",
    "mltrack.format": "mltrack.disk.codec",
    "mltrack.fs": "mltrack.disk.filesystem",
    "mltrack.headroom": "mltrack.process.headroom",
    "mltrack.inputs": "mltrack.values.datasets",
    "mltrack.journal": "mltrack.journal.points mltrack.journal.events mltrack.journal.locked_points",
    "mltrack.jsonlog": "mltrack.disk.jsonlog",
    "mltrack.known_info": "mltrack.recording.known_info",
    "mltrack.launch.contents": "mltrack.storage.source_contents",
    "mltrack.launch.environment": "mltrack.launch.child_env",
    "mltrack.launch.leftovers": "mltrack.launch.orphaned_output",
    "mltrack.launch.lines": "mltrack.launch.ansi",
    "mltrack.launch.machine": "mltrack.launch.host_info",
    "mltrack.launch.output": "mltrack.launch.log_file",
    "mltrack.launch.reading": "mltrack.launch.log_reader",
    "mltrack.launch.recorders": "mltrack.launch.collectors",
    "mltrack.launch.redact": "mltrack.process.secret_patterns",
    "mltrack.launch.source_packs": "mltrack.storage.source_contents",
    "mltrack.launch.secret_patterns": "mltrack.process.secret_patterns",
    "mltrack.launch.sources": "mltrack.launch.source_files",
    "mltrack.launch.stand_in": "mltrack.launch.takeover",
    "mltrack.live": "mltrack.recording.background_sync",
    "mltrack.local_server": "mltrack.process.server",
    "mltrack.log_functions": "mltrack.recording.log_functions",
    "mltrack.lookup": "mltrack.recording.run_functions",
    "mltrack.media": "mltrack.values.media",
    "mltrack.mlflow_names": "mltrack.recording.mlflow_names",
    "mltrack.mlflow_plugin.artifacts": "mltrack.mlflow_plugin.artifacts.repository",
    "mltrack.mlflow_plugin.artifacts_around": "mltrack.mlflow_plugin.artifacts.enclosing_folder",
    "mltrack.mlflow_plugin.launched": "mltrack.mlflow_plugin.launch_handoff",
    "mltrack.mlflow_plugin.leaving": "mltrack.mlflow_plugin.exit_hook",
    "mltrack.mlflow_plugin.local_artifacts": "mltrack.mlflow_plugin.artifacts.local_folder",
    "mltrack.mlflow_plugin.open_run": "mltrack.mlflow_plugin.pooled_run",
    "mltrack.mlflow_plugin.registry": "mltrack.mlflow_plugin.registry.store",
    "mltrack.mlflow_plugin.registry_search": "mltrack.mlflow_plugin.registry.search",
    "mltrack.mlflow_plugin.sources": "mltrack.mlflow_plugin.registry.sources",
    "mltrack.mlflow_plugin.tracking.entries": "mltrack.mlflow_plugin.tracking.run_data",
    "mltrack.mlflow_plugin.tracking.left_out": "mltrack.mlflow_plugin.tracking.unsupported",
    "mltrack.mlflow_plugin.tracking.part": "mltrack.mlflow_plugin.tracking.base",
    "mltrack.mlflow_plugin.webhooks": "mltrack.mlflow_plugin.registry.webhooks",
    "mltrack.mlflow_plugin.writers": "mltrack.mlflow_plugin.run_pool",
    "mltrack.mounts": "mltrack.disk.mounts",
    "mltrack.names": "mltrack.values.run_names",
    "mltrack.operations": "mltrack.recording.operations",
    "mltrack.other_runs": "mltrack.recording.other_runs",
    "mltrack.preload": "mltrack.recording.preload",
    "mltrack.printable": "mltrack.text.printable",
    "mltrack.printing": "mltrack.text.printing",
    "mltrack.process_end": "mltrack.process.ending",
    "mltrack.query": "mltrack.catalog",
    "mltrack.query.catalog": "mltrack.catalog.catalog",
    "mltrack.query.changes": "mltrack.catalog.dirty_runs",
    "mltrack.query.compile": "mltrack.catalog.filter_sql",
    "mltrack.query.experiment_search": "mltrack.catalog.experiment_search",
    "mltrack.query.filter": "mltrack.catalog.filter_parser mltrack.catalog.filter_tokens",
    "mltrack.query.ordering": "mltrack.catalog.order_by",
    "mltrack.query.refresh": "mltrack.catalog.refresh",
    "mltrack.query.schema": "mltrack.catalog.schema",
    "mltrack.query.search": "mltrack.catalog.search",
    "mltrack.query.snapshot": "mltrack.catalog.run_rows",
    "mltrack.query.sql": "mltrack.catalog.sql",
    "mltrack.query.verified": "mltrack.catalog.verified_segments",
    "mltrack.reading": "mltrack.store",
    "mltrack.recorder": "mltrack.journal.recorder",
    "mltrack.records": "mltrack.disk.fields",
    "mltrack.redaction": "mltrack.text.redaction",
    "mltrack.remotes_file": "mltrack.disk.remotes_file",
    "mltrack.rich_series": "mltrack.journal.rich_series",
    "mltrack.rich_values": "mltrack.values.rich",
    "mltrack.run": "mltrack.recording.run",
    "mltrack.run_files": "mltrack.recording.run_artifacts",
    "mltrack.run_handles": "mltrack.recording.run_handles",
    "mltrack.run_inputs": "mltrack.recording.run_links",
    "mltrack.schema": "mltrack.disk.line_types",
    "mltrack.segment": "mltrack.disk.segment mltrack.disk.segment_reader",
    "mltrack.segment_shape": "mltrack.disk.segment_check",
    "mltrack.series": "mltrack.values.columns",
    "mltrack.shutdown": "mltrack.process.shutdown",
    "mltrack.store.anchor": "mltrack.disk.anchor",
    "mltrack.store.check": "mltrack.storage.check.check mltrack.storage.check.report",
    "mltrack.store.check_models": "mltrack.storage.check.models",
    "mltrack.store.check_run": "mltrack.storage.check.runs",
    "mltrack.store.check_sources": "mltrack.storage.check.sources",
    "mltrack.store.check_traces": "mltrack.storage.check.traces",
    "mltrack.store.damage": "mltrack.disk.damage",
    "mltrack.store.edit": "mltrack.storage.runs.edit",
    "mltrack.store.fold": "mltrack.storage.runs.state",
    "mltrack.store.found_files": "mltrack.storage.runs.unrecorded_files",
    "mltrack.store.layout": "mltrack.disk.layout",
    "mltrack.store.liveness": "mltrack.disk.liveness",
    "mltrack.store.logged_models": "mltrack.storage.models.models",
    "mltrack.store.model_state": "mltrack.storage.models.state",
    "mltrack.store.points": "mltrack.journal.reader",
    "mltrack.store.registry": "mltrack.storage.registry.registry",
    "mltrack.store.registry_state": "mltrack.storage.registry.state",
    "mltrack.store.seal": "mltrack.journal.seal mltrack.storage.runs.sealing",
    "mltrack.store.series_artifacts": "mltrack.storage.runs.series_artifacts",
    "mltrack.store.shared_log": "mltrack.disk.shared_log",
    "mltrack.store.steps": "mltrack.storage.runs.step_counters",
    "mltrack.store.store_path": "mltrack.disk.store_path",
    "mltrack.store.stored_run": "mltrack.storage.runs.stored_run",
    "mltrack.store.summary": "mltrack.storage.runs.summary",
    "mltrack.store.trace_figures": "mltrack.storage.traces.figures",
    "mltrack.store.trace_fold": "mltrack.storage.traces.state mltrack.storage.traces.trace",
    "mltrack.store.trace_index": "mltrack.storage.traces.index",
    "mltrack.store.trace_writer": "mltrack.storage.traces.writer",
    "mltrack.store.traces": "mltrack.storage.traces.traces",
    "mltrack.store.workspace": "mltrack.storage.experiments",
    "mltrack.system_metrics": "mltrack.recording.system_metrics mltrack.recording.samplers",
    "mltrack.system_metrics_settings": "mltrack.recording.system_metrics_settings",
    "mltrack.tables": "mltrack.values.tables",
    "mltrack.tracking_uri": "mltrack.recording.tracking_uri",
    "mltrack.trouble": "mltrack.process.trouble",
    "mltrack.trust": "mltrack.disk.trust",
    "mltrack.used_stores": "mltrack.recording.used_stores",
    "mltrack.values": "mltrack.values.scalars",
    "mltrack.watching": "mltrack.recording.folder_watch",
    "mltrack.written_points": "mltrack.journal.written_points",
    "mltrack_sync.answers": "mltrack_sync.http.responses",
    "mltrack_sync.artifact_places": "mltrack_sync.mlflow.files.places",
    "mltrack_sync.artifacts": "mltrack_sync.mlflow.files.upload",
    "mltrack_sync.azure": "mltrack_sync.azureml",
    "mltrack_sync.azure.artifacts": "mltrack_sync.azureml.artifacts",
    "mltrack_sync.azure.client": "mltrack_sync.azureml.client",
    "mltrack_sync.azure.scope": "mltrack_sync.azureml.scope",
    "mltrack_sync.azure.service": "mltrack_sync.azureml.service",
    "mltrack_sync.azure.tokens": "mltrack_sync.azureml.tokens",
    "mltrack_sync.azure.workspace": "mltrack_sync.azureml.workspace",
    "mltrack_sync.background": "mltrack_sync.daemon.daemon",
    "mltrack_sync.client": "mltrack_sync.mlflow.api.client",
    "mltrack_sync.command_line": "mltrack_sync.cli.common mltrack_sync.remotes.resolver",
    "mltrack_sync.commands": "mltrack_sync.cli.sync",
    "mltrack_sync.connections": "mltrack_sync.http.pool",
    "mltrack_sync.endpoint": "mltrack_sync.http.endpoint",
    "mltrack_sync.experiment_entry": "mltrack_sync.ledger.experiments",
    "mltrack_sync.experiment_identity": "mltrack_sync.mlflow.push.experiment_ids",
    "mltrack_sync.features": "mltrack_sync.mlflow.api.capabilities",
    "mltrack_sync.file_content": "mltrack_sync.mlflow.files.content",
    "mltrack_sync.forecast": "mltrack_sync.mlflow.plan.dry_run",
    "mltrack_sync.further": "mltrack_sync.mlflow.plan.pending",
    "mltrack_sync.histories": "mltrack_sync.mlflow.verify.histories",
    "mltrack_sync.http.answer": "mltrack_sync.http.body",
    "mltrack_sync.http.wire": "mltrack_sync.http.sockets",
    "mltrack_sync.identity": "mltrack_sync.mlflow.push.run_ids",
    "mltrack_sync.in_run_entry": "mltrack_sync.ledger.fallback",
    "mltrack_sync.inputs_push": "mltrack_sync.mlflow.push.run_links",
    "mltrack_sync.ledger": "mltrack_sync.ledger.ledger",
    "mltrack_sync.logged_entry": "mltrack_sync.ledger.models",
    "mltrack_sync.logged_files": "mltrack_sync.mlflow.push.model_files",
    "mltrack_sync.logged_identity": "mltrack_sync.mlflow.push.model_ids",
    "mltrack_sync.logged_models_client": "mltrack_sync.mlflow.api.models",
    "mltrack_sync.logged_models_push": "mltrack_sync.mlflow.push.models",
    "mltrack_sync.model_entry": "mltrack_sync.ledger.registry",
    "mltrack_sync.model_holder": "mltrack_sync.mlflow.plan.fallback",
    "mltrack_sync.model_in_run": "mltrack_sync.mlflow.push.fallback",
    "mltrack_sync.multipart": "mltrack_sync.mlflow.files.multipart",
    "mltrack_sync.otlp": "mltrack_sync.mlflow.plan.otlp",
    "mltrack_sync.pace": "mltrack_sync.http.rate_limit",
    "mltrack_sync.passes": "mltrack_sync.engine.push mltrack_sync.engine.lock mltrack_sync.remotes.ledgers",
    "mltrack_sync.plan": "mltrack_sync.mlflow.plan.batches",
    "mltrack_sync.presence": "mltrack_sync.daemon.heartbeat",
    "mltrack_sync.reconcile": "mltrack_sync.mlflow.plan.reconcile",
    "mltrack_sync.references": "mltrack_sync.mlflow.plan.id_mapping",
    "mltrack_sync.refused_points": "mltrack_sync.mlflow.plan.rejections",
    "mltrack_sync.registry_client": "mltrack_sync.mlflow.api.registry",
    "mltrack_sync.registry_push": "mltrack_sync.mlflow.push.registry",
    "mltrack_sync.remote_commands": "mltrack_sync.cli.remote",
    "mltrack_sync.remotes": "mltrack_sync.remotes.config mltrack_sync.remotes.kind",
    "mltrack_sync.retry": "mltrack_sync.http.retry",
    "mltrack_sync.run_entry": "mltrack_sync.ledger.runs",
    "mltrack_sync.run_files": "mltrack_sync.mlflow.push.run_files",
    "mltrack_sync.run_push": "mltrack_sync.mlflow.push.runs",
    "mltrack_sync.sending": "mltrack_sync.mlflow.push.sending",
    "mltrack_sync.session": "mltrack_sync.mlflow.push.session",
    "mltrack_sync.shapes": "mltrack_sync.http.shapes",
    "mltrack_sync.shared_folder": "mltrack_sync.mlflow.files.shared_folder",
    "mltrack_sync.trace_entry": "mltrack_sync.ledger.traces",
    "mltrack_sync.traces_client": "mltrack_sync.mlflow.api.traces",
    "mltrack_sync.traces_push": "mltrack_sync.mlflow.push.traces",
    "mltrack_sync.traces_together": "mltrack_sync.mlflow.push.batching",
    "mltrack_sync.transport": "mltrack_sync.http.transport",
    "mltrack_sync.trust_commands": "mltrack_sync.cli.verify",
    "mltrack_sync.upload_attempts": "mltrack_sync.mlflow.files.attempts",
    "mltrack_sync.upload_log": "mltrack_sync.ledger.uploads",
    "mltrack_sync.verify": "mltrack_sync.engine.verify",
    "mltrack_sync.verify_client": "mltrack_sync.mlflow.api.readback",
    "mltrack_sync.verify_findings": "mltrack_sync.mlflow.verify.findings mltrack_sync.report",
    "mltrack_sync.verify_logged": "mltrack_sync.mlflow.verify.models",
    "mltrack_sync.verify_registry": "mltrack_sync.mlflow.verify.registry",
    "mltrack_sync.verify_run": "mltrack_sync.mlflow.verify.runs",
    "mltrack_sync.verify_spans": "mltrack_sync.mlflow.verify.spans",
    "mltrack_sync.verify_there": "mltrack_sync.mlflow.verify.remote_ids",
    "mltrack_sync.verify_ties": "mltrack_sync.mlflow.verify.run_links",
    "mltrack_sync.verify_traces": "mltrack_sync.mlflow.verify.traces",
    "mltrack_sync.watch": "mltrack_sync.daemon.loop",
    "mltrack_sync.workspace": "mltrack_sync.mlflow.provider mltrack_sync.http.endpoint",
}
"""Old path to new; to several where a module was split, and a name is looked for in each."""

PACKAGES = {"mltrack.query", "mltrack_sync.azure"}
"""Those of the old paths that had modules below them."""


class _Alias(Loader):
    """Makes a module whose names are those of the modules it stands for, which are imported with it."""

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__
        _warn(old, stacklevel=3)
        for new in PATHS[old].split():
            import_module(new)  # now: who imports early has reasons to, such as another user's process after this one
        module.__dict__["__getattr__"] = lambda name: _look_up(old, name)


def find_spec(old: str) -> ModuleSpec | None:
    """The module at an old path; None where none was."""
    if old not in PATHS:
        return None
    return ModuleSpec(old, _Alias(), is_package=old in PACKAGES)


def find_name(package: str, name: str) -> object:
    """What the module had by ``name`` whose path is a package's now: for that package's ``__getattr__``."""
    value = _look_up(package, name)
    _warn(package, stacklevel=4)
    return value


def _look_up(old: str, name: str) -> object:
    modules = PATHS[old].split()
    if name == "__all__":
        return [each for module in modules for each in import_module(module).__all__]
    if not name.startswith("__"):
        for module in modules:
            try:
                return getattr(import_module(module), name)
            except AttributeError:
                continue
    raise AttributeError(f"module {old!r} has no attribute {name!r}")


def _warn(old: str, *, stacklevel: int) -> None:
    new = PATHS[old].replace(" ", " and ")
    message = f"{old} has moved to {new}; the old path will be removed in the next release"
    warnings.warn(message, DeprecationWarning, stacklevel=stacklevel)
