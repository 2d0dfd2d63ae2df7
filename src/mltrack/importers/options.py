"""What an import takes along, and what it reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.importers.source import SourceRun

__all__ = ["ImportOptions", "ImportReport"]


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What is imported, and how.

    Attributes:
        experiments: Only runs of these experiments: names, or patterns with ``*`` and ``?``.
        runs: Only these runs: ids, their first digits, names, or patterns of ids and names.
        into: The experiment that all runs go to; by default each goes to that of its own name.
        artifacts: Whether files come along.
        artifacts_from: Folders outside of the source from which files come that it has the addresses of.
        dry_run: Read all of it, and write nothing.
        progress: Called with the runs and points that were read so far.
    """

    experiments: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    into: str = ""
    artifacts: bool = True
    artifacts_from: tuple[Path, ...] = ()
    dry_run: bool = False
    progress: Callable[[int, int], None] = lambda runs, points: None

    @property
    def everything(self) -> bool:
        """Whether all of the source is wanted."""
        return not self.experiments and not self.runs

    def selects(self, run: SourceRun) -> bool:
        """Whether a run is wanted."""
        if self.experiments and not any(fnmatchcase(run.experiment, pattern) for pattern in self.experiments):
            return False
        return not self.runs or any(_is_run(run, pattern) for pattern in self.runs)


def _is_run(run: SourceRun, pattern: str) -> bool:
    names = (run.source_id, run.name)
    return run.source_id.startswith(pattern) or any(fnmatchcase(name, pattern) for name in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What one import brought, or a dry run would bring.

    Attributes:
        source: The source.
        kind: Its kind.
        dry_run: Nothing was written.
        runs: Runs that had something new.
        created: Those of them that the store did not have.
        unchanged: Selected runs that had nothing new.
        points: New points.
        values: New histograms, images, tables and texts.
        artifacts: New files.
        artifact_bytes: Their bytes.
        skipped_artifacts: Files that were not wanted.
        experiments: New experiments.
        models: New registered models.
        model_versions: New versions of registered models.
        logged_models: New logged models.
        traces: New traces.
        other_kinds: Sources of other kinds that are in the same folder: names in it, by kinds. They were not read.
        left_out: What was read and has no place in a store, with its number.
        problems: What could not be read or stored; the next import tries it again.
        seconds: How long it took.
    """

    source: str
    kind: str
    dry_run: bool = False
    runs: int = 0
    created: int = 0
    unchanged: int = 0
    points: int = 0
    values: int = 0
    artifacts: int = 0
    artifact_bytes: int = 0
    skipped_artifacts: int = 0
    experiments: int = 0
    models: int = 0
    model_versions: int = 0
    logged_models: int = 0
    traces: int = 0
    other_kinds: dict[str, list[str]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether everything that was asked for is in the store."""
        return not self.problems
