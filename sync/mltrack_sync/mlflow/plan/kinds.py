"""How the ledger names things that a remote may refuse: the kinds in rejections, and the keys of some."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mltrack.entities import DatasetInput

EXPERIMENT = "experiment"
RUN = "run"
RUN_NAME = "run name"
PARAM = "param"
TAG = "tag"
METRIC = "metric"
POINT = "point"
ARTIFACT = "artifact"

DATASET = "dataset"
MODEL_INPUT = "model input"
MODEL_OUTPUT = "model output"

LOGGED_MODEL = "logged model"
LOGGED_MODEL_PARAM = "logged model param"
LOGGED_MODEL_TAG = "logged model tag"
LOGGED_MODEL_METRIC = "logged model metric"
LOGGED_MODEL_FILE = "logged model file"
LOGGED_MODEL_FILE_IN_RUN = "logged model file in run"
LOGGED_MODEL_KINDS = (LOGGED_MODEL, LOGGED_MODEL_PARAM, LOGGED_MODEL_TAG, LOGGED_MODEL_METRIC, LOGGED_MODEL_FILE)
"""Of these the name of the model begins the key."""

MODEL = "model"
MODEL_TAG = "model tag"
MODEL_VERSION = "model version"
MODEL_VERSION_TAG = "model version tag"
ALIAS = "alias"

EVALUATION_DATASET = "evaluation dataset"
SCORER = "scorer"
LABEL_SCHEMA = "label schema"

TRACE = "trace"
TRACE_TAG = "trace tag"

RUNS = "runs/"
LOGGED_MODELS = "models/"
REGISTERED_MODELS = "registered/"
TRACES = "trace/"
TABLES = "table/"
"""What the names of runs, logged models, registered models, single traces, and evaluation datasets, scorers and label
schemas begin with among what differs."""


def dataset_key(used: DatasetInput) -> str:
    """How the ledger names a dataset that a run is linked to."""
    return f"{DATASET} {used.dataset.name} ({used.dataset.digest})"
