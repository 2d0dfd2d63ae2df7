"""What things of a server are called in a store: those that mltrack pushed as they were, others by a derived id.

A derived id is the same on every machine and in every store. MLflow's own ids are random, so that they need no server
with them; other ids, such as names that a workspace gives, are made unique by the server's address.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from mltrack.disk.layout import is_model_id, is_run_id
from mltrack.environment import EXPERIMENT_TAG, MODEL_ID_TAG, RUN_ID_TAG

__all__ = ["Origin"]

_RANDOM = re.compile(r"(m-|tr-)?[0-9a-f]{32}")
_EXPERIMENT_ID = re.compile(r"[0-9]{1,32}", re.ASCII)
RANDOM_SPACE = "mlflow"


@dataclass(frozen=True, slots=True)
class Origin:
    """A server, by its URL as the user calls it."""

    url: str

    @property
    def space(self) -> str:
        """The server's identity: host, port and path, in lower case."""
        parts = urlsplit(self.url)
        return f"{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}".lower()

    def run_id(self, remote_id: str, tags: Mapping[str, str]) -> str:
        """What a run of the server is called here."""
        own = tags.get(RUN_ID_TAG, "")
        return own if is_run_id(own) else self._derived("run", remote_id)

    def model_id(self, remote_id: str, tags: Mapping[str, str]) -> str:
        """What a logged model of the server is called here."""
        own = tags.get(MODEL_ID_TAG, "")
        return own if is_model_id(own) else f"m-{self._derived('model', remote_id)}"

    @staticmethod
    def experiment_id(name: str, tags: Mapping[str, str]) -> str:
        """The id of a new experiment: its own where mltrack pushed it, else one by its name."""
        own = tags.get(EXPERIMENT_TAG, "")
        if _EXPERIMENT_ID.fullmatch(own):
            return own
        digest = hashlib.sha256(f"experiment\0{name}".encode("utf-8", "surrogatepass")).digest()
        return str(10**17 + int.from_bytes(digest[:16], "big") % (9 * 10**17))

    def _derived(self, kind: str, remote_id: str) -> str:
        space = RANDOM_SPACE if _RANDOM.fullmatch(remote_id) else self.space
        return hashlib.sha256(f"{kind}\0{space}\0{remote_id}".encode()).hexdigest()[:32]
