"""``wandb.init``: starts a run of mltrack's, or resumes one, and makes it the one that wandb's functions log to."""

from __future__ import annotations

import json
import os
import random
import string
from collections.abc import Mapping, Sequence
from typing import Any

from mltrack.environment import MLTRACK_SYSTEM_METRICS, NOTE_TAG, ORIGIN_RUN_TAG, RUN_NAME_TAG
from mltrack.importers.wandb.names import GROUP_TAG, JOB_TYPE_TAG, TAGS_TAG, tags_text
from mltrack.recording.announcements import is_quiet
from mltrack.recording.current_store import chosen_experiment, current_layout, workspace_of
from mltrack.recording.fluent import fork_run, start_run
from mltrack.storage.runs.step_counters import next_step
from mltrack.store import Store
from mltrack.wandb import current
from mltrack.wandb.branching import Moment, fork_point, rewind_point
from mltrack.wandb.discarding import DiscardingRun
from mltrack.wandb.errors import UnsupportedError, UsageError
from mltrack.wandb.notices import inform, say_once, silence
from mltrack.wandb.run_config import default_config, parse_config
from mltrack.wandb.settings import Settings, from_environment
from mltrack.wandb.wandb_run import Run

__all__ = ["RUN_ID_TAG", "finish", "generate_id", "init"]

RUN_ID_TAG = "wandb.run_id"
"""The tag with wandb's id of a run."""
DEFAULT_PROJECT = "uncategorized"
_RESUME = ("allow", "must", "never", "auto")


def generate_id(length: int = 8) -> str:
    """A new id of a run: small letters and digits."""
    return "".join(random.choices(string.ascii_lowercase + string.digits, k=length))  # not a secret


def init(
    entity: str | None = None,
    project: str | None = None,
    dir: Any = None,
    id: str | None = None,
    name: str | None = None,
    notes: str | None = None,
    tags: Sequence[str] | None = None,
    config: Any = None,
    config_exclude_keys: list[str] | None = None,
    config_include_keys: list[str] | None = None,
    allow_val_change: bool | None = None,
    group: str | None = None,
    job_type: str | None = None,
    mode: str | None = None,
    force: bool | None = None,
    reinit: bool | str | None = None,
    resume: bool | str | None = None,
    resume_from: str | None = None,
    fork_from: str | None = None,
    save_code: bool | None = None,
    tensorboard: bool | None = None,
    sync_tensorboard: bool | None = None,
    monitor_gym: bool | None = None,
    settings: Settings | Mapping[str, Any] | None = None,
    **others: Any,
) -> Run:
    """Start a run in the store, or resume one.

    Arguments go before ``settings``, these before wandb's environment variables.

    Args:
        entity: kept for ``run.path``; a store has no entities.
        project: the experiment; by default mltrack's own, else "uncategorized".
        dir: has no effect: runs are in the store.
        id: wandb's id, by which it can be resumed; kept in the tag ``wandb.run_id``.
        name: the run's name.
        notes: its description.
        tags: words, kept as a list in the tag ``wandb.tags``.
        config: a dict, ``argparse.Namespace``, absl's flags or a YAML file: params.
        config_exclude_keys: names in ``config`` that are left out.
        config_include_keys: the only names in ``config`` that are taken.
        allow_val_change: whether the config of a run that goes on may change.
        group: kept in the tag ``wandb.group``.
        job_type: kept in the tag ``wandb.job_type``.
        mode: "disabled" records nothing; all others record into the store.
        force: has no effect.
        reinit: what becomes of a run that goes on: "return_previous" (the default) returns it, "finish_previous" or
            True ends it, "create_new" leaves it.
        resume: "allow" goes on with the run of that id if there is one, "must" demands it, "never" forbids it.
        resume_from: "RUN_ID?_step=N": goes on with that run after step N; what it logged with a greater step no longer
            counts.
        fork_from: "RUN_ID?_step=N": a new run that begins with that run's history up to step N.
        save_code: has no effect; ``mltrack run`` keeps the source.
        tensorboard: not here.
        sync_tensorboard: not here.
        monitor_gym: not here.
        settings: wandb.Settings, or a dict.
        others: named, and have no effect.

    Raises:
        UsageError: the arguments don't fit together; ``resume="must"`` finds no run, or ``"never"`` one.
        UnsupportedError: what is not here.
        StoreError: the store can't be written.
    """
    _refuse(tensorboard or sync_tensorboard, monitor_gym)
    given = {
        "entity": entity,
        "project": project,
        "run_id": id,
        "run_name": name,
        "run_notes": notes,
        "run_tags": tags,
        "run_group": group,
        "run_job_type": job_type,
        "mode": mode,
        "reinit": reinit,
        "resume": resume,
        "resume_from": resume_from,
        "fork_from": fork_from,
    }
    no_effect = {"dir": dir, "save_code": save_code, "force": force, **others}
    for key, value in no_effect.items():
        if value is not None:
            say_once(f"init({key}=) has no effect here")
    chosen = _settings(settings, given)
    silence(bool(chosen.silent or chosen.quiet))
    values = parse_config(config, config_exclude_keys, config_include_keys)
    previous = _previous(chosen)
    if previous is not None:
        previous.config.update(values, allow_val_change=bool(allow_val_change))
        return previous
    run = _disabled(chosen) if chosen.is_disabled else _start(chosen)
    current.replace(run)
    run.config.update({**default_config(), **values}, allow_val_change=allow_val_change or run.continues)
    return run


