"""Loads the modules that a run's calls and its end need later, when it starts.

During training an import can fail: it needs descriptors and memory, and reads an installation that may have been
replaced or unmounted since. NumPy and Arrow are not loaded here, as they take ten times as long as all of these.
"""

from __future__ import annotations

import importlib

from mltrack.process.trouble import TROUBLE

__all__ = ["MODULES", "preload"]

MODULES = (
    "logging",
    "resource",
    "mltrack.values.datasets",
    "mltrack.recording.log_functions",
    "mltrack.values.media",
    "mltrack.recording.other_runs",
    "mltrack.journal.rich_series",
    "mltrack.values.rich",
    "mltrack.storage.runs.state",
    "mltrack.storage.runs.unrecorded_files",
    "mltrack.storage.registry.registry",
    "mltrack.storage.runs.series_artifacts",
    "mltrack.values.tables",
    "mltrack.recording.folder_watch",
)


def preload() -> None:
    """Load them; one that can't be loaded is tried again when it is used, and its failure counted then."""
    for name in MODULES:
        try:
            importlib.import_module(name)
        except TROUBLE:
            continue
