"""`mltrack tag`, `rename` and `note`: what a person adds to runs and experiments afterwards."""

from __future__ import annotations

import os
import sys

import click

from mltrack.cli.context import RUN, Session, command, json_option, pass_session
from mltrack.environment import NOTE_TAG, RUN_NAME_TAG
from mltrack.errors import UsageError
from mltrack.text.printing import print_json, say

__all__ = ["note", "rename", "tag"]


@command(
    "tag", "Set or remove tags of runs.", "mltrack tag spirals-1 reviewed=yes", "mltrack tag spirals-1 -d reviewed"
)
@click.argument("words", nargs=-1, required=True, metavar="RUN... [KEY=VALUE]...")
@click.option("-d", "--delete", "deleted", multiple=True, metavar="KEY", help="Remove this tag; may be repeated.")
@click.option("-x", "--experiment", is_flag=True, help="The names are of experiments, not of runs.")
@json_option
@pass_session
def tag(session: Session, words: tuple[str, ...], deleted: tuple[str, ...], experiment: bool, as_json: bool) -> None:
    """Set tags, or remove them with -d. A word with an equals sign is a tag, the others are runs."""
    names = [word for word in words if "=" not in word]
    tags = dict(word.split("=", 1) for word in words if "=" in word)
    if not names:
        raise UsageError("no run is named", hint="mltrack tag RUN KEY=VALUE")
    if not tags and not deleted:
        raise UsageError("no tag is given", hint="KEY=VALUE sets one, -d KEY removes one")
    if "" in tags:
        raise UsageError("a tag needs a name before its equals sign", hint="KEY=VALUE")
    from mltrack.cli.select import experiment_named
    from mltrack.storage.runs.edit import set_tag

    store = session.store()
    changes: dict[str, str | None] = {**tags, **dict.fromkeys(deleted)}
    had: dict[str, set[str]] = {}
    if experiment:
        found = [experiment_named(store, name) for name in names]
        chosen = [(each.name, each.experiment_id) for each in found]
        for _, experiment_id in chosen:
            for key, value in changes.items():
                store.workspace.set_tag(experiment_id, key, value)
    else:
        runs = [store.run(run_id) for run_id in dict.fromkeys(map(store.resolve, names))]
        chosen = [(run.info.run_name, run.run_id) for run in runs]
        had = {run.run_id: set(run.tags) for run in runs}
        for _, run_id in chosen:
            for key, value in changes.items():
                set_tag(store.layout, run_id, key, value)
    if as_json:
        print_json({"set": tags, "removed": list(deleted), "ids": [each for _, each in chosen]})
        return
    for name, each in chosen:
        lacking = set(deleted) - had.get(each, set(deleted))
        done = [f"{key}={value}" for key, value in tags.items()]
        done += [f"there was no {key}" if key in lacking else f"removed {key}" for key in deleted]
        say(f"{each} {name}: {', '.join(done)}")


@command(
    "rename", "Rename a run or an experiment.", "mltrack rename spirals-1 baseline", "mltrack rename -x spirals arms"
)
@click.argument("name", metavar="RUN")
@click.argument("new_name", metavar="NEW_NAME")
@click.option("-x", "--experiment", is_flag=True, help="The name is of an experiment, not of a run.")
@json_option
@pass_session
def rename(session: Session, name: str, new_name: str, experiment: bool, as_json: bool) -> None:
    """Give RUN (or with -x an experiment) another name. Ids stay, and so do folders and links."""
    if not new_name.strip():
        raise UsageError("the new name is empty", hint="mltrack rename RUN NEW_NAME")
    from mltrack.cli.select import experiment_named
    from mltrack.storage.runs.edit import set_tag

    store = session.store()
    if experiment:
        found = experiment_named(store, name)
        store.workspace.rename(found.experiment_id, new_name)
        old, changed = found.name, found.experiment_id
    else:
        run = store.run(name)
        old, changed = run.info.run_name, run.run_id
        set_tag(store.layout, changed, RUN_NAME_TAG, new_name)
    if as_json:
        print_json({"id": changed, "old_name": old, "name": new_name})
    else:
        say(f"{changed} {old} is now {new_name}")


@command(
    "note", "Show or write a run's note.", "mltrack note spirals-1 'the first that converged'", "mltrack note spirals-1"
)
@click.argument("run", type=RUN)
@click.argument("text", required=False)
@click.option("-e", "--edit", is_flag=True, help="Write it in $VISUAL or $EDITOR.")
@json_option
@pass_session
def note(session: Session, run: str, text: str | None, edit: bool, as_json: bool) -> None:
    """Show the note of RUN, or replace it by TEXT; an empty text removes it.

    It is Markdown, and the description of the run in MLflow's UI.
    """
    from mltrack.storage.runs.edit import set_tag

    store = session.store()
    stored = store.run(run)
    if edit:
        if text is not None:
            raise UsageError("a text and --edit can't be used together", hint="give one of them")
        if not sys.stdin.isatty() and not (os.environ.get("VISUAL") or os.environ.get("EDITOR")):
            raise UsageError("an editor needs a terminal", hint="give the text: mltrack note RUN TEXT")
        text = click.edit(stored.tags.get(NOTE_TAG, ""), extension=".md")  # None: left without saving
    if text is not None:
        set_tag(store.layout, stored.run_id, NOTE_TAG, text.strip() or None)
        stored = store.run(stored.run_id)
    written = stored.tags.get(NOTE_TAG, "")
    if as_json:
        print_json({"run_id": stored.run_id, "note": written})
    elif text is None or written:
        for line in written.splitlines() or ["no note yet: mltrack note RUN TEXT"]:
            say(line, err=not written)
    else:
        say(f"{stored.run_id} {stored.info.run_name}: the note is removed")