def _refuse(tensorboard: Any, monitor_gym: Any) -> None:
    refused = (
        (
            "init(sync_tensorboard=)",
            tensorboard,
            "use mltrack.integrations.tensorboard.SummaryWriter, or mltrack import with the event files afterwards",
        ),
        ("init(monitor_gym=)", monitor_gym, "log the videos' files with wandb.Video(path)"),
    )
    for what, value, hint in refused:
        if value:
            raise UnsupportedError(f"mltrack.wandb has no {what}", hint=hint)


def _settings(settings: Settings | Mapping[str, Any] | None, given: Mapping[str, Any]) -> Settings:
    found = from_environment()
    if settings is not None:
        found.update(settings.given() if isinstance(settings, Settings) else settings)
    found.update({key: value for key, value in given.items() if value is not None})
    if isinstance(found.run_tags, str):
        found.run_tags = [found.run_tags]
    return found


def _previous(settings: Settings) -> Run | None:
    """The run that goes on, if it is to be returned."""
    run: Run | None = current.current()
    if run is None or settings.reinit == "create_new":
        return None
    if settings.reinit in (True, "finish_previous"):
        run.finish()
        return None
    say_once("init: a run goes on, and is returned; finish it first, or give reinit=")
    return run


def _disabled(settings: Settings) -> Run:
    name = settings.run_name or "disabled"
    run_id = settings.run_id or generate_id()
    return Run(DiscardingRun(name), settings, run_id=run_id, project=settings.project or DEFAULT_PROJECT)


def _start(settings: Settings) -> Run:
    layout = current_layout()
    workspace = workspace_of(layout)
    experiment = workspace.get_or_create(settings.project) if settings.project else chosen_experiment(layout, None)
    if experiment.experiment_id == "0" and not settings.project:
        experiment = workspace.get_or_create(DEFAULT_PROJECT)
    rewound, branch = rewind_point(settings), fork_point(settings)
    held = _held(settings, rewound or branch, experiment.name)
    run_id = rewound.run_id if rewound else settings.run_id or generate_id()
    named: dict[str, Any] = {"run_name": settings.run_name, "nested": True, "tags": _tags(settings, run_id)}
    if branch is not None:
        started = fork_run(str(held), branch.step, log_system_metrics=_measured(settings), **named)
    else:
        started = start_run(
            run_id=held,
            experiment_id=experiment.experiment_id,
            log_system_metrics=_measured(settings),
            rewind_to=rewound.step if rewound else None,
            **named,
        )
    info = started.info
    config = _config_of(started.stored().params) if held or info.experiment_id != experiment.experiment_id else {}
    moment = rewound or branch
    first = moment.step + 1 if moment else next_step(started.folder) if config or held else 0
    if started.after_end is None and not is_quiet():  # else mltrack itself has said so
        inform(f"run {info.run_id[:8]} {started.name}, in {layout.root}")
    return Run(
        started,
        settings,
        run_id=run_id,
        project=info.experiment_name,
        first_step=first,
        config=config,
        forked=branch is not None,
    )


