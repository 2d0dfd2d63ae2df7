"""What the parts of one import share: store, source, options, ids, experiments, counts and findings."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mltrack.disk.derived_ids import derived_experiment_id, derived_model_id, derived_run_id
from mltrack.disk.layout import is_model_id, is_run_id
from mltrack.entities import DEFAULT_EXPERIMENT_ID, DEFAULT_EXPERIMENT_NAME, DELETED, Experiment
from mltrack.environment import EXPERIMENT_TAG, MODEL_ID_TAG, RUN_ID_TAG
from mltrack.errors import AlreadyExistsError, CorruptionError, NotFoundError, UsageError
from mltrack.importers.source import SourceError, SourceExperiment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack.importers.findings import Findings
    from mltrack.importers.options import ImportOptions
    from mltrack.importers.source import SourceRun
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack.store import Store

__all__ = ["Session"]

TIME_MAX = (1 << 63) - 1


@dataclass(slots=True)
class Session:
    """One import, or one comparison. ``origin`` says where facts come from: the kind, and the source's own name."""

    store: Store
    kind: str
    origin: str
    options: ImportOptions
    findings: Findings
    counts: Counter[str] = field(default_factory=Counter)
    _run_ids: dict[str, str] = field(default_factory=dict)
    _known: dict[str, SourceExperiment] = field(default_factory=dict)
    _experiments: dict[str, Experiment] = field(default_factory=dict)

    # --- ids ---

    def run_id(self, run: SourceRun) -> str:
        """What a run of the source is called here: as mltrack called it where it comes from a store, else derived."""
        own = run.tags.get(RUN_ID_TAG, "")
        found = own if is_run_id(own) else derived_run_id(f"{self.kind}\0{run.space}", run.source_id)
        self._run_ids[run.source_id] = found
        return found

    def run_id_of(self, source_id: str, space: str = "") -> str:
        """What a run is called here that something else in the source names."""
        return self._run_ids.get(source_id) or derived_run_id(f"{self.kind}\0{space}", source_id)

    def model_id(self, source_id: str, tags: Mapping[str, str] | None = None) -> str:
        """What a logged model of the source is called here."""
        own = (tags or {}).get(MODEL_ID_TAG, "")
        return own if is_model_id(own) else derived_model_id(self.kind, source_id)

    def stored(self, run_id: str) -> StoredRun | None:
        """The run as the store has it; None where it does not.

        Raises:
            StoreError, CorruptionError: it can't be read.
        """
        try:
            return self.store.run(run_id)
        except NotFoundError:
            return None

    # --- experiments ---

    def know(self, experiments: Mapping[str, SourceExperiment]) -> None:
        """Remember the source's experiments."""
        self._known.update(experiments)

    def known_experiments(self) -> list[str]:
        """The names of the source's experiments."""
        return list(self._known)

    def experiment(self, name: str) -> Experiment:
        """The experiment of that name here, or of the one that all go to; made if needed, with the source's tags.

        Raises:
            UsageError: it has no name that an experiment can have.
        """
        name = self.options.into or name
        if name not in self._experiments:
            self._experiments[name] = self._settle(self._known.get(name) or SourceExperiment(name=name))
        return self._experiments[name]

    def _settle(self, source: SourceExperiment) -> Experiment:
        workspace = self.store.workspace
        local = self.local_experiment(source.name)
        tags = {key: value for key, value in source.tags.items() if key != EXPERIMENT_TAG}
        if local is None:
            self.counts["experiments"] += 1
            if self.options.dry_run:
                return Experiment(derived_experiment_id(source.name), source.name, tags=tags)
            return self._make(source, tags)
        if not self.options.dry_run:
            for key in tags.keys() - local.tags.keys():
                local = workspace.set_tag(local.experiment_id, key, tags[key])
        return local

    def local_experiment(self, name: str) -> Experiment | None:
        """The experiment of that name here."""
        workspace = self.store.workspace
        return workspace.get(DEFAULT_EXPERIMENT_ID) if name == DEFAULT_EXPERIMENT_NAME else workspace.by_name(name)

    def _make(self, source: SourceExperiment, tags: dict[str, str]) -> Experiment:
        workspace, created = self.store.workspace, source.created if 0 < source.created <= TIME_MAX else 0
        try:
            made = workspace.create(
                source.name, tags, experiment_id=derived_experiment_id(source.name), created=created
            )
        except AlreadyExistsError:
            if workspace.by_name(source.name) is not None:  # another process was faster
                return workspace.get_or_create(source.name)
            made = workspace.create(source.name, tags, created=created)  # another one has that id
        return workspace.set_stage(made.experiment_id, DELETED) if source.deleted else made

    # --- what goes wrong ---

    @contextlib.contextmanager
    def naming(self, where: str) -> Iterator[None]:
        """For one thing of the source: what makes it unreadable or unfit for a store is named, and ends only that."""
        try:
            yield
        except (SourceError, UsageError, CorruptionError) as error:
            self.findings.problem(where, str(error))
