"""Comparing a source with the store: every run, fact, point and file; nothing is changed on either side."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mltrack.disk.filesystem import safe_join
from mltrack.entities import ACTIVE, DELETED
from mltrack.environment import ORIGIN_RUN_TAG, ORIGIN_TAG, RUN_NAME_TAG
from mltrack.importers.compare_others import compare_others
from mltrack.importers.digests import Digests, all_rows, missing_rows
from mltrack.importers.engine import open_source, selected_runs
from mltrack.importers.files import digest_of
from mltrack.importers.findings import Findings
from mltrack.importers.options import ImportOptions
from mltrack.importers.points import of_key, source_points, stored_digests, stored_points, timed
from mltrack.importers.runs import local_links, source_links, source_tags
from mltrack.importers.session import Session
from mltrack.importers.sides import Difference, Sides
from mltrack.importers.values import KnownValues, image_of, line_of
from mltrack.storage.runs.local_facts import LocalFacts
from mltrack.text.counting import plural
from mltrack.values.rich import Image

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from mltrack.importers.source import Source, SourceRun
    from mltrack.store import Store

__all__ = ["Comparison", "Difference", "compare_source"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How a source and the store compare: how many things are the same, and what differs.

    ``problems`` has what could not be read, so was not compared; ``left_out`` what has no place in a store.
    """

    source: str
    kind: str
    runs: int = 0
    params: int = 0
    tags: int = 0
    metrics: int = 0
    points: int = 0
    values: int = 0
    artifacts: int = 0
    artifact_bytes: int = 0
    links: int = 0
    models: int = 0
    model_versions: int = 0
    logged_models: int = 0
    traces: int = 0
    differences: tuple[Difference, ...] = ()
    left_out: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def same(self) -> bool:
        """Whether nothing differs, and all of it could be compared."""
        return not self.differences and not self.problems


def compare_source(
    store: Store,
    path: str | os.PathLike[str],
    kind: str = "",
    options: ImportOptions | None = None,
    **changes: Any,
) -> Comparison:
    """Compare what is selected in a source with what the store has of it.

    What was recorded or edited here is not a difference, nor is what the source does not have.

    Args:
        store: The store.
        path: The source.
        kind: Its kind; by default it is recognized.
        options: What is compared; by default everything.
        changes: Single options by their names in ImportOptions.

    Raises:
        NotFoundError, UsageError: as import_source.
    """
    options = replace(options or ImportOptions(), dry_run=True, **changes)
    started, findings = time.monotonic(), Findings(options.artifacts_from)
    importer, source = open_source(Path(path), kind, findings)
    with contextlib.closing(source):
        session = Session(store, importer.name, f"{importer.name}:{Path(path).resolve().name}", options, findings)
        sides = Sides(session)
        _compare(sides, source)
    fields: dict[str, Any] = {name: session.counts[name] for name in _COUNTS}
    return Comparison(
        source=str(path),
        kind=importer.name,
        differences=tuple(sides.differences),
        left_out=findings.omissions,
        problems=findings.problems,
        seconds=time.monotonic() - started,
        **fields,
    )


_COUNTS = (
    "runs",
    "params",
    "tags",
    "metrics",
    "points",
    "values",
    "artifacts",
    "artifact_bytes",
    "links",
    "models",
    "model_versions",
    "logged_models",
    "traces",
)


def _compare(sides: Sides, source: Source) -> None:
    session = sides.session
    session.know({experiment.name: experiment for experiment in source.experiments()})
    for run in selected_runs(session, source):
        session.counts["runs_read"] += 1
        with session.naming(run.where):
            _RunComparison(sides, run).compare()
        session.options.progress(session.counts["runs_read"], session.counts["points"])
    compare_others(sides, source)


