"""What wandb has and mltrack.wandb does not, and what to use for it."""

from __future__ import annotations

from mltrack.wandb.errors import UnsupportedError, UnsupportedImportError

__all__ = ["MODULES", "NAMES", "refuse", "refuse_module"]

_SWEEPS = "use Optuna with mltrack.integrations.optuna, or a loop of mltrack run; see docs/examples/sweep.md"
_READ = "read runs with mltrack.Store.open(): search_runs, run, sql"
_BOXES = "give dicts to wandb.Image(boxes=, masks=)"
_SERVER = "it talks to wandb's server; nothing here does"

NAMES = {
    "Api": _READ,
    "PublicApi": _READ,
    "InternalApi": _READ,
    "api": _READ,
    "attach": "pickle the mltrack run instead: it joins from any process",
    "sweep": _SWEEPS,
    "agent": _SWEEPS,
    "controller": _SWEEPS,
    "restore": "run.use_artifact(...).download(), or mltrack.Store.open().run(...).artifact_path(name)",
    "Graph": "log the model's text with run.log, or its files as a wandb.Artifact",
    "JoinedTable": "join the tables before they are logged",
    "EvalTable": "use wandb.Table",
    "BoundingBoxes2D": _BOXES,
    "ImageMask": _BOXES,
    "box3d": "log the scene's file with wandb.Object3D(path)",
    "Bokeh": "save the page and log it with wandb.Html(path)",
    "ArtifactTTL": "runs are kept until mltrack rm --purge or mltrack gc removes them",
    "visualize": "use wandb.plot, or wandb.Table",
    "profiler": "log the profile's files as a wandb.Artifact",
    "sagemaker_auth": _SERVER,
    "docker": _SERVER,
    "automations": _SERVER,
    "jupyter": "nothing is needed in a notebook: wandb.init and wandb.log work there",
    "upsert_artifact": "log each version whole, with run.log_artifact",
    "finish_artifact": "log each version whole, with run.log_artifact",
    "log_graph": "log the model's text with run.log",
    "plot_decision_boundaries": "draw them with matplotlib and log the figure",
}
"""Names, of the module and of a run."""

MODULES = {
    "keras": "import wandb.integration.keras, or use mltrack.integrations.keras",
    "tensorflow": "use mltrack.integrations.keras, or mltrack.integrations.tensorboard",
    "tensorboard": "use mltrack.integrations.tensorboard.SummaryWriter, or mltrack import with the event files",
    "xgboost": "import wandb.integration.xgboost, or use mltrack.integrations.xgboost",
    "lightgbm": "import wandb.integration.lightgbm, or use mltrack.integrations.lightgbm",
    "catboost": "import wandb.integration.catboost, or use mltrack.autolog()",
    "fastai": "use mltrack.autolog()",
    "gym": "log the video's file with wandb.Video(path)",
    "sacred": "log from the experiment's own functions",
    "lightning": "use mltrack.integrations.lightning",
    "huggingface": "use mltrack.integrations.transformers",
    "langchain": "use mltrack.autolog()",
    "apis": _READ,
    "sweeps": _SWEEPS,
}
"""Modules, by the last part of their names or one before it."""

_ANY = "see docs/wandb.md for what there is"


def refuse(name: str) -> UnsupportedError:
    """The error for a name, such as ``sweep`` or ``Run.restore``."""
    last = name.rpartition(".")[2]
    return UnsupportedError(f"mltrack.wandb has no {name}", hint=NAMES.get(last) or MODULES.get(last) or _ANY)


def refuse_module(name: str) -> UnsupportedImportError:
    """The error for a module, such as ``wandb.integration.keras``."""
    hints = [MODULES.get(part) or NAMES.get(part) for part in reversed(name.split("."))]
    hint = next((hint for hint in hints if hint), _ANY)
    return UnsupportedImportError(f"mltrack.wandb has no module {name}", hint=hint)
