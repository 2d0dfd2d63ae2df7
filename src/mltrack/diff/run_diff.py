"""The difference of two runs, all of it in one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mltrack.diff.changes import Change, find_changes
from mltrack.diff.launches import Launch, read_launch_facts
from mltrack.diff.metrics import MetricDiff, diff_metrics
from mltrack.diff.sources import FileDiff, diff_files
from mltrack.errors import CorruptionError, NotFoundError
from mltrack.storage.source_contents import Contents

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mltrack.entities import DatasetInput
    from mltrack.storage.runs.stored_run import StoredRun

__all__ = ["SECTIONS", "RunDiff", "diff_runs"]

SECTIONS = ("source", "packages", "params", "command", "environment", "host", "data", "metrics")


@dataclass(frozen=True, slots=True)
class RunDiff:
    """What differs from run ``a`` to run ``b``, both ids; an empty section: nothing does, or nothing is known.

    Attributes:
        origin: commit, branch, repository, and whether there were uncommitted changes.
        files: source files, by the snapshots of launched runs.
        packages: versions of installed packages, and of Python.
        params: the params.
        command: the command line and the folder it ran in, or only the program.
        environment: variables that matter to a training.
        host: the machine.
        data: digests of datasets, named by the dataset and what it was used for.
        metrics: latest, least and greatest values.
        unknown: sections that could not be compared, each with the reason.
    """

    a: str
    b: str
    origin: tuple[Change, ...]
    files: tuple[FileDiff, ...]
    packages: tuple[Change, ...]
    params: tuple[Change, ...]
    command: tuple[Change, ...]
    environment: tuple[Change, ...]
    host: tuple[Change, ...]
    data: tuple[Change, ...]
    metrics: tuple[MetricDiff, ...]
    unknown: dict[str, str]

    def differs(self, *sections: str) -> bool:
        """Whether anything differs, or anything in these sections of SECTIONS."""
        chosen = sections or SECTIONS
        parts = [getattr(self, section) for section in chosen if section != "source"]
        return any(parts) or ("source" in chosen and bool(self.origin or self.files))


def diff_runs(store: Path, a: StoredRun, b: StoredRun, *, context: int = 3, new_files: bool = False) -> RunDiff:
    """Compare two runs of the store in that folder.

    Args:
        store: the store's folder, which has the contents of source files.
        a: the run to start from.
        b: the run to compare with it.
        context: how many equal lines are shown around those that differ.
        new_files: whether the lines of files are shown that only one run has.
    """
    one, other = read_launch_facts(a), read_launch_facts(b)
    launched = one.files is not None and other.files is not None
    files: tuple[FileDiff, ...] = ()
    if one.files is not None and other.files is not None:
        files = diff_files(one.files, other.files, _reader(store), context=context, new_files=new_files)
    return RunDiff(
        a=a.run_id,
        b=b.run_id,
        origin=find_changes(one.origin, other.origin),
        files=files,
        packages=_known(one.packages, other.packages),
        params=find_changes(a.params, b.params),
        command=_known(one.command, other.command, both=not launched),
        environment=_known(one.variables, other.variables),
        host=_known(one.machine, other.machine, both=not (one.whole_machine and other.whole_machine)),
        data=find_changes(_digests(a.datasets), _digests(b.datasets)),
        metrics=diff_metrics(a.summaries, b.summaries),
        unknown=_unknown(one, other),
    )


def _reader(store: Path) -> Callable[[str], bytes | None]:
    contents = Contents(store)

    def read(sha256: str) -> bytes | None:
        try:
            return contents.read(sha256)
        except (NotFoundError, CorruptionError):
            return None

    return read


def _known(a: dict[str, str] | None, b: dict[str, str] | None, *, both: bool = False) -> tuple[Change, ...]:
    """Changes of what both runs recorded; ``both``: only of names that both have."""
    changes = () if a is None or b is None else find_changes(a, b)
    return tuple(change for change in changes if not both or None not in (change.a, change.b))


def _unknown(one: Launch, other: Launch) -> dict[str, str]:
    known = {
        "source": (one.files, other.files),
        "packages": (one.packages, other.packages),
        "command": (one.command, other.command),
        "environment": (one.variables, other.variables),
    }
    reasons = "; ".join(dict.fromkeys([*one.missing, *other.missing])) or "not recorded"
    return {section: reasons for section, facts in known.items() if None in facts}


def _digests(datasets: list[DatasetInput]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for used in datasets:
        name = f"{used.dataset.name} ({used.context})" if used.context else used.dataset.name
        found.setdefault(name, []).append(used.dataset.digest)
    return {name: ", ".join(sorted(digests)) for name, digests in found.items()}
