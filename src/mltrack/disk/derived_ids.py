"""Ids made from what other programs call their runs: the same on every machine and in every store.

MLflow's own ids are random, so that they need nothing with them; any other id is made unique by a *space*: the address
of a server, the kind of a file and what it belongs to.
"""

from __future__ import annotations

import hashlib
import re

__all__ = ["derived_experiment_id", "derived_model_id", "derived_run_id", "is_random_id"]

_RANDOM = re.compile(r"(m-|tr-)?[0-9a-f]{32}")
RANDOM_SPACE = "mlflow"


def is_random_id(text: str) -> bool:
    """Whether it is an id as MLflow makes them at random."""
    return _RANDOM.fullmatch(text) is not None


def derived_run_id(space: str, source_id: str) -> str:
    """The id of a run."""
    return _derived("run", space, source_id)


def derived_model_id(space: str, source_id: str) -> str:
    """The id of a logged model."""
    return f"m-{_derived('model', space, source_id)}"


def derived_experiment_id(name: str) -> str:
    """The id of an experiment, by its name."""
    digest = hashlib.sha256(f"experiment\0{name}".encode("utf-8", "surrogatepass")).digest()
    return str(10**17 + int.from_bytes(digest[:16], "big") % (9 * 10**17))


def _derived(kind: str, space: str, source_id: str) -> str:
    where = RANDOM_SPACE if is_random_id(source_id) else space
    return hashlib.sha256(f"{kind}\0{where}\0{source_id}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
