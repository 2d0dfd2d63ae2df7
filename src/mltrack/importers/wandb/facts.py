"""What wandb's records say of a run: names, config, summary, definitions of metrics, artifacts, and how it ended."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mltrack.environment import NOTE_TAG
from mltrack.importers.json_fields import params_of
from mltrack.importers.protobuf import Fields
from mltrack.importers.wandb.items import item_value, set_nested, split_item, time_of
from mltrack.importers.wandb.names import (
    GROUP_TAG,
    JOB_TYPE_TAG,
    TAGS_TAG,
    step_metric_tag,
    tags_text,
)

__all__ = ["ArtifactFile", "RunFacts"]

_TAGS = {6: GROUP_TAG, 7: JOB_TYPE_TAG, 9: NOTE_TAG, 12: "wandb.sweep_id", 13: "wandb.host"}
_GIT_TAGS = {1: "mlflow.source.git.repoURL", 2: "mlflow.source.git.commit"}
GENERATED = "run_table"
"""The type of artifacts that wandb makes of tables, which are among the files."""


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """A file of an artifact, where it was on the machine that wrote it, and its MD5 in base64."""

    name: str
    local: str
    size: int
    digest: str

    def here(self) -> Path | None:
        """The file, if it is on this machine as it was: another file of that name is none of the run's business."""
        path = Path(self.local)
        try:
            if not path.is_file() or path.stat().st_size != self.size:
                return None
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).digest()
        except (OSError, ValueError):
            return None
        return path if base64.b64encode(digest).decode() == self.digest else None


@dataclass(slots=True)
class RunFacts:
    """Collects them from records, in order; ``start`` is in ns since the epoch."""

    run_id: str = ""
    entity: str = ""
    project: str = ""
    name: str = ""
    start: int = 0
    exit_code: int | None = None
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, ArtifactFile] = field(default_factory=dict)
    remote_files: int = 0

    def take_run(self, run: Fields) -> None:
        """A RunRecord: the first one says when it began, later ones may change the names."""
        self.run_id = run.text(1) or self.run_id
        self.entity, self.project = run.text(2) or self.entity, run.text(3) or self.project
        self.name = run.text(8) or self.name
        self.start = self.start or time_of(run.inner(17))
        for number, tag in _TAGS.items():
            if run.text(number):
                self.tags[tag] = run.text(number)
        for number, tag in _GIT_TAGS.items():
            if run.inner(21).text(number):
                self.tags[tag] = run.inner(21).text(number)
        labels = [label.decode("utf-8", "replace") for label in run.contents(10)]
        if labels:
            self.tags[TAGS_TAG] = tags_text(labels)
        self._take_branch(run.inner(23))
        self.take_fields(self.config, run.inner(4))
        self.take_fields(self.summary, run.inner(5))
        self.exit_code = None

    def _take_branch(self, branch: Fields) -> None:
        if branch.text(1):
            self.tags["wandb.forked_from"] = f"{branch.text(1)}?{branch.text(3) or '_step'}={branch.double(2):g}"

    def take_fields(self, fields: dict[str, Any], record: Fields) -> list[tuple[list[str], Any]]:
        """A ConfigRecord or SummaryRecord; returns what it sets.

        Raises:
            JsonError: a value is damaged; those before it are taken.
        """
        found = [self.take_item(fields, item) for item in record.each(1)]
        for item in record.each(2):
            self.take_removed(fields, item)
        return found

    def take_item(self, fields: dict[str, Any], item: Fields) -> tuple[list[str], Any]:
        """An item of such a record; returns what it sets.

        Raises:
            JsonError: the value is damaged.
        """
        path, value = item_value(item)
        set_nested(fields, path, value)
        return path, value

    def take_removed(self, fields: dict[str, Any], item: Fields) -> None:
        """An item of such a record that removes a field."""
        path, _ = split_item(item)
        inner: Any = fields
        for part in path[:-1]:
            inner = inner.get(part) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            inner.pop(path[-1], None)

    def take_metric(self, metric: Fields) -> None:
        """A MetricRecord: what its x axis is, and which value of it counts."""
        name = metric.text(1) or metric.text(2)
        if metric.text(4):
            self.tags[step_metric_tag(name)] = metric.text(4)
        goal = {1: "minimize", 2: "maximize"}.get(metric.integer(8))
        if goal:
            self.tags[f"wandb.goal.{name}"] = goal

    def take_exit(self, record: Fields) -> None:
        """A RunExitRecord."""
        self.exit_code = record.integer(1)

    def take_artifact(self, record: Fields) -> None:
        """An ArtifactRecord: its files, or that they are elsewhere."""
        if record.text(4) == GENERATED:
            return
        folder = f"artifacts/{record.text(4)}/{record.text(5)}"
        manifest = record.inner(12)
        for entry in manifest.each(4):
            if entry.text(6):
                name = f"{folder}/{entry.text(1)}"
                self.artifacts[name] = ArtifactFile(name, entry.text(6), entry.integer(4), entry.text(2))
            else:
                self.remote_files += 1
        self.remote_files += bool(manifest.text(5))

    @property
    def status(self) -> str:
        """FINISHED or FAILED by the exit code; KILLED where there is none."""
        if self.exit_code is None:
            return "KILLED"
        return "FAILED" if self.exit_code else "FINISHED"

    @property
    def params(self) -> dict[str, str]:
        """The config, nested keys joined by dots."""
        return params_of({key: value for key, value in self.config.items() if key != "_wandb"})
