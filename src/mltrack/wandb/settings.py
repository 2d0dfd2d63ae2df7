"""Settings of a run: those that have a meaning here, from arguments and wandb's environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from mltrack.wandb.errors import UsageError
from mltrack.wandb.notices import say_once

__all__ = ["MODES", "Settings", "from_environment"]

MODES = ("online", "offline", "disabled", "shared", "dryrun", "run")
"""All but "disabled" record into the store; "dryrun" and "run" are wandb's old names."""

_FIELDS = (
    "entity",
    "fork_from",
    "mode",
    "project",
    "quiet",
    "reinit",
    "resume",
    "resume_from",
    "run_group",
    "run_id",
    "run_job_type",
    "run_name",
    "run_notes",
    "run_tags",
    "silent",
    "x_disable_stats",
)
_OLD_NAMES = {"_disable_stats": "x_disable_stats"}

_VARIABLES = {
    "WANDB_ENTITY": "entity",
    "WANDB_FORK_FROM": "fork_from",
    "WANDB_MODE": "mode",
    "WANDB_PROJECT": "project",
    "WANDB_QUIET": "quiet",
    "WANDB_RESUME": "resume",
    "WANDB_RESUME_FROM": "resume_from",
    "WANDB_RUN_GROUP": "run_group",
    "WANDB_RUN_ID": "run_id",
    "WANDB_JOB_TYPE": "run_job_type",
    "WANDB_NAME": "run_name",
    "WANDB_NOTES": "run_notes",
    "WANDB_TAGS": "run_tags",
    "WANDB_SILENT": "silent",
    "WANDB_X_DISABLE_STATS": "x_disable_stats",
}
_TRUE = ("1", "true", "yes", "on")


class Settings:
    """wandb's settings. Those about names, mode, resuming and system metrics have an effect; others are named once.

    Each is an attribute, None where it is not set.
    """

    entity: str | None
    fork_from: str | None
    mode: str | None
    project: str | None
    quiet: bool | None
    reinit: Any
    resume: Any
    resume_from: str | None
    run_group: str | None
    run_id: str | None
    run_job_type: str | None
    run_name: str | None
    run_notes: str | None
    run_tags: Any
    silent: bool | None
    x_disable_stats: bool | None

    def __init__(self, **settings: Any) -> None:
        """Take settings by name.

        Raises:
            UsageError: the mode is not one of MODES.
        """
        for name in _FIELDS:
            setattr(self, name, None)
        self.update(settings)

    def update(self, settings: Mapping[str, Any]) -> None:
        """Set those that are given and not None.

        Raises:
            UsageError: as Settings.
        """
        for name, value in settings.items():
            known = _OLD_NAMES.get(name, name)
            if known in _FIELDS and value is None:
                continue
            if known not in _FIELDS:
                say_once(f"the setting {name!r} has no effect here")
            setattr(self, known, value)
        if self.mode is not None and self.mode not in MODES:
            raise UsageError(f"{self.mode!r} is not a mode", hint=f"one of {', '.join(MODES)}")

    def given(self) -> dict[str, Any]:
        """Those that are set."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @property
    def is_disabled(self) -> bool:
        """Whether nothing is recorded."""
        return self.mode == "disabled"


def from_environment(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings that wandb's environment variables give.

    Raises:
        UsageError: WANDB_MODE is not a mode.
    """
    found: dict[str, Any] = {}
    for variable, name in _VARIABLES.items():
        text = environment.get(variable)
        if text:
            found[name] = text.lower() in _TRUE if name in ("quiet", "silent", "x_disable_stats") else text
    if "run_tags" in found:
        found["run_tags"] = [tag for tag in found["run_tags"].split(",") if tag]
    if environment.get("WANDB_DISABLED", "").lower() in _TRUE:
        found["mode"] = "disabled"
    return Settings(**found)
