"""`mltrack artifacts`: lists and copies the files of a run."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from mltrack.cli.context import RUN, Command, Session, json_option, pass_session
from mltrack.disk.filesystem import relative_name, safe_join
from mltrack.errors import InvalidPathError, NotFoundError, UsageError
from mltrack.text.figures import with_times
from mltrack.text.printing import Column, data_stream, is_terminal, note, print_json, print_table, say

if TYPE_CHECKING:
    from mltrack.disk.layout import ModelFolder
    from mltrack.entities import Artifact
    from mltrack.storage.runs.stored_run import StoredRun
    from mltrack.store import Store

__all__ = ["artifacts"]


@click.group("artifacts", short_help="List and copy a run's files.")
def artifacts() -> None:
    """List the files of a run, and copy them out of the store."""


@artifacts.command(
    "ls",
    short_help="List files.",
    cls=Command,
    examples=["mltrack artifacts ls spirals-1", "mltrack artifacts ls spirals-1 '*.txt'"],
)
@click.argument("run", type=RUN)
@click.argument("path", required=False)
@json_option
@pass_session
def ls(session: Session, run: str, path: str | None, as_json: bool) -> None:
    """List the files of RUN, or those at and below PATH, or that match it ('*.png'), with sizes and SHA-256 sums.

    The files of models that RUN made (MLflow 3's logged models) are listed in a folder of the model's name.
    """
    from mltrack.cli.formatting import moment, size

    store = session.store()
    stored = store.run(run)
    found = [file.listed for file in _below(store, stored, path)]
    if as_json:
        print_json([with_times(asdict(each), ns=("time",)) for each in found])
        return
    if not found:
        note("this run has no artifacts")
        return
    pretty = is_terminal()
    rows = [
        (
            f"{each.path} (on remote {each.remote})" if each.remote else each.path,
            size(each.size) if pretty else str(each.size),
            moment(each.time // 1_000_000),
            each.sha256[:12] if pretty else each.sha256,
        )
        for each in found
    ]
    columns = [Column("path", style="cyan", cut=True), Column("size", right=True)]
    print_table([*columns, Column("logged", drop=2), Column("sha256", style="dim", drop=1)], rows)


@artifacts.command(
    "get",
    short_help="Copy files out.",
    cls=Command,
    examples=["mltrack artifacts get spirals-1 arms.txt", "mltrack artifacts get spirals-1 -o files"],
)
@click.argument("run", type=RUN)
@click.argument("path", required=False)
@click.option(
    "-o", "--output", type=click.Path(), metavar="PLACE", help="A folder, or for one file its new path; - prints it."
)
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@json_option
@pass_session
def get(session: Session, run: str, path: str | None, output: str | None, overwrite: bool, as_json: bool) -> None:
    """Copy PATH, a file or folder of RUN, or without PATH all its files, into this folder or to PLACE."""
    store = session.store()
    stored = store.run(run)
    files = {file.listed.path: file for file in _below(store, stored, path)}
    is_file = path is not None and path.strip("/") in files
    if output == "-":
        if not is_file:
            raise UsageError("only one file can be printed", hint=f"see: mltrack artifacts ls {stored.run_id}")
        with next(iter(files.values())).place(stored).open("rb") as file:
            shutil.copyfileobj(file, data_stream())
        return
    places = {name: _place(name, path, output, is_file=is_file) for name in files}
    sources = {name: file.place(stored) for name, file in files.items()}  # all are here before the first is copied
    taken = [place for place in places.values() if place.exists() or place.is_symlink()]
    if taken and not overwrite:
        raise UsageError(f"{taken[0]} exists already", hint="--overwrite replaces it, -o names another place")
    for name, place in places.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_symlink():
            place.unlink()
        shutil.copyfile(sources[name], place)
    if as_json:
        print_json({name: str(place) for name, place in places.items()})
    else:
        for name, place in places.items():
            say(f"{name} -> {place}")


class _File(NamedTuple):
    """A file of a run, or of a model that the run made, as it is listed; ``model`` is that model's folder."""

    listed: Artifact
    name: str
    model: ModelFolder | None = None

    def place(self, run: StoredRun) -> Path:
        """Where it is on disk.

        Raises:
            NotFoundError: it is not there.
        """
        if self.model is None:
            return run.artifact_path(self.name)
        found = safe_join(self.model.artifacts, self.name)
        if not found.exists():
            raise NotFoundError(
                f"{self.listed.path!r} of model {self.model.model_id} is not in this store",
                hint=f"if a remote has it: mltrack fetch {run.run_id}",
            )
        return found


def _files(store: Store, run: StoredRun) -> list[_File]:
    """The recorded files, then those of the models that the run made, each in a folder of the model's name."""
    found = [_File(each, each.path) for each in run.artifacts]
    taken = {each.path.partition("/")[0] for each in run.artifacts}
    for model_id in dict.fromkeys(made.model_id for made in run.model_outputs):
        if store.logged_models.has(model_id):
            model = store.logged_models.get(model_id)
            name = _folder_name(model.name)
            folder = f"{name}-{model_id}".removeprefix("-") if name in taken or not name else name
            taken.add(folder)
            found += [
                _File(replace(each, path=f"{folder}/{each.path}"), each.path, store.logged_models.folder(model_id))
                for each in model.artifacts
            ]
    return found


def _folder_name(model: str) -> str:
    """A model's name where a folder can have it; else nothing, as for one that leads elsewhere."""
    try:
        name = relative_name(model)
    except InvalidPathError:
        return ""
    return name if name == model and "/" not in name else ""


def _below(store: Store, run: StoredRun, path: str | None) -> list[_File]:
    """The recorded files at and below a path, in order of path.

    Raises:
        NotFoundError: there are none.
    """
    wanted = (path or "").strip("/")
    found = [file for file in _files(store, run) if not wanted or _is_at(file.listed.path, wanted)]
    if not found and wanted:
        raise NotFoundError(
            f"run {run.run_id} has no artifact {path!r}", hint=f"see: mltrack artifacts ls {run.run_id}"
        )
    return found


def _is_at(name: str, wanted: str) -> bool:
    """Whether a path is the wanted one, is below it, or matches it as a pattern with ``*`` and ``?``."""
    return name == wanted or name.startswith(f"{wanted}/") or fnmatchcase(name, wanted)


def _place(name: str, path: str | None, output: str | None, *, is_file: bool) -> Path:
    """Where a file is copied to: with the last part of the path that was named, as ``cp -r`` does."""
    if is_file:
        last = name.rpartition("/")[2]
        place = Path(output) if output else Path(last)
        return place / last if place.is_dir() or (output or "").endswith("/") else place
    above = (path or "").strip("/").rpartition("/")[0]
    return Path(output or ".") / (name[len(above) + 1 :] if above else name)
