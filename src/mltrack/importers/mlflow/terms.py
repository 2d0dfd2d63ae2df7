"""MLflow's words in mltrack's: statuses by number or name, times in ms, tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mltrack.entities import LOGGED_MODEL_STATUSES, MODEL_STAGES, RUN_STATUSES
from mltrack.environment import RUN_NAME_TAG, USER_TAG
from mltrack.importers.source import SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "NS_PER_MS",
    "TIME_MS_MAX",
    "as_text",
    "model_stage",
    "model_status",
    "ns_of",
    "run_name_of",
    "run_status",
]

NS_PER_MS = 1_000_000
TIME_MS_MAX = (2**63 - 1) // NS_PER_MS
_RUN_STATUSES = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
_MODEL_STATUSES = {1: "PENDING", 2: "READY", 3: "FAILED"}


def as_text(value: Any) -> str:
    """A value as text; None is "", and half surrogate pairs are replaced."""
    return "" if value is None else str(value).encode("utf-8", "replace").decode()


def run_status(value: Any) -> str:
    """A run's status, from a number or a name.

    Raises:
        SourceError: there is no such status.
    """
    found = _RUN_STATUSES.get(value, value) if isinstance(value, int) else str(value)
    if found not in RUN_STATUSES:
        raise SourceError(f"its status is {value!r}, which MLflow does not know")
    return str(found)


def model_status(value: Any) -> str:
    """A logged model's status, from a number or a name."""
    if isinstance(value, int):
        return _MODEL_STATUSES.get(value, "UNSPECIFIED")
    named = str(value).removeprefix("LOGGED_MODEL_").replace("UPLOAD_FAILED", "FAILED")
    return named if named in LOGGED_MODEL_STATUSES else "UNSPECIFIED"


def model_stage(value: Any) -> str:
    """A version's stage."""
    return str(value) if value in MODEL_STAGES else "None"


def ns_of(value: Any) -> int:
    """A time in ms as ns; 0 where there is none.

    Raises:
        SourceError: there is no such time.
    """
    if value is None:
        return 0
    if not isinstance(value, int) or not -TIME_MS_MAX <= value <= TIME_MS_MAX:
        raise SourceError(f"a time of {value!r} ms, which does not exist")
    return value * NS_PER_MS


def run_name_of(name: Any, tags: Mapping[str, str], run_id: str) -> str:
    """A run's name: by its tag, by its field as since MLflow 1.30, else the beginning of its id."""
    return tags.get(RUN_NAME_TAG) or as_text(name) or run_id[:8]


def user_of(user: Any, tags: Mapping[str, str]) -> str:
    """Who ran it."""
    return as_text(user) or tags.get(USER_TAG, "")
