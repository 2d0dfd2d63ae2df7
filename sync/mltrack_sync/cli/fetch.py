"""The command ``fetch``: files of a run that a thin copy left out, brought from a remote that has them."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

import click

from mltrack.disk.absent import read_absent
from mltrack.errors import NotFoundError, RemoteError, StoreError
from mltrack.text.counting import plural
from mltrack.text.figures import size
from mltrack.text.printing import print_json, say
from mltrack_sync.cli.common import PARTIAL, Command, json_option, open_store
from mltrack_sync.cli.progress import with_progress
from mltrack_sync.remotes.options import is_below
from mltrack_sync.remotes.resolver import remote_for

if TYPE_CHECKING:
    from mltrack.store import Store
    from mltrack_sync.remotes.kind import Remote

__all__ = ["commands", "fetch"]


@click.command(
    "fetch",
    short_help="Bring a run's files that a copy left out.",
    cls=Command,
    examples=["mltrack fetch brisk-heron-417", "mltrack fetch 3f2a checkpoints/last.pt --from usb"],
)
@click.argument("run")
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("--from", "remote", metavar="REMOTE", help="Ask only this remote (default: each one that can be pulled).")
@json_option
@click.pass_context
def fetch(ctx: click.Context, run: str, paths: tuple[str, ...], remote: str | None, as_json: bool) -> None:
    """Bring the files of a run that were left out when it was copied, or were removed since.

    RUN is an id, its first digits, or a name. PATHs are files or folders of the run, as "mltrack show" lists them; by
    default all are brought. Exits with 3 when some files are on no remote.
    """
    store = open_store(ctx)
    run_id = store.resolve(run)
    wanted = tuple(path.strip("/") for path in paths)
    before = _held(store, run_id)
    unknown = [path for path in wanted if not any(is_below(name, (path,)) for name in before)]
    asks = remote is not None or unknown or _absent(store, run_id, wanted) or _left_out(store, run_id)
    troubles = _ask(store, run_id, wanted, remote, as_json) if asks else []
    held, left = _held(store, run_id), _absent(store, run_id, wanted)
    for path in unknown:
        if not any(is_below(name, (path,)) for name in (*held, *left)):
            raise NotFoundError(
                f"run {run_id} has no file or folder {path!r}", hint=f"see: mltrack show {run_id}; or say --from REMOTE"
            )
    fetched = {path: size for path, size in held.items() if path not in before}
    if as_json:
        print_json({"run_id": run_id, "fetched": sorted(fetched), "missing": sorted(left), "problems": troubles})
    else:
        _print(run_id, fetched, left, wanted)
        for trouble in troubles:
            say(trouble, err=True)
    if left:
        ctx.exit(PARTIAL)


def _absent(store: Store, run_id: str, wanted: tuple[str, ...]) -> list[str]:
    """The files that were left out or removed, of those that are wanted; of all where none are named."""
    run = store.run(run_id)
    named = [each.path for each in run.artifacts if not each.remote]
    gone = [path for path in named if not os.path.lexists(run.folder.artifacts / path)]
    absent = dict.fromkeys([*read_absent(run.folder.path), *gone])
    return [path for path in absent if not wanted or is_below(path, wanted)]


def _left_out(store: Store, run_id: str) -> bool:
    """Whether files were left out of the run when it was pulled from a server."""
    from mltrack_sync.remotes.config import Remotes
    from mltrack_sync.remotes.ledgers import read_ledger

    pulled = (entry for remote in Remotes(store).all() for entry in read_ledger(store, remote).pulled.values())
    return any(entry.run_id == run_id and entry.files is not None for entry in pulled)


def _held(store: Store, run_id: str) -> dict[str, int]:
    """The sizes of the run's files that are here, by path."""
    absent = _absent(store, run_id, ())
    return {each.path: each.size for each in store.run(run_id).artifacts if each.path not in absent and not each.remote}


def _print(run_id: str, fetched: dict[str, int], left: list[str], wanted: tuple[str, ...]) -> None:
    if fetched or left:
        say(f"run {run_id}: {plural(len(fetched), 'file')} fetched ({size(sum(fetched.values()))})")
    else:
        say(f"run {run_id}: {'nothing of that' if wanted else 'no file'} was left out")
    for path in sorted(left):
        say(f"  on no remote: {path}")


def _ask(store: Store, run_id: str, wanted: tuple[str, ...], remote: str | None, as_json: bool) -> list[str]:
    """Pull the run from each remote until nothing is missing; returns what was in the way."""
    from mltrack_sync.engine.pull import pull
    from mltrack_sync.selection import Selection

    troubles: list[str] = []
    again = not _left_out(store, run_id)  # else it is looked at in any case
    for each in _remotes(store, remote, wanted):
        try:
            one_pull = functools.partial(
                pull, store, each, selection=Selection((run_id,)), artifact_paths=wanted or None, recheck=again
            )
            troubles += [f"{each.name}: {words}" for words in with_progress(one_pull, as_json).problems]
        except NotFoundError:
            continue  # it does not have the run
        except (RemoteError, StoreError) as error:
            if remote is not None:
                raise
            troubles.append(f"{each.name}: {error}")
        held = _held(store, run_id)
        named = all(any(is_below(name, (path,)) for name in held) for path in wanted)
        if named and not _absent(store, run_id, wanted) and not _left_out(store, run_id):
            break
    return troubles


def _remotes(store: Store, remote: str | None, wanted: tuple[str, ...]) -> list[Remote]:
    from mltrack_sync.remotes.config import Remotes
    from mltrack_sync.remotes.kind import PullKind, find_kind

    if remote is not None:
        return [remote_for(store, remote, remember=False)]
    found = [each for each in Remotes(store).all() if isinstance(find_kind(each.kind), PullKind)]
    if not found and not wanted:
        raise NotFoundError("this store has no remote to fetch from", hint="mltrack fetch RUN --from PATH_OR_URL")
    return found


commands: list[click.Command] = [fetch]
"""What mltrack's CLI adds to its own."""
