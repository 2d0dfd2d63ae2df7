"""How what wandb records is named here: nested keys, and the tags. Shared by the importer and by ``mltrack.wandb``."""

from __future__ import annotations

import json
from collections.abc import Iterable

__all__ = [
    "GROUP_TAG",
    "JOB_TYPE_TAG",
    "SUMMARY_FILE",
    "TAGS_TAG",
    "join_key",
    "step_metric_tag",
    "tags_text",
]

GROUP_TAG = "wandb.group"
JOB_TYPE_TAG = "wandb.job_type"
TAGS_TAG = "wandb.tags"
SUMMARY_FILE = "wandb-summary.json"


def join_key(path: Iterable[str]) -> str:
    """A nested key as one name, as wandb shows it."""
    return ".".join(path)


def step_metric_tag(metric: str) -> str:
    """The tag that has the x axis of a metric, or of all that a name with ``*`` at its end matches."""
    return f"wandb.step_metric.{metric}"


def tags_text(tags: Iterable[str]) -> str:
    """The value of TAGS_TAG."""
    return json.dumps(list(tags), ensure_ascii=False)
