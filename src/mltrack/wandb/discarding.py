"""What a disabled run logs to: nothing is stored."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from functools import cached_property
from pathlib import Path
from typing import Any

__all__ = ["DiscardingRun"]


class DiscardingRun:
    """Has those of a run's methods that ``mltrack.wandb`` calls; they do nothing."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.run_id = "0" * 32
        self.ended = False

    @cached_property
    def artifacts_folder(self) -> Path:
        """A folder of its own, removed with the run's object, at the latest when the process ends."""
        folder = tempfile.mkdtemp(prefix="mltrack-disabled-")
        weakref.finalize(self, shutil.rmtree, folder, True)
        return Path(folder)

    def end(self, status: str = "FINISHED") -> None:
        """End."""
        self.ended = True

    def attach(self, attachment: Any) -> None:
        """Nothing: its last record would be discarded."""

    def log(self, metrics: Any, step: int | None = None) -> None:
        """Discard values."""

    def log_metrics(self, metrics: Any, step: int | None = None, *, timestamp: int | None = None) -> None:
        """Discard numbers."""

    def log_params(self, params: Any) -> None:
        """Discard params."""

    def set_tags(self, tags: Any) -> None:
        """Discard tags."""

    def log_stream(self, stream: Any, artifact_file: Any) -> None:
        """Discard a file."""

    def log_text(self, text: str, artifact_file: Any) -> None:
        """Discard a text."""
