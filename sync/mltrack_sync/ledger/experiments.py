"""Which remote experiment a local one is, as the ledger keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["EXPERIMENT_TAG_KIND", "ExperimentEntry"]

EXPERIMENT_TAG_KIND = "experiment tag"


class ExperimentEntry(NamedTuple):
    """The remote experiment's id, its tags set by us, and when the remote created it (ms; 0 where it does not say).

    Ids may be numbers that the next server, or the next experiment, gets again; together with the time they are unique.
    ``name`` and ``stage`` are those that it had on the remote when it was pulled last; "" where it was not.
    """

    remote: str
    tags: Mapping[str, str]
    created: int = 0
    name: str = ""
    stage: str = ""

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> ExperimentEntry:
        """As a line of the ledger says."""
        created, name, stage = int(line.get("created", 0)), line.get("name", ""), line.get("stage", "")
        return cls(line["remote"], dict(line["tags"]), created, name, stage)

    def line(self, local: str) -> dict[str, Any]:
        """The line that says that the local experiment is this one."""
        fields = {"type": "experiment", "local": local, "remote": self.remote, "tags": dict(self.tags)}
        rare = {"created": self.created, "name": self.name, "stage": self.stage}
        return fields | {key: value for key, value in rare.items() if value}
