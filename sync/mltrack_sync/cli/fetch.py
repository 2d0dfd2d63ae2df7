"""The command ``fetch``: files of a run that a thin copy left out, brought from a remote that has them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import click

from mltrack.disk.absent import read_absent
from mltrack.errors import NotFoundError, RemoteError, StoreError
from mltrack.text.counting import plural
from mltrack.text.printing import print_json, say
from mltrack_sync.cli.common import PARTIAL, Command, json_option, open_store
from mltrack_sync.cli.progress import with_progress
from mltrack_sync.remotes.resolver import remote_for

if TYPE_CHECKING:
    from mltrack.store import Store
    from mltrack_sync.remotes.kind import Remote

__all__ = ["commands", "fetch"]


@click.command("fetch", cls=Command, examples=["mltrack fetch brisk-heron-417", "mltrack fetch 3f2a --from usb"])
@click.argument("run")
@click.option("--from", "remote", metavar="REMOTE", help="Ask only this remote (default: each one that can be pulled).")
@json_option
@click.pass_context
def fetch(ctx: click.Context, run: str, remote: str | None, as_json: bool) -> None:
    """Bring the files of a run that were left out when it was copied.

    RUN is an id, its first digits, or a name. Exits with 3 when some files are on no remote.
    """
    store = open_store(ctx)
    run_id = store.resolve(run)
    folder = store.layout.run(run_id).path
    before = read_absent(folder)
    troubles = _ask(store, run_id, remote, as_json) if before else []
    left = read_absent(folder)
    if as_json:
        fetched = sorted(before.keys() - left.keys())
        print_json({"run_id": run_id, "fetched": fetched, "missing": sorted(left), "problems": troubles})
    elif not before:
        say(f"run {run_id}: no file was left out")
    else:
        size = sum(file.size for path, file in before.items() if path not in left)
        say(f"run {run_id}: {plural(len(before) - len(left), 'file')} fetched ({size:,} bytes)")
        for path in sorted(left):
            say(f"  on no remote: {path}")
        for trouble in troubles:
            say(trouble, err=True)
    if left:
        ctx.exit(PARTIAL)


def _ask(store: Store, run_id: str, remote: str | None, as_json: bool) -> list[str]:
    """Pull the run from each remote until nothing is missing; returns what was in the way."""
    from mltrack_sync.engine.pull import pull
    from mltrack_sync.selection import Selection

    troubles: list[str] = []
    for each in _remotes(store, remote):
        try:
            one_pull = functools.partial(pull, store, each, selection=Selection((run_id,)))
            troubles += [f"{each.name}: {words}" for words in with_progress(one_pull, as_json).problems]
        except NotFoundError:
            continue  # it does not have the run
        except (RemoteError, StoreError) as error:
            if remote is not None:
                raise
            troubles.append(f"{each.name}: {error}")
        if not read_absent(store.layout.run(run_id).path):
            break
    return troubles


def _remotes(store: Store, remote: str | None) -> list[Remote]:
    from mltrack_sync.remotes.config import Remotes
    from mltrack_sync.remotes.kind import PullKind, find_kind

    if remote is not None:
        return [remote_for(store, remote, remember=False)]
    found = [each for each in Remotes(store).all() if isinstance(find_kind(each.kind), PullKind)]
    if not found:
        raise NotFoundError("this store has no remote to fetch from", hint="mltrack fetch RUN --from PATH_OR_URL")
    return found


commands: list[click.Command] = [fetch]
"""What mltrack's CLI adds to its own."""
