"""The names of the environment variables that configure mltrack, and of the tags that it sets."""

from __future__ import annotations

__all__ = [
    "ALERT_TAG",
    "COMMAND_TAG",
    "CRASHED_TAG",
    "DATASET_ID_TAG",
    "END_TAGS",
    "ERROR_TAG",
    "EXIT_CODE_TAG",
    "EXPERIMENT_TAG",
    "FORKED_FROM_TAG",
    "FORK_STEP_TAG",
    "GIT_DIRTY_TAG",
    "HISTORY_TAG",
    "IMAGES_TAG",
    "MLTRACK_ALERT_MESSAGE",
    "MLTRACK_ALERT_RULE",
    "MLTRACK_ALERT_RUN_ID",
    "MLTRACK_ALERT_RUN_NAME",
    "MLTRACK_AZURE_RESOURCE_MANAGER",
    "MLTRACK_AZURE_TOKEN_COMMAND",
    "MLTRACK_AZURE_TOKEN_FILE",
    "MLTRACK_EXPERIMENT_NAME",
    "MLTRACK_JOURNAL",
    "MLTRACK_PARENT_RUN_ID",
    "MLTRACK_QUIET",
    "MLTRACK_REDACT",
    "MLTRACK_REDACT_NAMES",
    "MLTRACK_RUN_ID",
    "MLTRACK_RUN_NAME",
    "MLTRACK_SSH",
    "MLTRACK_STORE",
    "MLTRACK_SYNC",
    "MLTRACK_SYNC_INTERVAL",
    "MLTRACK_SYNC_PATIENCE",
    "MLTRACK_SYSTEM_METRICS",
    "MLTRACK_SYSTEM_METRICS_INTERVAL",
    "MLTRACK_TRUSTED_STORES",
    "MODEL_ID_TAG",
    "NOTE_TAG",
    "ORIGIN_DATASET_TAG",
    "ORIGIN_EXPERIMENT_TAG",
    "ORIGIN_MODEL_TAG",
    "ORIGIN_RUN_TAG",
    "ORIGIN_TAG",
    "PARENT_TAG",
    "PREEMPTED_TAG",
    "PROMPT_TAG",
    "RUN_ID_TAG",
    "RUN_NAME_TAG",
    "SIGNAL_TAG",
    "SOURCE_NAME_TAG",
    "SOURCE_TYPE_TAG",
    "STOPPED_TAG",
    "TABLES_TAG",
    "TAGS",
    "USER_TAG",
    "VARIABLES",
    "VERSION_TAG",
]

# --- environment variables ---

MLTRACK_STORE = "MLTRACK_STORE"
"""The store: a path, or ``mltrack:///absolute/folder``."""

MLTRACK_EXPERIMENT_NAME = "MLTRACK_EXPERIMENT_NAME"
"""The experiment of new runs; goes before ``MLFLOW_EXPERIMENT_NAME``."""

MLTRACK_RUN_ID = "MLTRACK_RUN_ID"
"""The run that the first ``start_run()`` of a process resumes or joins; ``mltrack run`` sets it."""

MLTRACK_RUN_NAME = "MLTRACK_RUN_NAME"
"""The run's name, given to ``mltrack run --name``: the program's own name does not replace it."""

MLTRACK_PARENT_RUN_ID = "MLTRACK_PARENT_RUN_ID"
"""The run that the runs of a Hydra multirun's jobs are children of; set by its callback."""

MLTRACK_JOURNAL = "MLTRACK_JOURNAL"
"""``mmap`` or ``write``: how points are written; by default as is safe on the file system."""

MLTRACK_SYSTEM_METRICS = "MLTRACK_SYSTEM_METRICS"
"""``true`` or ``false``: whether runs record how the machine is used."""

MLTRACK_SYSTEM_METRICS_INTERVAL = "MLTRACK_SYSTEM_METRICS_INTERVAL"
"""Seconds between two samples of that."""

