"""What a remote has of logged models, as the ledger keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mltrack.entities import ACTIVE
from mltrack_sync.http.responses import without_password

__all__ = ["PENDING", "LoggedEntry", "file_line", "made_line", "state_line"]

PENDING = "PENDING"
"""The status of a model that is being made."""


@dataclass(slots=True)
class LoggedEntry:
    """One logged model. ``metrics`` is the seq up to which the remote has its metrics.

    ``artifacts`` gives the SHA-256, as recorded here, of each file that the remote has; ``settled`` is how long its log
    was, in bytes, when nothing was left to send.
    """

    remote_id: str = ""
    experiment_id: str = ""
    uri: str = ""
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    status: str = PENDING
    stage: str = ACTIVE
    metrics: int = 0
    artifacts: dict[str, str] = field(default_factory=dict)
    settled: int = 0

    def apply(self, line: Mapping[str, Any]) -> None:
        """Take in a line of the ledger."""
        match line["type"]:
            case "logged_model":
                self.remote_id, self.experiment_id = line["remote"], line["experiment"]
                self.uri = line["uri"]
            case "logged_model_state":
                self.params, self.tags = dict(line["params"]), dict(line["tags"])
                self.status, self.stage = line["status"], line["stage"]
                self.metrics, self.settled = int(line["metrics"]), int(line["settled"])
            case "logged_model_file":
                self.artifacts[line["path"]] = line["sha256"]

    def lines(self, model_id: str) -> list[dict[str, Any]]:
        """The fewest lines that say the same."""
        files = [file_line(model_id, path, sha256) for path, sha256 in self.artifacts.items()]
        return [made_line(model_id, self.remote_id, self.experiment_id, self.uri), *files, state_line(model_id, self)]


def made_line(model_id: str, remote_id: str, experiment_id: str, uri: str) -> dict[str, Any]:
    """The line that says which remote model it is, and where its files go."""
    line = {"type": "logged_model", "model": model_id, "remote": remote_id}
    return {**line, "experiment": experiment_id, "uri": without_password(uri)}


def state_line(model_id: str, entry: LoggedEntry) -> dict[str, Any]:
    """The line that says what the remote has of it, its files aside."""
    return {
        "type": "logged_model_state",
        "model": model_id,
        "params": dict(entry.params),
        "tags": dict(entry.tags),
        "status": entry.status,
        "stage": entry.stage,
        "metrics": entry.metrics,
        "settled": entry.settled,
    }


def file_line(model_id: str, path: str, sha256: str) -> dict[str, Any]:
    """The line that says that the remote has a file."""
    return {"type": "logged_model_file", "model": model_id, "path": path, "sha256": sha256}
