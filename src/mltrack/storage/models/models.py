"""Logged models: each a folder with its files and an append-only log that is changed under its own short lock."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import LOCAL, TEMPORARY, FileSystem, relative_name
from mltrack.disk.layout import is_model_id, new_model_id
from mltrack.disk.line_types import MODEL
from mltrack.disk.shared_log import SharedLog
from mltrack.entities import ACTIVE, DELETED, LOGGED_MODEL_STATUSES
from mltrack.errors import AlreadyExistsError, NotFoundError, StoreError, UsageError
from mltrack.storage.models.state import ModelState, as_event, checked, identity, is_same, metric_line, texts
from mltrack.text.shown import shown
from mltrack.values.run_names import random_name
from mltrack.values.scalars import as_text, check_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from mltrack.disk.layout import Layout, ModelFolder
    from mltrack.entities import Artifact, Event, LoggedModel, ModelMetric
    from mltrack.errors import CorruptionError
    from mltrack.storage.models.state import Identity

__all__ = ["LoggedModels"]


class LoggedModels:
    """The logged models of a store. Reading takes no lock; a change takes the model's for a few milliseconds.

    What was read is kept, and only what was added since is read; many threads may use it.
    """

    def __init__(self, layout: Layout, *, clock: Callable[[], int], fs: FileSystem = LOCAL) -> None:
        """``clock`` gives ns since the epoch."""
        self._layout = layout
        self._clock = clock
        self._fs = fs
        self._guard = threading.Lock()
        self._held: dict[str, ModelState] = {}

    # --- reading ---

    def ids(self) -> list[str]:
        """The ids of all model folders, sorted."""
        try:
            return sorted(name for name in os.listdir(self._layout.models) if is_model_id(name))
        except FileNotFoundError:
            return []

    def models(self) -> list[LoggedModel]:
        """All models, deleted ones too, the oldest first."""
        ids = self.ids()
        with self._guard:
            for gone in self._held.keys() - set(ids):
                del self._held[gone]
        found: list[tuple[int, str, LoggedModel]] = []
        for model_id in ids:
            with self._guard:
                stored = self._refreshed(model_id)
                model = stored.model() if stored is not None else None
                if stored is not None and model is not None:
                    found.append((stored.made, model_id, model))
        return [model for _, _, model in sorted(found, key=itemgetter(0, 1))]

    def has(self, model_id: str) -> bool:
        """Whether the model exists, deleted or not."""
        with self._guard:
            return self._refreshed(model_id) is not None

    def get(self, model_id: str) -> LoggedModel:
        """One model, deleted or not.

        Raises:
            NotFoundError: there is no such model.
        """
        model = self._read(model_id)
        if model is None:
            raise _unknown(model_id)
        return model

    def artifacts(self, model_id: str) -> list[Artifact]:
        """The model's files, in order of path.

        Raises:
            NotFoundError: there is no such model.
        """
        return list(self.get(model_id).artifacts)

    def folder(self, model_id: str) -> ModelFolder:
        """The model's folder.

        Raises:
            NotFoundError: it is not a model's id.
        """
        if not is_model_id(model_id):
            raise _unknown(model_id)
        return self._layout.model(model_id)

    def events(self, model_id: str, after: int = 0) -> list[Event]:
        """The model's lines from seq ``after`` on, for syncers; ``writer`` is empty, as any process may add one.

        Raises:
            NotFoundError: there is no such model.
        """
        self._check_exists(model_id)
        found: list[Event] = []
        self._log(self.folder(model_id)).replay(lambda line: found.append(as_event(line)))
        return [event for event in found if event.seq >= after]

    @property
    def damage(self) -> list[CorruptionError]:
        """The damage found in the models that were read."""
        with self._guard:
            return [damage for stored in self._held.values() for damage in stored.log.damage]

    # --- changing: on return of each method the change survives power loss ---

    def create(
        self,
        experiment_id: str,
        name: str | None = None,
        *,
        model_type: str | None = None,
        source_run_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        model_id: str = "",
        created: int = 0,
    ) -> LoggedModel:
        """Make a model; its status is PENDING.

        Args:
            experiment_id: The experiment it belongs to.
            name: Its name, which other models may have too; generated if not given.
            model_type: Any text, as in MLflow.
            source_run_id: The run that made it.
            tags: Its tags.
            params: Its params.
            model_id: Its id, which no other model has; by default a new one.
            created: When it was made, in ns since the epoch; by default now.

        Raises:
            UsageError: the key of a param or tag is not a non-empty text, or another value is not of its kind.
            StoreError: it can't be written.
        """
        line: dict[str, Any] = {
            "type": "create",
            "experiment_id": experiment_id,
            "name": name if name is not None else random_name(),
            "model_type": model_type,
            "source_run_id": source_run_id,
            "tags": texts(tags or {}, "tag"),
            "params": texts(params or {}, "param"),
        }
        if created:
            line["time"] = created
        folder = self._layout.model(model_id or new_model_id())
        log = self._log(folder)
        log.check({"seq": 0, **line})
        try:
            self._fs.require(self._layout.root)
            self._fs.make_durable_folder(folder.path)
            log.append({"seq": 0, **line})
        except OSError as error:
            raise StoreError(
                f"can't make a model in {self._layout.models}: {error.strerror or error}",
                hint="check the store's permissions and the space on its disk",
            ) from error
        return self.get(folder.model_id)

    def log_params(self, model_id: str, params: Mapping[str, str]) -> None:
        """Add params, all or none of them.

        Raises:
            NotFoundError: there is no such model.
            AlreadyExistsError: it has one of these already, even with the same value (MLflow's rule).
            StoreError: that can't be written.
        """
        new = texts(params, "param")
        with self._changing(model_id) as stored:
            taken = [key for key in new if key in stored.params]
            if taken:
                raise AlreadyExistsError(
                    f"model {model_id} has a param {taken[0]!r} already", hint="params can't change; set a tag"
                )
            stored.append([{"type": "param", "key": k, "value": v} for k, v in new.items()])

    def set_tags(self, model_id: str, tags: Mapping[str, str | None]) -> None:
        """Set tags, or remove them (None); removing a missing one is not an error.

        Raises:
            NotFoundError: there is no such model.
            StoreError: that can't be written.
        """
        lines = [
            {
                "type": "tag",
                "key": check_key(key, "tag"),
                "value": None if value is None else as_text(f"tag {key}", value),
            }
            for key, value in tags.items()
        ]
        with self._changing(model_id) as stored:
            stored.append(lines)

    def set_status(self, model_id: str, status: str, message: str | None = None) -> LoggedModel:
        """Set the model's status: PENDING, READY (its files are complete), FAILED or UNSPECIFIED.

        Raises:
            NotFoundError: there is no such model.
            UsageError: the status is none of these.
            StoreError: that can't be written.
        """
        if status not in LOGGED_MODEL_STATUSES:
            raise UsageError(
                f"{shown(status)} is not a model's status", hint="one of " + ", ".join(LOGGED_MODEL_STATUSES)
            )
        with self._changing(model_id) as stored:
            stored.append([{"type": "status", "status": status, "message": message}])
        return self.get(model_id)

    def set_stage(self, model_id: str, stage: str) -> None:
        """Mark a model as ``deleted`` or ``active``.

        Raises:
            NotFoundError: there is no such model.
            UsageError: another stage than these two.
            StoreError: that can't be written.
        """
        if stage not in (ACTIVE, DELETED):
            raise UsageError(f"{stage!r} is not a stage", hint=f"use {ACTIVE!r} or {DELETED!r}")
        with self._changing(model_id) as stored:
            stored.append([{"type": "lifecycle", "stage": stage}])

    def log_metrics(self, model_id: str, metrics: Iterable[ModelMetric]) -> None:
        """Add metrics, all or none of them. One that exists already with the same value is skipped.

        On return they survive ``kill -9``; power loss costs at most the last second, as with a run's points.

        Raises:
            NotFoundError: there is no such model.
            UsageError: a name, value, step, time, run or dataset is not valid.
            AlreadyExistsError: for the same run, name, step and time it has another value or dataset.
            StoreError: that can't be written.
        """
        wanted = [checked(metric) for metric in metrics]
        self._log(self.folder(model_id)).check(*({"seq": 0, **metric_line(metric)} for metric in wanted))
        with self._changing(model_id) as stored:
            new: dict[Identity, ModelMetric] = {}
            for metric in wanted:
                held = stored.metrics.get(identity(metric)) or new.get(identity(metric))
                if held is None:
                    new[identity(metric)] = metric
                elif not is_same(held, metric):
                    raise AlreadyExistsError(
                        f"model {model_id} has {metric.key!r} of run {metric.run_id} at step {metric.step} already",
                        hint="log another value with another step or time",
                    )
            stored.append([metric_line(metric) for metric in new.values()], soon=True)

    def add_artifacts(self, model_id: str, artifacts: Iterable[tuple[str, int, str]]) -> None:
        """Record complete files in the model's artifact folder, as (path, size in bytes, SHA-256 in hex).

        Raises:
            NotFoundError: there is no such model.
            InvalidPathError: a path would leave the folder.
            StoreError: that can't be written.
        """
        lines = [
            {"type": "artifact", "path": relative_name(path), "size": size, "sha256": sha256}
            for path, size, sha256 in artifacts
        ]
        with self._changing(model_id) as stored:
            stored.append(lines)

    def remove_artifacts(self, model_id: str, paths: Iterable[str]) -> None:
        """Record that files are removed; the caller removes them afterwards.

        Raises:
            NotFoundError: there is no such model.
            StoreError: that can't be written.
        """
        with self._changing(model_id) as stored:
            stored.append([{"type": "artifact", "path": path, "deleted": True} for path in paths])

    def purge(self, model_id: str) -> None:
        """Remove a model's folder for good. It is gone for every reader at once, even if this is interrupted.

        Raises:
            NotFoundError: there is no such model.
            StoreError: it can't be removed.
        """
        with self._changing(model_id) as stored:
            folder = stored.folder
            removed = folder.path.with_name(f".{model_id}.{os.getpid()}{TEMPORARY}")
            try:
                self._fs.rename(folder.path, removed)
                self._fs.sync_folder(folder.path.parent)
                shutil.rmtree(removed)
            except OSError as error:
                raise StoreError(
                    f"model {model_id} can't be removed: {error.strerror or error}",
                    hint="check the store's permissions",
                ) from error

    # --- the rest ---

    def _log(self, folder: ModelFolder) -> SharedLog:
        return SharedLog(folder.log, MODEL, clock=self._clock, fs=self._fs)

    def _read(self, model_id: str) -> LoggedModel | None:
        with self._guard:
            stored = self._refreshed(model_id)
            return stored.model() if stored is not None else None

    def _refreshed(self, model_id: str) -> ModelState | None:
        """The model as it is now; the caller holds the guard."""
        if not is_model_id(model_id):
            return None
        stored = self._held.get(model_id)
        if stored is None:
            folder = self._layout.model(model_id)
            stored = self._held[model_id] = ModelState(folder, self._log(folder))
        stored.refresh()
        if not stored.exists:
            del self._held[model_id]
            return None
        return stored

    def _check_exists(self, model_id: str) -> None:
        if not self.has(model_id):
            raise _unknown(model_id)

    @contextlib.contextmanager
    def _changing(self, model_id: str) -> Iterator[ModelState]:
        """Hold the lock of an existing model, for the body; yields its state under the lock."""
        self._check_exists(model_id)
        log = self._log(self.folder(model_id))
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(log.changing())
            except StoreError:
                self._check_exists(model_id)  # it may have been removed meanwhile
                raise
            with self._guard:
                stored = self._refreshed(model_id)
            if stored is None:
                raise _unknown(model_id)
            yield stored


def _unknown(model_id: str) -> NotFoundError:
    return NotFoundError(f"no logged model with id {model_id!r}", hint="ids are 'm-' and 32 hex digits")