MLTRACK_QUIET = "MLTRACK_QUIET"
"""``1``: programs are not told where their first run is recorded, nor what it has recorded."""

MLTRACK_REDACT = "MLTRACK_REDACT"
"""``0``: launched runs leave no secrets out of what they record."""

MLTRACK_REDACT_NAMES = "MLTRACK_REDACT_NAMES"
"""Further names whose values are secret, separated by commas, with ``*`` for any characters."""

MLTRACK_SYNC = "MLTRACK_SYNC"
"""The remote that runs are pushed to while they go on: a name or a URL."""

MLTRACK_SYNC_INTERVAL = "MLTRACK_SYNC_INTERVAL"
"""Seconds from one poll of the background syncer to the next."""

MLTRACK_SYNC_PATIENCE = "MLTRACK_SYNC_PATIENCE"
"""Seconds for which it keeps trying after the last run has ended."""

MLTRACK_TRUSTED_STORES = "MLTRACK_TRUSTED_STORES"
"""Stores that are trusted with all their remotes, separated by ``:``; ``*`` for every store."""

MLTRACK_SSH = "MLTRACK_SSH"
"""The program that is run in place of ``ssh``, with arguments as a shell takes them."""

MLTRACK_AZURE_TOKEN_FILE = "MLTRACK_AZURE_TOKEN_FILE"
"""A file that holds a token for Azure."""

MLTRACK_AZURE_TOKEN_COMMAND = "MLTRACK_AZURE_TOKEN_COMMAND"
"""A command that prints a token for Azure."""

MLTRACK_AZURE_RESOURCE_MANAGER = "MLTRACK_AZURE_RESOURCE_MANAGER"
"""The https URL of another resource manager than the cloud's own."""

MLTRACK_ALERT_RULE = "MLTRACK_ALERT_RULE"
"""For a command that a guard starts: the guard's name."""

MLTRACK_ALERT_MESSAGE = "MLTRACK_ALERT_MESSAGE"
"""What it found."""

MLTRACK_ALERT_RUN_ID = "MLTRACK_ALERT_RUN_ID"
"""In which run."""

MLTRACK_ALERT_RUN_NAME = "MLTRACK_ALERT_RUN_NAME"
"""That run's name."""

VARIABLES = (
    MLTRACK_ALERT_RULE,
    MLTRACK_ALERT_MESSAGE,
    MLTRACK_ALERT_RUN_ID,
    MLTRACK_ALERT_RUN_NAME,
    MLTRACK_STORE,
    MLTRACK_EXPERIMENT_NAME,
    MLTRACK_RUN_ID,
    MLTRACK_RUN_NAME,
    MLTRACK_PARENT_RUN_ID,
    MLTRACK_JOURNAL,
    MLTRACK_SYSTEM_METRICS,
    MLTRACK_SYSTEM_METRICS_INTERVAL,
    MLTRACK_QUIET,
    MLTRACK_REDACT,
    MLTRACK_REDACT_NAMES,
    MLTRACK_SYNC,
    MLTRACK_SYNC_INTERVAL,
    MLTRACK_SYNC_PATIENCE,
    MLTRACK_TRUSTED_STORES,
    MLTRACK_SSH,
    MLTRACK_AZURE_TOKEN_FILE,
    MLTRACK_AZURE_TOKEN_COMMAND,
    MLTRACK_AZURE_RESOURCE_MANAGER,
)
"""All of them."""

# --- tags ---

RUN_NAME_TAG = "mlflow.runName"
"""The run's name."""

USER_TAG = "mlflow.user"
"""Who started it."""

NOTE_TAG = "mlflow.note.content"
"""Its description."""

PROMPT_TAG = "mlflow.prompt.is_prompt"
"""``true`` on registered models, and on their versions, that are prompts."""

PARENT_TAG = "mlflow.parentRunId"
"""The run that it is nested in."""

SOURCE_NAME_TAG = "mlflow.source.name"
"""The program."""

SOURCE_TYPE_TAG = "mlflow.source.type"
"""How it was started."""

