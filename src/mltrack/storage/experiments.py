"""The workspace: a store's experiments, kept in an append-only log that is changed under a short file lock."""

from __future__ import annotations

import os
import shlex
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.disk.line_types import EXPERIMENTS
from mltrack.disk.shared_log import SharedLog
from mltrack.entities import ACTIVE, DEFAULT_EXPERIMENT_ID, DEFAULT_EXPERIMENT_NAME, DELETED, Experiment
from mltrack.errors import AlreadyExistsError, NotFoundError, UsageError
from mltrack.text.shown import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from mltrack.disk.layout import Layout
    from mltrack.errors import CorruptionError

__all__ = ["Workspace"]


class Workspace:
    """Experiments by id and by name. Reading takes no lock; a change takes one for a few milliseconds."""

    def __init__(self, layout: Layout, *, clock: Callable[[], int], fs: FileSystem = LOCAL) -> None:
        """``clock`` gives ns since the epoch."""
        self._log = SharedLog(layout.workspace / "experiments.jsonl", EXPERIMENTS, clock=clock, fs=fs)
        self._reading = threading.Lock()
        self._known: dict[str, Experiment] = {}
        self._removed: dict[str, frozenset[str]] = {}
        self._restart()

    @property
    def damage(self) -> list[CorruptionError]:
        """The damage found by the last read."""
        return self._log.damage

    def experiments(self) -> dict[str, Experiment]:
        """All experiments by id, deleted ones too; the default one always exists."""
        with self._reading:
            self._follow()
            return dict(self._known)

    def removed_tags(self) -> dict[str, frozenset[str]]:
        """By experiment, the tags that were removed from it and not set again."""
        with self._reading:
            self._follow()
            return {key: tags for key, tags in self._removed.items() if tags}

    def _follow(self) -> None:
        self._log.follow(self._take, self._restart)

    def _take(self, line: dict[str, Any]) -> None:
        _apply(self._known, line)
        if line.get("type") == "tag":
            key, tag = str(line["experiment_id"]), frozenset((str(line["key"]),))
            held = self._removed.get(key, frozenset())
            self._removed[key] = held | tag if line["value"] is None else held - tag

    def _restart(self) -> None:
        self._removed = {}
        default = Experiment(DEFAULT_EXPERIMENT_ID, DEFAULT_EXPERIMENT_NAME)
        self._known = {default.experiment_id: default}

    def by_name(self, name: str) -> Experiment | None:
        """The experiment of that name, deleted or not."""
        return next((e for e in self.experiments().values() if e.name == name), None)

    def get(self, experiment_id: str) -> Experiment:
        """The experiment with that id.

        Raises:
            NotFoundError: it does not exist.
        """
        try:
            return self.experiments()[str(experiment_id)]
        except KeyError:
            raise NotFoundError(f"no experiment with id {experiment_id!r}", hint="see: mltrack experiments") from None

    def get_or_create(self, name: str, tags: dict[str, str] | None = None) -> Experiment:
        """The active experiment of that name, made if needed; many processes at once get the same one.

        Raises:
            UsageError: the name is empty, or belongs to a deleted experiment.
        """
        found = self.by_name(name)
        return self.usable(found) if found is not None else self.create(name, tags, exist_ok=True)

    @staticmethod
    def usable(experiment: Experiment) -> Experiment:
        """The experiment itself, if new runs may be added to it.

        Raises:
            UsageError: it is deleted.
        """
        if experiment.lifecycle_stage == DELETED:
            raise UsageError(
                f"experiment {experiment.name!r} is deleted",
                hint=f"restore it: mltrack restore --experiment {shlex.quote(experiment.name)}; or choose another",
            )
        return experiment

    def create(
        self,
        name: str,
        tags: dict[str, str] | None = None,
        *,
        exist_ok: bool = False,
        artifact_location: str = "",
        experiment_id: str = "",
        created: int = 0,
    ) -> Experiment:
        """Make an experiment.

        Args:
            name: A name that no other experiment has.
            tags: Its tags.
            exist_ok: Return an active experiment of that name instead.
            artifact_location: Kept for MLflow, see Experiment.
            experiment_id: Its id, of digits; by default a new one.
            created: When it was made, in ns since the epoch; by default now.

        Raises:
            UsageError: the name is empty or taken (with ``exist_ok``: taken by a deleted one), or the id is.
        """
        if not isinstance(name, str) or not name.strip():
            raise UsageError(f"{shown(name)} is not an experiment name", hint="give a non-empty text")
        with self._log.changing():
            taken = self.by_name(name)
            if taken is not None:
                if exist_ok:
                    return self.usable(taken)
                raise AlreadyExistsError(f"experiment {name!r} exists already", hint="choose another name")
            if experiment_id in self.experiments():
                raise AlreadyExistsError(f"experiment {experiment_id} exists already", hint="choose another id")
            # 18 digits, as MLflow's ids are decimal; random, so that stores can be merged
            experiment_id = experiment_id or str(10**17 + int.from_bytes(os.urandom(8), "big") % (9 * 10**17))
            line: dict[str, Any] = {
                "type": "create",
                "name": name,
                "tags": {str(key): str(value) for key, value in (tags or {}).items()},
            }
            if artifact_location:
                line["artifact_location"] = artifact_location
            if created:
                line["time"] = created
            return self._append(line, experiment_id)

    def rename(self, experiment_id: str, name: str) -> Experiment:
        """Rename an experiment; its runs stay in it.

        Raises:
            NotFoundError, UsageError: no such experiment; the name is empty or taken.
        """
        if not isinstance(name, str) or not name.strip():
            raise UsageError(f"{shown(name)} is not an experiment name", hint="give a non-empty text")
        with self._log.changing():
            self.get(experiment_id)
            if self.by_name(name) is not None:
                raise AlreadyExistsError(f"experiment {name!r} exists already", hint="choose another name")
            return self._append({"type": "rename", "name": name}, experiment_id)

    def set_tag(self, experiment_id: str, key: str, value: str | None) -> Experiment:
        """Set a tag of an experiment, or remove it (None).

        Raises:
            NotFoundError: no such experiment.
        """
        return self._change({"type": "tag", "key": key, "value": value}, experiment_id)

    def set_stage(self, experiment_id: str, stage: str) -> Experiment:
        """Delete (``deleted``) or restore (``active``) an experiment; its runs are not touched.

        Raises:
            NotFoundError: no such experiment.
            UsageError: it is the default one, which can't be deleted.
        """
        if experiment_id == DEFAULT_EXPERIMENT_ID and stage != ACTIVE:
            raise UsageError("the default experiment can't be deleted", hint="delete its runs instead")
        return self._change({"type": "lifecycle", "stage": stage}, experiment_id)

    def remove(self, experiment_id: str) -> None:
        """Remove an experiment for good; its name is free again. Remaining runs keep the name they were made under.

        Raises:
            NotFoundError: no such experiment.
            UsageError: it is not deleted, or is the default one.
        """
        with self._log.changing():
            held = self.get(experiment_id)
            if held.lifecycle_stage != DELETED:
                raise UsageError(f"experiment {held.name!r} is not deleted", hint="delete it first")
            self._log.append({"experiment_id": experiment_id, "type": "remove"})

    def _change(self, line: dict[str, Any], experiment_id: str) -> Experiment:
        with self._log.changing():
            self.get(experiment_id)
            return self._append(line, experiment_id)

    def _append(self, line: dict[str, Any], experiment_id: str) -> Experiment:
        self._log.append({"experiment_id": experiment_id, **line})
        return self.get(experiment_id)


def _apply(found: dict[str, Experiment], line: dict[str, Any]) -> None:
    key, at = str(line.get("experiment_id", "")), int(line.get("time", 0)) // 1_000_000
    held = found.get(key)
    match line.get("type"):
        case "create":
            tags, place = dict(line.get("tags", {})), str(line.get("artifact_location", ""))
            found[key] = Experiment(key, str(line["name"]), ACTIVE, at, at, tags, place)
        case "remove":
            found.pop(key, None)
        case "rename" if held:
            found[key] = replace(held, name=str(line["name"]), last_update_time=at)
        case "lifecycle" if held:
            found[key] = replace(held, lifecycle_stage=str(line["stage"]), last_update_time=at)
        case "tag" if held:
            tags = {**held.tags, str(line["key"]): line["value"]}
            kept = {name: value for name, value in tags.items() if value is not None}
            found[key] = replace(held, tags=kept, last_update_time=at)
