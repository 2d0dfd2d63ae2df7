"""`mltrack rewind` and `mltrack fork`: going back to a step of a run, in place or in a new run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mltrack.cli.context import RUN, Session, command, json_option, pass_session
from mltrack.errors import UsageError
from mltrack.text.printing import print_json, say

if TYPE_CHECKING:
    from mltrack.store import Store

__all__ = ["fork", "rewind"]


@command(
    "rewind",
    "Go back to a step of a run, or undo that.",
    "mltrack rewind spirals-1 --to-step 100",
    "mltrack rewind spirals-1 --undo",
)
@click.argument("run", type=RUN)
@click.option("--to-step", "step", type=int, metavar="N", help="The last step that still counts.")
@click.option("--undo", is_flag=True, help="Undo the last rewind.")
@json_option
@pass_session
def rewind(session: Session, run: str, step: int | None, undo: bool, as_json: bool) -> None:
    """Go back to step N of RUN: what was logged with a greater step no longer counts.

    Nothing is removed, and --undo undoes the last rewind. What is logged afterwards counts, whatever its step. Params,
    tags, files, models and system metrics stay.
    """
    if (step is None) == (not undo):
        raise UsageError("give --to-step N or --undo", hint="such as: mltrack rewind RUN --to-step 100")
    store = session.store()
    run_id = store.resolve(run)
    before = store.run(run_id).point_count
    if step is not None:
        store.rewind_run(run_id, step)
    else:
        step = store.undo_rewind(run_id)
    stored = store.run(run_id)
    change = stored.point_count - before
    if as_json:
        facts = {"run_id": run_id, "step": step, "points": stored.point_count, "change": change}
        print_json({**facts, "undone": undo})
        return
    from mltrack.cli.formatting import plural

    name = stored.info.run_name
    if undo:
        say(f"undid the rewind of {name} to step {step}: {plural(change, 'point')} shown again")
    else:
        say(f"rewound {name} to step {step}: {plural(-change, 'point')} hidden; undo it with --undo")


@command(
    "fork",
    "Make a run that begins with another one's points.",
    "mltrack fork spirals-1 --at-step 100",
    "mltrack fork spirals-1 --at-step 100 --name second-try --json",
)
@click.argument("run", type=RUN)
@click.option("--at-step", "step", type=int, metavar="N", required=True, help="The last step that is RUN's.")
@click.option("--name", metavar="NAME", help="The new run's name; by default RUN's with -fork.")
@json_option
@pass_session
def fork(session: Session, run: str, step: int, name: str | None, as_json: bool) -> None:
    """Make a run that begins with RUN's points up to step N, and print its id.

    The points are not copied, so RUN can't be purged while the new run exists. Params, tags and datasets are copied.
    The new run waits for a process that resumes it: start_run(run_id=...), or any script with MLTRACK_RUN_ID set to its
    id.
    """
    from mltrack.environment import RUN_NAME_TAG, SOURCE_NAME_TAG
    from mltrack.recording.starting import start_fork

    store = session.store()
    parent = store.run(run)
    program = parent.tags.get(SOURCE_NAME_TAG)  # which will go on with it: not this command
    tags = {**({} if name is None else {RUN_NAME_TAG: name}), **({} if program is None else {SOURCE_NAME_TAG: program})}
    made = start_fork(store.layout, parent.run_id, step, tags)
    made.detach()
    _print_fork(store, made.run_id, run, step, as_json)


def _print_fork(store: Store, run_id: str, parent: str, step: int, as_json: bool) -> None:
    from mltrack.cli.formatting import plural

    stored = store.run(run_id)
    name, points = stored.info.run_name, stored.point_count
    if as_json:
        print_json({"run_id": run_id, "run_name": name, "step": step, "points": points})
        return
    say(run_id)
    say(f"forked {parent} at step {step}: {name} begins with {plural(points, 'point')}", err=True)
