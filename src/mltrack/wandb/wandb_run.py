"""wandb's run, onto a run of mltrack's."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mltrack.importers.json_fields import params_of
from mltrack.importers.wandb.names import SUMMARY_FILE, step_metric_tag, tags_text
from mltrack.wandb import current
from mltrack.wandb.discarding import DiscardingRun
from mltrack.wandb.errors import Error
from mltrack.wandb.metric_definitions import Definitions, Metric
from mltrack.wandb.notices import inform, say_once
from mltrack.wandb.refused import refuse
from mltrack.wandb.rows import Rows
from mltrack.wandb.run_artifacts import RunArtifacts
from mltrack.wandb.run_config import Config
from mltrack.wandb.run_files import RunFiles
from mltrack.wandb.run_summary import Summary
from mltrack.wandb.saved_files import SavedFiles
from mltrack.wandb.torch_hooks import TorchHooks

if TYPE_CHECKING:
    from types import TracebackType

    from mltrack.recording.run import Run as StoredRun
    from mltrack.wandb.media_file import MediaFile
    from mltrack.wandb.settings import Settings

__all__ = ["AlertLevel", "Run"]

ALERT_WAIT_S = 60.0


class AlertLevel(Enum):
    """How urgent an alert is."""

    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"


class Run(RunFiles):
    """What ``wandb.init`` returns. It records into a run of mltrack's: ``run.mltrack_run``, None if it is disabled."""

    def __init__(
        self,
        run: StoredRun | DiscardingRun,
        settings: Settings,
        *,
        run_id: str,
        project: str,
        first_step: int = 0,
        config: Mapping[str, Any] | None = None,
        forked: bool = False,
    ) -> None:
        """Use ``wandb.init``.

        Args:
            run: what it records into.
            settings: the settings it was started with.
            run_id: wandb's id of it.
            project: the name of its experiment.
            first_step: of its first row.
            config: what a resumed or forked run has.
            forked: it began with another run's history.
        """
        stored = None if isinstance(run, DiscardingRun) else run
        self.mltrack_run = stored
        self._run: Any = run
        self._settings = settings
        self.id, self._project, self.forked = run_id, project, forked
        self.continues = first_step > 0
        self.resumed = self.continues and not forked
        self._first_step, self._started = first_step, time.time()
        self._tags = tuple(settings.run_tags or ())
        self._definitions = Definitions()
        self._alerts: dict[str, float] = {}
        self.config = Config(self._store_config)
        object.__setattr__(self.config, "_items", dict(config or {}))
        self._params = params_of(config or {})
        self.summary = Summary(self._store_summary)
        self._rows = Rows(self._run, self._definitions, self.summary, self._keep_medium, first_step=first_step)
        self._files = SavedFiles(self._store_file, lambda: Path(self.dir))
        self._artifacts = RunArtifacts(self._run, project, stored.store_folder if stored is not None else None)
        self._hooks = TorchHooks(lambda values: self.log(values, commit=False))
        self._run.attach(self)

    def __repr__(self) -> str:
        return f"<wandb run {self.path}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.finish(0 if kind is None else 1)

    # --- what it is ---

    @property
    def name(self) -> str:
        """Its name."""
        return str(self._run.name)

    @name.setter
    def name(self, name: str) -> None:
        from mltrack.environment import RUN_NAME_TAG

        self._run.set_tags({RUN_NAME_TAG: name})
        self._run.name = name

    @property
    def notes(self) -> str | None:
        """Its description."""
        return self._settings.run_notes

    @notes.setter
    def notes(self, notes: str) -> None:
        from mltrack.environment import NOTE_TAG

        self._settings.run_notes = notes
        self._run.set_tags({NOTE_TAG: notes})

    @property
    def tags(self) -> tuple[str, ...]:
        """wandb's tags: plain words."""
        return self._tags

    @tags.setter
    def tags(self, tags: Sequence[str]) -> None:
        from mltrack.importers.wandb.names import TAGS_TAG

        self._tags = tuple(tags)
        self._run.set_tags({TAGS_TAG: tags_text(self._tags)})

    @property
    def project(self) -> str:
        """The project: an experiment's name."""
        return self._project

    def project_name(self) -> str:
        """wandb's old way to ask for it."""
        return self._project

    @property
    def entity(self) -> str:
        """The entity that was given, else empty."""
        return self._settings.entity or ""

    @property
    def group(self) -> str:
        """The group, else empty."""
        return self._settings.run_group or ""

    @property
    def job_type(self) -> str:
        """The type of job, else empty."""
        return self._settings.run_job_type or ""

    @property
    def path(self) -> str:
        """Entity, project and id."""
        return "/".join(part for part in (self.entity, self.project, self.id) if part)

    @property
    def url(self) -> str | None:
        """Where its files are, as a ``file://`` URL: there is no page; ``mltrack ui`` shows runs."""
        return None if self.mltrack_run is None else self.mltrack_run.folder.path.absolute().as_uri()

    def get_url(self) -> str | None:
        """The same."""
        return self.url

    get_project_url = get_sweep_url = get_url
    project_url = sweep_url = sweep_id = None

    @property
    def dir(self) -> str:
        """The folder of its files: what a program writes into it becomes an artifact when the run ends."""
        run = self.mltrack_run
        folder = Path(self._run.artifacts_folder) if run is None else run.folder.artifacts
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    @property
    def step(self) -> int:
        """The step of the present row."""
        return self._rows.step

    @property
    def starting_step(self) -> int:
        """The step of its first row in this program."""
        return self._first_step

    @property
    def start_time(self) -> float:
        """When it was started here, in seconds since 1970."""
        return self._started

    @property
    def settings(self) -> Settings:
        """Its settings."""
        return self._settings

    @property
    def offline(self) -> bool:
        """True: nothing is sent while it is recorded, unless mltrack's own sync is on."""
        return True

    @property
    def disabled(self) -> bool:
        """Whether nothing is recorded."""
        return self.mltrack_run is None

    # --- logging ---

    def log(
        self, data: Mapping[str, Any], step: int | None = None, commit: bool | None = None, sync: bool | None = None
    ) -> None:
        """Log a row of values, or a part of one with ``commit=False``. All is stored when it returns.

        Args:
            data: numbers, texts, lists, media, nested dicts of these.
            step: the row's; by default one more than the last one's. One before the present row is used as it is.
            commit: whether the row is complete; by default if no step is given.
            sync: has no effect.

        Raises:
            TypeError: the data are not a mapping with texts as keys.
            UsageError, RunStateError: a value is not valid; the run has ended.
        """
        self._rows.log(data, step, commit)

    def define_metric(
        self,
        name: str,
        step_metric: str | Metric | None = None,
        step_sync: bool | None = None,
        hidden: bool | None = None,
        summary: str | None = None,
        overwrite: bool | None = None,
        **others: Any,
    ) -> Metric:
        """Say what the x axis of a metric is, and which of its values count.

        Args:
            name: of the metric, or with ``*`` at its end.
            step_metric: its x axis, kept in a tag.
            step_sync: whether the x axis is logged again in rows without it; by default it is.
            hidden: has no effect.
            summary: min, max, mean, first, last or none, or several with commas: each is a metric, ``loss.min``.
            overwrite: whether what was said before of this name is forgotten.
            others: wandb's old arguments, which it refuses, too.

        Raises:
            Error: the name or the summary is not valid.
        """
        if others:
            raise Error(f"define_metric has no {', '.join(others)}", hint='use summary="min" or summary="max"')
        axis = step_metric.name if isinstance(step_metric, Metric) else step_metric
        made = self._definitions.add(name, axis, step_sync, summary, bool(overwrite))
        if made.step_metric:
            self._run.set_tags({step_metric_tag(name): made.step_metric})
        return Metric(name)

    def alert(
        self,
        title: str,
        text: str,
        level: str | AlertLevel | None = None,
        wait_duration: float | timedelta | None = None,
    ) -> None:
        """Keep an alert as a tag, ``wandb.alert.TITLE``, and say it on stderr; nobody is sent anything.

        Args:
            title: what it is about.
            text: what it says.
            level: INFO, WARN or ERROR.
            wait_duration: for so many seconds an alert of the same title is left out, by default a minute.

        Raises:
            ValueError: the level is something else.
        """
        shown = AlertLevel(level).value if level is not None else "INFO"
        wait = wait_duration.total_seconds() if isinstance(wait_duration, timedelta) else wait_duration
        now = time.monotonic()
        if now - self._alerts.get(title, float("-inf")) < (ALERT_WAIT_S if wait is None else wait):
            return
        self._alerts[title] = now
        self._run.set_tags({f"wandb.alert.{title}": json.dumps({"text": text, "level": shown}, ensure_ascii=False)})
        inform(f"alert {shown}: {title}: {text}")

    def watch(
        self,
        models: Any,
        criterion: Any = None,
        log: str | None = "gradients",
        log_freq: int = 1000,
        idx: int | None = None,
        log_graph: bool = False,
    ) -> list[Any]:
        """Log histograms of a torch model's gradients, parameters or both.

        Args:
            models: a module, or several.
            criterion: has no effect.
            log: "gradients", "parameters", "all" or None.
            log_freq: after how many batches.
            idx: the number of the first of several models.
            log_graph: has no effect.

        Raises:
            ValueError, TypeError: ``log`` is something else; a model is not a torch module.
        """
        self._hooks.watch(models, log, log_freq, idx, log_graph)
        return []

    def unwatch(self, models: Any = None) -> None:
        """Stop that, for these models or for all."""
        self._hooks.unwatch(models)

    # --- the end ---

    def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None:
        """End the run: FINISHED, or FAILED with an exit code that is not 0. Calling it again does nothing."""
        if not self._run.ended:
            self.stop()
            self._run.end("FAILED" if exit_code else "FINISHED")
        if current.current() is self:
            current.replace(None)

    join = finish

    def stop(self) -> None:
        """Complete what is open; called by the run when it ends for any other reason."""
        if not self._is_complete:
            self._is_complete = True
            self._hooks.unwatch()
            self._rows.end_row()
            self._files.save_again()
            summary = self.summary.as_dict()
            if summary:
                text = json.dumps(summary, ensure_ascii=False, sort_keys=True, indent=1) + "\n"
                self._run.log_text(text, SUMMARY_FILE)

    _is_complete = False

    def status(self) -> Any:
        """What wandb's server has of it: nothing waits."""
        return None

    def mark_preempting(self) -> None:
        """Keep that the machine is about to be taken away, as a tag."""
        self._run.set_tags({"wandb.preempting": "true"})

    def display(self, height: int = 420, hidden: bool = False) -> bool:
        """Show nothing: there is no page of a run's own."""
        return False

    def to_html(self, height: int = 420, hidden: bool = False) -> str:
        """A line with the run's name."""
        import html

        return f"<p>run {html.escape(self.name)} ({html.escape(self.id)}): mltrack ui</p>"

    def _label(self, *_: Any, **__: Any) -> None:
        """What frameworks call to say which they are."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(name)
            raise refuse(f"Run.{name}")

    # --- what its parts store ---

    def _store_config(self, values: Mapping[str, Any]) -> None:
        texts = params_of(values)
        self._run.log_params({key: text for key, text in texts.items() if self._params.setdefault(key, text) == text})
        changed = {key: text for key, text in texts.items() if self._params[key] != text}
        if changed:
            say_once("params can't change: a new value in config is kept as the tag wandb.config.NAME")
            self._run.set_tags({f"wandb.config.{key}": text for key, text in changed.items()})

    def _store_summary(self, values: Mapping[str, Any]) -> None:
        self._rows.log_summary(values)

    def _store_file(self, path: Path, name: str) -> None:
        with path.open("rb") as file:
            self._run.log_stream(file, name)

    def _keep_medium(self, path: str, file: MediaFile) -> None:
        import io

        self._run.log_stream(io.BytesIO(file.data), path)