class _RunComparison:
    def __init__(self, sides: Sides, run: SourceRun) -> None:
        session = sides.session
        run_id = session.run_id(run)
        self._sides = sides
        self._session = session
        self._local = LocalFacts(run_id, session.stored(run_id), session.kind)
        self._run = timed(run, self._local)
        self._of = f"run {run.source_id}"

    def compare(self) -> None:
        local = self._local
        if local.run is None:
            self._sides.differ(self._of, "run", None, self._run.name)
            return
        self._session.counts["runs"] += 1
        self._facts()
        self._points()
        self._values()
        self._files()
        if local.run.damage:
            raise local.run.damage[0]

    # --- facts ---

    def _facts(self) -> None:
        run, local, sides, of = self._run, self._local, self._sides, self._of
        assert local.run is not None
        info = local.run.state.info()
        sides.equal(of, "name", info.run_name, local.tags.values.get(RUN_NAME_TAG) or run.name)
        if not local.own_ending:
            ending = local.ending or ("", None)
            sides.equal(of, "status", ending[0], run.status)
            if not run.guessed_times:
                sides.equal(of, "end time", ending[1], run.end_time)
        if not run.guessed_times:
            sides.equal(of, "start time", info.start_time, run.start_time // 1_000_000)
        if not local.own_stage:
            sides.equal(of, "stage", local.stage, DELETED if run.deleted else ACTIVE)
        experiment = self._session.options.into or run.experiment
        here = self._session.local_experiment(experiment)
        sides.equal(of, "experiment", info.experiment_id, here.experiment_id if here is not None else None)
        self._texts("param", local.run.params, run.params, set())
        tags = source_tags(self._session, run, local.run_id)
        skipped = local.tags.own | {ORIGIN_TAG, ORIGIN_RUN_TAG}
        self._texts("tag", {key: value for key, value in local.tags.values.items() if value is not None}, tags, skipped)
        known = local_links(local)
        for name, _ in source_links(self._session, run):
            if name in known:
                self._session.counts["links"] += 1
            else:
                sides.differ(of, name[0], None, " ".join(name[1:]))

    def _texts(self, what: str, local: Mapping[str, str], source: Mapping[str, str], skipped: set[str]) -> None:
        for key, value in source.items():
            if key not in skipped and self._sides.equal(self._of, f"{what} {key}", local.get(key), value):
                self._session.counts[f"{what}s"] += 1

    # --- points ---

    def _points(self) -> None:
        run, local, counts = self._run, self._local, self._session.counts
        stored = stored_digests(local, run.time_unit)
        digests = Digests()
        with self._session.naming(run.where):
            for points in source_points(run, self._session.findings):
                digests.add(points, run.time_unit)
            for key in sorted(stored.keys() | digests.by_key.keys()):
                have, given = stored.get(key), digests.by_key.get(key)
                if have == given and given is not None:
                    counts["metrics"] += 1
                    counts["points"] += given.points
                elif given is not None:
                    self._differ(key)

    def _differ(self, key: str) -> None:
        """Which points of a metric differ: compared one by one."""
        unit = self._run.time_unit
        stored = all_rows(of_key(lambda: stored_points(self._local), key), unit)
        given = all_rows(of_key(lambda: source_points(self._run, self._session.findings), key), unit)
        missing = given[missing_rows(given, stored)]
        extra = stored[missing_rows(stored, given)]
        if not len(missing) and (not len(extra) or self._local.is_own):  # what was recorded here may be more
            self._session.counts["metrics"] += 1
            self._session.counts["points"] += len(given)
            return
        self._sides.differ(self._of, f"metric {key}", _some(extra, len(stored)), _some(missing, len(given)))

    # --- values and files ---

    def _values(self) -> None:
        known = KnownValues(self._local)
        with self._session.naming(self._run.where):
            for value in self._run.values():
                with self._session.naming(self._run.where):
                    is_image = isinstance(value.value, Image)
                    has_it = known.has_image(image_of(value)[0]) if is_image else known.has(line_of(value))
                    if has_it:
                        self._session.counts["values"] += 1
                    else:
                        what = f"{value.value.kind} {value.key} at step {value.step}"
                        self._sides.differ(self._of, what, None, f"at {value.time} ns")

    def _files(self) -> None:
        local, session = self._local, self._session
        assert local.run is not None
        if not session.options.artifacts:
            return
        for file in self._run.files():
            with session.naming(self._run.where):
                known = local.files.get(file.path)
                what = f"artifact {file.path}"
                if known is not None and (known.own or known.removed):
                    continue
                path = safe_join(local.run.folder.artifacts, file.path)
                if known is None or not path.is_file():
                    self._sides.differ(self._of, what, None, f"{file.size:,} bytes")
                elif self._sides.equal(self._of, what, known.sha256, digest_of(file)):
                    session.counts["artifacts"] += 1
                    session.counts["artifact_bytes"] += file.size


def _some(rows: np.ndarray[Any, np.dtype[np.void]], of: int) -> str:
    """Points that only one side has: how many, and the first."""
    if not len(rows):
        return f"the same {plural(of, 'point')}" if of else "nothing"
    first = rows[0]
    value = np.array([first["value"]], np.uint64).view(np.float64)[0]
    more = f", and {len(rows) - 1:,} more" if len(rows) > 1 else ""
    return f"step {int(first['step'])}: {float(value)!r} at {int(first['time'])} ns{more}, of {plural(of, 'point')}"
