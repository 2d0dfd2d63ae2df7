"""The command ``serve-store``: what another mltrack starts over ssh to copy from and into a store of this machine."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from mltrack.errors import UsageError
from mltrack_sync.cli.common import Command

if TYPE_CHECKING:
    from mltrack_sync.stores.hello import Opening
    from mltrack_sync.stores.serving import Ends

__all__ = ["commands", "serve_store"]


@click.command(
    "serve-store",
    short_help="Let another mltrack copy from a store over ssh.",
    cls=Command,
    examples=["mltrack serve-store --stdio --read-only -- ~/project/.mltrack"],
)
@click.argument("path")
@click.option("--stdio", is_flag=True, help="Speak over standard input and output; there is no other way yet.")
@click.option("--read-only", is_flag=True, help="Nothing can be written, whatever the other side asks for.")
@click.pass_context
def serve_store(ctx: click.Context, path: str, stdio: bool, read_only: bool) -> None:
    """Let another mltrack copy from and into the store at PATH.

    This is started over ssh by "mltrack sync" and "mltrack pull" of a remote ssh://HOST/PATH, not by hand. It opens
    nothing outside of that store. As a forced command in authorized_keys it gives a key this store and nothing else.
    """
    if not stdio:
        raise UsageError("serve-store needs --stdio", hint="it is started over ssh, by mltrack sync and mltrack pull")
    from mltrack_sync.stores.serving import serve

    read_fd, write_fd = _own_streams()

    def open_ends(opening: Opening) -> Ends:
        return _open(path, opening, read_only)

    with os.fdopen(read_fd, "rb", buffering=1 << 18) as reader:
        serve(reader, write_fd, open_ends)


def _own_streams() -> tuple[int, int]:
    """Standard input and output for the protocol alone: what anything else here prints goes to standard error."""
    sys.stdout.flush()
    read_fd, write_fd = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return read_fd, write_fd


def _open(path: str, opening: Opening, read_only: bool) -> Ends:
    """The store as the other side wants it.

    Raises:
        MltrackError: there is none, or it may not be used so.
    """
    from mltrack.errors import NotFoundError, StoreError
    from mltrack.store import Store
    from mltrack_sync.errors import RemoteUnavailableError
    from mltrack_sync.stores.folders import store_folder
    from mltrack_sync.stores.local_source import LocalSource
    from mltrack_sync.stores.local_target import LocalTarget
    from mltrack_sync.stores.serving import Ends

    if opening.write and read_only:
        raise StoreError("that store is served for reading only", hint="pull from it instead")
    folder = store_folder(os.path.expanduser(path))
    if os.path.lexists(folder) and not folder.is_dir():
        raise StoreError(f"{folder} is a file, and not the folder of a store", hint="check the path")
    try:
        store = Store.create(folder) if opening.create and folder.parent.is_dir() else Store.open(folder)
    except NotFoundError as error:
        hint = "check the path; to create a store there, make the folder that it is to be in, and sync"
        raise RemoteUnavailableError(str(error), hint=hint, in_doubt=False, not_sent=True) from error
    target = LocalTarget(store)
    if opening.write and not target.info().writable:
        hint = "check how the disk is mounted there, and the folder's permissions"
        raise StoreError(f"{folder} can't be written: it is read-only, or not permitted", hint=hint)
    return Ends(LocalSource(store), target, write=opening.write)


commands: list[click.Command] = [serve_store]
"""What mltrack's CLI adds to its own."""
