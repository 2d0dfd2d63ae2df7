"""One import: what is selected in a source and new is written into the store, whatever the source's kind."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltrack.disk.locks import file_lock
from mltrack.errors import BusyError, UsageError
from mltrack.importers.findings import Findings
from mltrack.importers.kinds import find_kind, kind_of, others_in, require
from mltrack.importers.options import ImportOptions, ImportReport
from mltrack.importers.others import bring_others
from mltrack.importers.runs import RunBringer
from mltrack.importers.session import Session
from mltrack.importers.source import SourceError

if TYPE_CHECKING:
    import os

    from mltrack.importers.source import Importer, Source, SourceRun
    from mltrack.store import Store

__all__ = ["import_source", "open_source", "selected_runs"]

COUNTS = (
    "runs",
    "created",
    "unchanged",
    "points",
    "values",
    "artifacts",
    "artifact_bytes",
    "skipped_artifacts",
    "experiments",
    "models",
    "model_versions",
    "logged_models",
    "traces",
)


def import_source(
    store: Store,
    path: str | os.PathLike[str],
    kind: str = "",
    options: ImportOptions | None = None,
    **changes: Any,
) -> ImportReport:
    """Write what is selected in a source and new into the store; when this returns, it is on the disk.

    Args:
        store: The store.
        path: A file or folder of another tracker. It is only read.
        kind: Its kind, by a name in ``mltrack.importers.kinds``; by default it is recognized.
        options: What is imported, and how; by default everything.
        changes: Single options by their names in ImportOptions, such as ``dry_run=True``.

    Raises:
        NotFoundError: the source does not exist.
        UsageError: its kind is not known, it can't be read at all, or an option is not valid.
        BusyError: another import into this store is going on.
        StoreError: the store can't be written to.
    """
    options = replace(options or ImportOptions(), **changes)
    started, findings = time.monotonic(), Findings(options.artifacts_from)
    importer, source = open_source(Path(path), kind, findings)
    with contextlib.closing(source):
        session = Session(store, importer.name, f"{importer.name}:{Path(path).resolve().name}", options, findings)
        if options.dry_run:
            _import(session, source)
        else:
            with _import_lock(store):
                _import(session, source)
    fields: dict[str, Any] = {name: session.counts[name] for name in COUNTS}
    return ImportReport(
        source=str(path),
        kind=importer.name,
        dry_run=options.dry_run,
        other_kinds={} if kind else others_in(Path(path), importer.name),
        left_out=findings.omissions,
        problems=findings.problems,
        seconds=time.monotonic() - started,
        **fields,
    )


def open_source(path: Path, kind: str, findings: Findings) -> tuple[Importer, Source]:
    """A source, and its kind.

    Raises:
        NotFoundError, UsageError: as import_source.
    """
    require(path)
    importer = find_kind(kind) if kind else kind_of(path)
    try:
        whole = path.resolve() if ".." in path.parts else path.absolute()  # "." has no name, and no folders next to it
        return importer, importer.open(whole, findings)
    except (SourceError, OSError) as error:
        words = str(error) if isinstance(error, SourceError) else error.strerror or str(error)
        hint = error.hint if isinstance(error, SourceError) else ""
        raise UsageError(f"{path} can't be read as {importer.title}: {words}", hint=hint) from error


@contextlib.contextmanager
def _import_lock(store: Store) -> Iterator[None]:
    """Hold the store's lock of imports: two at a time would write new points twice.

    Raises:
        BusyError: another import is going on.
        StoreError: the store can't be written to.
    """
    try:
        with file_lock(store.layout.workspace / "import.lock", timeout_s=0):
            yield
    except BusyError as error:
        raise BusyError(f"another import into {store.path} is going on", hint="try again when it is done") from error


def selected_runs(session: Session, source: Source) -> Iterator[SourceRun]:
    """The runs of a source that are selected; each id once."""
    seen: dict[str, str] = {}
    for run in source.runs():
        run_id = session.run_id(run)
        if not session.options.selects(run):
            continue
        if run_id in seen:
            session.findings.problem(run.where, f"the same run as {seen[run_id]}, left out")
            continue
        seen[run_id] = run.where
        yield run


def _import(session: Session, source: Source) -> None:
    session.know({experiment.name: experiment for experiment in source.experiments()})
    if session.options.everything and not session.options.into:
        for name in session.known_experiments():
            with session.naming(f"experiment {name!r}"):
                session.experiment(name)
    for run in selected_runs(session, source):
        session.counts["runs_read"] += 1
        with session.naming(run.where):
            RunBringer(session, run).bring()
        session.options.progress(session.counts["runs_read"], session.counts["points_read"])
    bring_others(session, source)
