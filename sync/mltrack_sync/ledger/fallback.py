"""What a remote without logged models has of one: its files, among the artifacts of the run that made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["FallbackEntry", "file_line", "place_line", "settled_line"]


@dataclass(slots=True)
class FallbackEntry:
    """The files lie in the folder ``place`` of the remote run ``remote_run``, which is ``of`` here.

    ``artifacts`` gives the SHA-256, as recorded here, of each file that the remote has; ``settled`` is how long the
    model's log was, in bytes, when no file was left to send.
    """

    of: str = ""
    remote_run: str = ""
    place: str = ""
    artifacts: dict[str, str] = field(default_factory=dict)
    settled: int = 0

    def apply(self, line: Mapping[str, Any]) -> None:
        """Take in a line of the ledger."""
        match line["type"]:
            case "in_run":
                target = (line["of"], line["remote"], line["place"])
                if target != (self.of, self.remote_run, self.place):
                    self.artifacts, self.settled = {}, 0
                self.of, self.remote_run, self.place = target
            case "in_run_file":
                self.artifacts[line["path"]] = line["sha256"]
            case "in_run_settled":
                self.settled = int(line["size"])

    def lines(self, model_id: str) -> list[dict[str, Any]]:
        """The fewest lines that say the same."""
        files = [file_line(model_id, path, sha256) for path, sha256 in self.artifacts.items()]
        place = place_line(model_id, self.of, self.remote_run, self.place)
        return [place, *files, *([settled_line(model_id, self.settled)] if self.settled else [])]


def place_line(model_id: str, run_id: str, remote_run: str, place: str) -> dict[str, Any]:
    """The line that says where the files go."""
    return {"type": "in_run", "model": model_id, "of": run_id, "remote": remote_run, "place": place}


def file_line(model_id: str, path: str, sha256: str) -> dict[str, Any]:
    """The line that says that the remote has a file."""
    return {"type": "in_run_file", "model": model_id, "path": path, "sha256": sha256}


def settled_line(model_id: str, size: int) -> dict[str, Any]:
    """The line that says that no file is left to send."""
    return {"type": "in_run_settled", "model": model_id, "size": size}
