"""Which remote experiment a local one is, as the ledger keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["EXPERIMENT_TAG_KIND", "ExperimentEntry"]

EXPERIMENT_TAG_KIND = "experiment tag"


class ExperimentEntry(NamedTuple):
    """The remote experiment's id, its tags set by us, and when the remote created it (ms; 0 where it does not say).

    Ids may be numbers that the next server, or the next experiment, gets again; together with the time they are unique.
    """

    remote: str
    tags: Mapping[str, str]
    created: int = 0

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> ExperimentEntry:
        """As a line of the ledger says."""
        return cls(line["remote"], dict(line["tags"]), int(line.get("created", 0)))

    def line(self, local: str) -> dict[str, Any]:
        """The line that says that the local experiment is this one."""
        fields = {"type": "experiment", "local": local, "remote": self.remote, "tags": dict(self.tags)}
        return {**fields, "created": self.created} if self.created else fields
