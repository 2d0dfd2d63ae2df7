"""Names of things in Azure's form: a workspace's scope, GUIDs for experiments and runs, and their way back."""

from __future__ import annotations

import hashlib
import re
import uuid
from dataclasses import dataclass

GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a workspace lies in Azure's tree."""

    subscription: str
    resource_group: str
    workspace: str

    @staticmethod
    def new() -> Scope:
        """One that nobody else has."""
        mark = uuid.uuid4().hex[:8]
        return Scope(str(uuid.uuid4()), f"group-{mark}", f"workspace-{mark}")

    @property
    def path(self) -> str:
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{self.workspace}"
        )

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.path.encode()).hexdigest()

    @property
    def guid(self) -> str:
        """The workspace's own id."""
        return str(uuid.UUID(self.digest[:32]))

    @property
    def prefix(self) -> str:
        """What names of experiments and models start with on the MLflow server behind, which workspaces share."""
        return f"w{self.digest[:10]}."

    def experiment_guid(self, experiment_id: str) -> str:
        """The id of an experiment as Azure would give it."""
        head, number = self.digest[:12], f"{int(experiment_id):016x}"
        return f"{head[:8]}-{head[8:12]}-4{self.digest[12:15]}-{number[:4]}-{number[4:]}"

    def experiment_id(self, guid: str) -> str | None:
        """Back again; None when it is no experiment of this workspace."""
        if GUID.fullmatch(guid) is None:
            return None
        number = int(guid.replace("-", "")[16:], 16)
        return str(number) if self.experiment_guid(str(number)) == guid.lower() else None


def run_guid(run_id: str) -> str:
    """A run's id with the dashes that Azure's have."""
    return str(uuid.UUID(run_id)) if re.fullmatch("[0-9a-f]{32}", run_id) else run_id


def run_hex(guid: str) -> str:
    """Back again; anything else stays as it is."""
    return guid.replace("-", "").lower() if GUID.fullmatch(guid) else guid
