"""`mltrack artifacts`: lists and copies the files of a run."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mltrack.cli.context import RUN, Command, Session, json_option, pass_session
from mltrack.errors import NotFoundError, UsageError
from mltrack.text.printing import Column, data_stream, is_terminal, note, print_json, print_table, say

if TYPE_CHECKING:
    from mltrack.entities import Artifact
    from mltrack.storage.runs.stored_run import StoredRun

__all__ = ["artifacts"]


@click.group("artifacts", short_help="List and copy a run's files.")
def artifacts() -> None:
    """List the files of a run, and copy them out of the store."""


@artifacts.command("ls", short_help="List files.", cls=Command, examples=["mltrack artifacts ls spirals-1"])
@click.argument("run", type=RUN)
@click.argument("path", required=False)
@json_option
@pass_session
def ls(session: Session, run: str, path: str | None, as_json: bool) -> None:
    """List the files of RUN, or those at and below PATH, with sizes and SHA-256 sums."""
    from mltrack.cli.formatting import moment, size

    stored = session.store().run(run)
    found = _below(stored, path)
    if as_json:
        print_json([asdict(each) for each in found])
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
    stored = session.store().run(run)
    found = _below(stored, path)
    is_file = path is not None and any(each.path == path.strip("/") for each in found)
    if output == "-":
        if not is_file:
            raise UsageError("only one file can be printed", hint=f"see: mltrack artifacts ls {stored.run_id}")
        with stored.artifact_path(found[0].path).open("rb") as file:
            shutil.copyfileobj(file, data_stream())
        return
    places = {each.path: _place(each, path, output, is_file=is_file) for each in found}
    sources = {name: stored.artifact_path(name) for name in places}  # all are here before the first is copied
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


def _below(run: StoredRun, path: str | None) -> list[Artifact]:
    """The recorded files at and below a path, in order of path.

    Raises:
        NotFoundError: there are none.
    """
    wanted = (path or "").strip("/")
    found = [each for each in run.artifacts if not wanted or each.path == wanted or each.path.startswith(f"{wanted}/")]
    if not found and wanted:
        raise NotFoundError(
            f"run {run.run_id} has no artifact {path!r}", hint=f"see: mltrack artifacts ls {run.run_id}"
        )
    return found


def _place(artifact: Artifact, path: str | None, output: str | None, *, is_file: bool) -> Path:
    """Where a file is copied to: with the last part of the path that was named, as ``cp -r`` does."""
    if is_file:
        name = artifact.path.rpartition("/")[2]
        place = Path(output) if output else Path(name)
        return place / name if place.is_dir() or (output or "").endswith("/") else place
    above = (path or "").strip("/").rpartition("/")[0]
    return Path(output or ".") / (artifact.path[len(above) + 1 :] if above else artifact.path)