def _held(settings: Settings, moment: Moment | None, project: str) -> str | None:
    """The run of the store that goes on, or that a new one branches off; None: a new one begins.

    Raises:
        UsageError: there is none, or one, where that is not wanted.
    """
    if moment is not None:
        held = _find(moment.run_id, project)
        if held is None:
            raise UsageError(f"no run {moment.run_id!r} in {project!r}", hint="give its wandb id, and its project")
        return held
    resume = "allow" if settings.resume is True else settings.resume or None
    if resume is not None and resume not in _RESUME:
        raise UsageError(f"resume={resume!r} is not known", hint=f"one of {', '.join(_RESUME)}")
    held = _find(settings.run_id, project) if resume else None
    if resume == "must" and held is None:
        raise UsageError(f"no run {settings.run_id!r} to resume in {project!r}", hint='resume="allow" starts one')
    if resume == "never" and held is not None:
        raise UsageError(f"run {settings.run_id!r} exists in {project!r}", hint="give another id")
    return held


def _measured(settings: Settings) -> bool | None:
    """System metrics, as wandb's default is, unless that or mltrack's own variable says otherwise."""
    if settings.x_disable_stats:
        return False
    return None if os.environ.get(MLTRACK_SYSTEM_METRICS) else True


def _tags(settings: Settings, run_id: str) -> dict[str, str]:
    found = {
        RUN_ID_TAG: run_id,
        GROUP_TAG: settings.run_group,
        JOB_TYPE_TAG: settings.run_job_type,
        NOTE_TAG: settings.run_notes,
        TAGS_TAG: tags_text(settings.run_tags) if settings.run_tags else None,
        RUN_NAME_TAG: settings.run_name,
    }
    return {key: text for key, text in found.items() if text}


def _find(run_id: str | None, project: str) -> str | None:
    """The latest run of that id in a project, recorded or imported."""
    if run_id is None:
        return None
    query = (
        "select run_id from runs join tags using (run_id) where key in (?, ?) and value = ?"
        " and experiment_name = ? and lifecycle_stage = 'active' order by start_time desc limit 1"
    )
    store = Store(current_layout())
    rows = store.sql(query, [RUN_ID_TAG, ORIGIN_RUN_TAG, run_id, project]).to_pylist()
    return str(rows[0]["run_id"]) if rows else None


def _config_of(params: Mapping[str, str]) -> dict[str, Any]:
    """The config of a resumed run, by its params: values in JSON's types, nested ones in dicts."""
    found: dict[str, Any] = {}
    for name, text in params.items():
        *above, last = name.split(".")
        inner = found
        for part in above:
            below = inner.setdefault(part, {})
            inner = below if isinstance(below, dict) else inner
        inner[last] = _value_of(text)
    return found


def _value_of(text: str) -> Any:
    if text in ("True", "False", "None"):
        return {"True": True, "False": False, "None": None}[text]
    try:
        return json.loads(text)
    except ValueError:
        return text


def finish(exit_code: int | None = None, quiet: bool | None = None) -> None:
    """``Run.finish`` of the current run; does nothing without one."""
    run = current.current()
    if run is not None:
        run.finish(exit_code, quiet)
