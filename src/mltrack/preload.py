"""Loads, as a run starts, the modules that its calls and its end need later.

In the midst of a training an import can fail: it takes descriptors and memory, and reads an installation that may have
been replaced or unmounted since. NumPy and Arrow are not loaded here, as they take ten times as long as all of this.
"""

from __future__ import annotations

import importlib

from mltrack.trouble import TROUBLE

__all__ = ["MODULES", "preload"]

MODULES = (
    "logging",
    "resource",
    "mltrack.inputs",
    "mltrack.log_functions",
    "mltrack.media",
    "mltrack.other_runs",
    "mltrack.rich_series",
    "mltrack.rich_values",
    "mltrack.store.fold",
    "mltrack.store.found_files",
    "mltrack.store.registry",
    "mltrack.store.series_artifacts",
    "mltrack.tables",
    "mltrack.watching",
)


def preload() -> None:
    """Load them; what can't be loaded is tried again where it is used, and counted there."""
    for name in MODULES:
        try:
            importlib.import_module(name)
        except TROUBLE:
            continue
