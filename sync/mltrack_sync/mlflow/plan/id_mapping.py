"""Ids of this store inside texts, mapped to those of the remote: of prompt versions, runs and models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack_sync.ledger.view import LedgerView

__all__ = ["LINKED_PROMPTS", "MODEL_HISTORY", "local_number", "map_prompt_version", "map_tags"]

LINKED_PROMPTS = "mlflow.linkedPrompts"
"""The tag of a run, model or trace that lists versions of prompts, as JSON."""

MODEL_HISTORY = "mlflow.log-model.history"
"""The tag of a run that lists the models it logged, as JSON."""


def map_tags(state: LedgerView, tags: Mapping[str, str]) -> dict[str, str]:
    """The tags, with the ids and numbers in them mapped to those of the remote, as far as the ledger knows them."""
    found = dict(tags)
    for key, renew in ((LINKED_PROMPTS, _prompt_renewed), (MODEL_HISTORY, _model_renewed)):
        if key in found:
            found[key] = _renewed(state, found[key], renew)
    return found


def map_prompt_version(state: LedgerView, name: str, number: str) -> str:
    """The number of a version of a prompt, or model, on the remote; the same where the ledger does not know it."""
    entry = state.models.get(name)
    known = entry.versions.get(int(number)) if entry is not None and number.isdecimal() else None
    return known.remote if known is not None else number


def local_number(state: LedgerView, name: str, number: str) -> str:
    """The number here of a version that the remote has under ``number``; the same where the ledger does not know it."""
    entry = state.models.get(name)
    known = {one.remote: str(local) for local, one in entry.versions.items()} if entry is not None else {}
    return known.get(number, number)


def _renewed(state: LedgerView, text: str, renew: Any) -> str:
    try:
        items = json.loads(text)
        changed = [renew(state, item) for item in items]
    except (ValueError, TypeError, KeyError, AttributeError):
        return text  # not written by MLflow
    return text if changed == items else json.dumps(changed)


def _prompt_renewed(state: LedgerView, item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "version": map_prompt_version(state, item["name"], str(item["version"]))}


def _model_renewed(state: LedgerView, item: dict[str, Any]) -> dict[str, Any]:
    found = dict(item)
    run = state.runs.get(item.get("run_id", ""))
    if run is not None and run.remote_id:
        found["run_id"] = run.remote_id
    model = state.logged.get(item.get("model_uuid", ""))
    if model is not None and model.remote_id:
        found["model_uuid"] = model.remote_id
    return found
