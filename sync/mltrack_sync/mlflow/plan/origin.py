"""What things of a server are called in a store: those that mltrack pushed as they were, others by a derived id.

A derived id is the same on every machine and in every store. MLflow's own ids are random, so that they need no server
with them; other ids, such as names that a workspace gives, are made unique by the server's address.

What was pulled keeps in its tags where it came from and its id there: so a push to that very server finds it again,
also without a ledger, and does not create it a second time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from mltrack.disk.derived_ids import derived_experiment_id, derived_model_id, derived_run_id, is_random_id
from mltrack.disk.layout import is_model_id, is_run_id
from mltrack.environment import (
    EXPERIMENT_TAG,
    MODEL_ID_TAG,
    ORIGIN_DATASET_TAG,
    ORIGIN_EXPERIMENT_TAG,
    ORIGIN_MODEL_TAG,
    ORIGIN_RUN_TAG,
    ORIGIN_TAG,
    RUN_ID_TAG,
)

__all__ = ["ORIGIN_TAGS", "Origin", "remote_tags"]

ORIGIN_TAGS = frozenset((ORIGIN_TAG, ORIGIN_RUN_TAG, ORIGIN_MODEL_TAG, ORIGIN_EXPERIMENT_TAG, ORIGIN_DATASET_TAG))

_EXPERIMENT_ID = re.compile(r"[0-9]{1,32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Origin:
    """A server, by its URL as the user calls it."""

    url: str

    @property
    def space(self) -> str:
        """The server's identity: host, port and path, in lower case."""
        parts = urlsplit(self.url)
        return f"{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}".lower()

    def own_id(self, tags: Mapping[str, str], key: str) -> str:
        """The id on this server of what was pulled from it, by the tag ``key``; "" where that was another server.

        A random id is given whatever the address: one server may have several. Who asks for it finds out.
        """
        remote_id = tags.get(key, "")
        if is_random_id(remote_id) or (remote_id and Origin(tags.get(ORIGIN_TAG, "")).space == self.space):
            return remote_id
        return ""

    def run_id(self, remote_id: str, tags: Mapping[str, str]) -> str:
        """What a run of the server is called here."""
        own = tags.get(RUN_ID_TAG, "")
        return own if is_run_id(own) else derived_run_id(self.space, remote_id)

    def model_id(self, remote_id: str, tags: Mapping[str, str]) -> str:
        """What a logged model of the server is called here."""
        own = tags.get(MODEL_ID_TAG, "")
        return own if is_model_id(own) else derived_model_id(self.space, remote_id)

    @staticmethod
    def experiment_id(name: str, tags: Mapping[str, str]) -> str:
        """The id of a new experiment: its own where mltrack pushed it, else one by its name."""
        own = tags.get(EXPERIMENT_TAG, "")
        return own if _EXPERIMENT_ID.fullmatch(own) else derived_experiment_id(name)


def remote_tags(
    tags: Mapping[str, str], remote_id: str, origin_key: str, own: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The tags that a thing is to have on a remote: there, what it came from needs no tag that says so.

    Args:
        tags: Its tags here.
        remote_id: Its id on the remote; "" where it has none yet.
        origin_key: The tag that holds the id which it was pulled by.
        own: The tag by which a push finds it again, with its value.
    """
    if remote_id and tags.get(origin_key) == remote_id:
        return {key: value for key, value in tags.items() if key not in ORIGIN_TAGS}
    return {**tags, **(own or {})}
