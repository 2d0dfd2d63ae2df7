"""Loads the modules that a run's calls and its end need later, when it starts.

During training an import can fail: it needs descriptors and memory, and reads an installation that may have been
replaced or unmounted since. NumPy and Arrow are not loaded here, as they take ten times as long as all of these.
"""

from __future__ import annotations

import importlib
import sys

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
    if sys.platform == "linux":
        _load_unwinder()


def _load_unwinder() -> None:
    """Open what the C library needs to end a thread: it would be opened at the first such end, which aborts without it.

    Daemon threads are ended so when the process ends, and by then there may be no descriptor left to open it with.
    """
    try:
        import ctypes

        ctypes.CDLL("libgcc_s.so.1")
    except TROUBLE:
        return  # musl has no such library, and needs none
