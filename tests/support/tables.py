"""Evaluation datasets, scorers and label schemas for tests of pushes and pulls."""

from __future__ import annotations

import json

from mlflow.store.tracking.rest_store import RestStore
from mlflow.utils.rest_utils import MlflowHostCreds

from tests.support.server import MlflowServer

JUDGE = {"name": "short", "builtin_scorer_class": "Safety", "builtin_scorer_pydantic_data": {"name": "short"}}
"""A scorer that needs no model to be made."""


def judge(description: str, name: str = "short") -> str:
    """A scorer's version, as MLflow's JSON text."""
    return json.dumps({**JUDGE, "name": name, "description": description})


def client_of(server: MlflowServer) -> RestStore:
    """MLflow's own client of the server."""
    return RestStore(lambda: MlflowHostCreds(server.url))
