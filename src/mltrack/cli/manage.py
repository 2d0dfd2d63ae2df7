"""`mltrack init`, `rm`, `restore` and `seal`: the commands that change the store."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from mltrack.cli.context import RUN, Session, command, json_option, pass_session
from mltrack.entities import DELETED
from mltrack.errors import CorruptionError, NotFoundError, StoreError, UsageError
from mltrack.text.printing import confirm, note, print_json, say

if TYPE_CHECKING:
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack.store import Store

__all__ = ["Sealed", "init", "restore", "rm", "seal", "seal_all"]


@command("init", "Create a store.", "mltrack init", "mltrack init experiments/.mltrack")
@click.argument("path", required=False, type=click.Path())
@json_option
@pass_session
def init(session: Session, path: str | None, as_json: bool) -> None:
    """Create a store at PATH (by default at --store, else ./.mltrack). An existing one stays unchanged.

    Not needed before recording: the first run creates the store if it does not exist.
    """
    from mltrack.disk.found_store import words_on_mlflow
    from mltrack.disk.layout import STORE_FOLDER, find_store
    from mltrack.environment import MLTRACK_STORE
    from mltrack.store import Store

    named = path or session.store_path
    place = find_store(named if named or os.environ.get(MLTRACK_STORE) else STORE_FOLDER)
    made = not (place / "store.json").exists()
    store = Store.create(place)
    if as_json:
        print_json({"path": str(store.path), "store_id": store.store_id, "made": made})
    else:
        say(f"{'created a store' if made else 'a store exists'} at {store.path}")
        if made and (left := words_on_mlflow(store.path)):
            note(left)


@command("rm", "Delete runs.", "mltrack rm spirals-2", "mltrack rm --purge --yes spirals-3")
@click.argument("runs", type=RUN, nargs=-1, required=True, metavar="RUN...")
@click.option("--purge", is_flag=True, help="Remove the folders permanently; not while a process records into them.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask for confirmation of --purge.")
@json_option
@pass_session
def rm(session: Session, runs: tuple[str, ...], purge: bool, yes: bool, as_json: bool) -> None:
    """Mark runs as deleted (mltrack restore restores them), or remove them permanently with --purge."""
    store = session.store()
    chosen = _chosen(store, runs)
    if purge:
        names = ", ".join(run.info.run_name for run in chosen)
        if not yes and not confirm(f"Permanently delete {names}, with all points and artifacts?"):
            raise UsageError("nothing was removed", hint="answer y, or use --yes")
        for run in chosen:
            store.purge_run(run.run_id)
    else:
        for run in chosen:
            store.delete_run(run.run_id)
    _print_changed("purged" if purge else "deleted", chosen, as_json)


@command("restore", "Restore deleted runs or experiments.", "mltrack restore spirals-2", "mltrack restore -e spirals")
@click.argument("runs", type=RUN, nargs=-1, metavar="[RUN]...")
@click.option(
    "-e", "--experiment", "experiments", multiple=True, metavar="NAME", help="An experiment, with its runs; or its id."
)
@json_option
@pass_session
def restore(session: Session, runs: tuple[str, ...], experiments: tuple[str, ...], as_json: bool) -> None:
    """Restore deleted runs, and with -e deleted experiments with all their runs."""
    from mltrack.cli.select import experiment_named

    if not runs and not experiments:
        raise UsageError("no runs or experiments are given", hint="name runs, or an experiment with -e")
    store = session.store()
    try:
        chosen = _chosen(store, runs)
    except NotFoundError as error:
        raise NotFoundError(str(error), hint="see: mltrack ls --deleted") from error
    found = [experiment_named(store, name) for name in experiments]
    named = [experiment for experiment in found if experiment.lifecycle_stage == DELETED]
    for experiment in named:
        store.restore_experiment(experiment.experiment_id)
    kept = [run for run in chosen if run.info.lifecycle_stage == "active"]
    chosen = [run for run in chosen if run not in kept]
    for run in chosen:
        store.restore_run(run.run_id)
    if as_json:
        ids = {"experiments": [experiment.experiment_id for experiment in named]} if found else {}
        print_json({"restored": [run.run_id for run in chosen], **ids})
        return
    for experiment in named:
        say(f"restored experiment {experiment.experiment_id} {experiment.name}")
    for experiment in found:
        if experiment not in named:
            say(f"not deleted: experiment {experiment.experiment_id} {experiment.name}")
    _print_changed("restored", chosen, as_json)
    _print_changed("not deleted:", kept, as_json)


@command("seal", "Compact the data of crashed processes.", "mltrack seal", "mltrack seal spirals-1")
@click.argument("runs", type=RUN, nargs=-1, metavar="[RUN]...")
@json_option
@pass_session
def seal(session: Session, runs: tuple[str, ...], as_json: bool) -> None:
    """Compact the points that crashed processes left in RUNs (by default all) to Parquet. Reading does not need it.

    Histograms, tables and texts they logged become artifacts, as at the end of a run, so that they are synced too, and
    so does the output left by a launcher (`mltrack run`) that was killed. Files that programs wrote into the artifact
    folders themselves are recorded.
    """
    from mltrack.cli.formatting import plural

    done = seal_all(session, session.store(), runs)
    if as_json:
        print_json(done.points)
        return
    say(f"{plural(sum(done.points.values()), 'point')} sealed in {plural(len(done.points), 'run')}")
    if done.logs:
        say(f"{plural(done.logs, 'log')} of killed launchers stored as artifacts")
    if done.files:
        say(f"{plural(done.files, 'file')} found in artifact folders and recorded")


@dataclass(slots=True)
class Sealed:
    """What was sealed: points by run; logs of killed launchers, and files of artifact folders, that were recorded."""

    points: dict[str, int] = field(default_factory=dict)
    logs: int = 0
    files: int = 0


def seal_all(session: Session, store: Store, runs: tuple[str, ...]) -> Sealed:
    """Seal what crashed processes left in runs, by default in all; what can't be sealed is the session's damage."""
    from mltrack.cli.select import iterate_runs
    from mltrack.launch.orphaned_output import publish_orphaned_output
    from mltrack.storage.runs.sealing import seal_dead_writers

    done = Sealed()
    for run in iterate_runs(store, runs):
        try:
            points = seal_dead_writers(run.folder, run.state)
            store.finish_series(run.run_id)
            done.files += store.record_found_files(run.run_id)
            done.logs += len(publish_orphaned_output(store.layout, run.run_id))
        except (OSError, StoreError) as error:  # it stays unchanged, and the others are sealed
            session.damage.append(_not_sealed(run.run_id, error))
            continue
        if points:
            done.points[run.run_id] = points
    return done


def _not_sealed(run_id: str, error: OSError | StoreError) -> CorruptionError:
    what = (error.strerror or error) if isinstance(error, OSError) else error
    return CorruptionError(f"run {run_id} is not sealed: {what}", path=getattr(error, "filename", None) or run_id)


def _chosen(store: Store, runs: tuple[str, ...]) -> list[StoredRun]:
    """All of them, before anything is changed: with a wrong name among them nothing is changed."""
    return [store.run(run) for run in dict.fromkeys(map(store.resolve, runs))]


def _print_changed(what: str, runs: list[StoredRun], as_json: bool) -> None:
    if as_json:
        print_json({what: [run.run_id for run in runs]})
    else:
        for run in runs:
            say(f"{what} {run.run_id} {run.info.run_name}")