TABLES_TAG = "mlflow.loggedArtifacts"
"""Tables that MLflow's user interface shows."""

IMAGES_TAG = "mlflow.loggedImages"
"""That the run has images for it."""

COMMAND_TAG = "mltrack.command"
"""The command that ``mltrack run`` started."""

EXIT_CODE_TAG = "mltrack.exit_code"
"""With which code it ended."""

SIGNAL_TAG = "mltrack.signal"
"""By which signal it ended."""

PREEMPTED_TAG = "mltrack.preempted"
"""That the machine was taken away from it."""

ERROR_TAG = "mltrack.error"
"""The traceback that a run failed with."""

STOPPED_TAG = "mltrack.stopped"
"""Why ``mltrack run`` ended it."""

END_TAGS = (EXIT_CODE_TAG, SIGNAL_TAG, PREEMPTED_TAG, ERROR_TAG, STOPPED_TAG)
"""Those about how a run ended, which no longer hold once it is resumed."""

ALERT_TAG = "mltrack.alert"
"""With the name of a guard after it: what the guard found."""

GIT_DIRTY_TAG = "mltrack.git.dirty"
"""Whether its sources differ from the commit."""

HISTORY_TAG = "mltrack.history"
"""How many points of a metric go to remotes that keep sampled histories: ``start_run(history=)``."""

FORKED_FROM_TAG = "mltrack.forkedFrom"
"""The id of the run that a run was forked from."""

FORK_STEP_TAG = "mltrack.forkedAtStep"
"""The last step of a fork that is its parent's."""

RUN_ID_TAG = "mltrack.run_id"
"""On a remote: the run's id in the store, by which it is found again."""

EXPERIMENT_TAG = "mltrack.experiment_id"
"""On a remote: the experiment's, also where it was renamed on either side."""

MODEL_ID_TAG = "mltrack.model_id"
"""On a remote: the logged model's."""

VERSION_TAG = "mltrack.model_version"
"""On a remote: of which version of a registered model this one was made."""

CRASHED_TAG = "mltrack.crashed"
"""On a remote: that the run ended without saying so."""

DATASET_ID_TAG = "mltrack.dataset_id"
"""On a remote: the evaluation dataset's."""

ORIGIN_TAG = "mltrack.origin"
"""The server that a run, a logged model or an experiment was pulled from, or kind and name of an imported source."""

ORIGIN_RUN_TAG = "mltrack.origin.run_id"
"""The run's id in it."""

ORIGIN_MODEL_TAG = "mltrack.origin.model_id"
"""The logged model's id on that server."""

ORIGIN_EXPERIMENT_TAG = "mltrack.origin.experiment_id"
"""The experiment's id on that server."""

ORIGIN_DATASET_TAG = "mltrack.origin.dataset_id"
"""The evaluation dataset's id on that server."""

TAGS = (
    RUN_NAME_TAG,
    USER_TAG,
    NOTE_TAG,
    PARENT_TAG,
    PROMPT_TAG,
    SOURCE_NAME_TAG,
    SOURCE_TYPE_TAG,
    TABLES_TAG,
    IMAGES_TAG,
    COMMAND_TAG,
    EXIT_CODE_TAG,
    SIGNAL_TAG,
    PREEMPTED_TAG,
    ERROR_TAG,
    STOPPED_TAG,
    ALERT_TAG,
    GIT_DIRTY_TAG,
    HISTORY_TAG,
    FORKED_FROM_TAG,
    FORK_STEP_TAG,
    RUN_ID_TAG,
    EXPERIMENT_TAG,
    MODEL_ID_TAG,
    DATASET_ID_TAG,
    VERSION_TAG,
    CRASHED_TAG,
    ORIGIN_TAG,
    ORIGIN_RUN_TAG,
    ORIGIN_MODEL_TAG,
    ORIGIN_EXPERIMENT_TAG,
    ORIGIN_DATASET_TAG,
)
"""All that mltrack itself sets or reads of runs, models and experiments."""
