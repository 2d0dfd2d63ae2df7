"""The lock of a remote: one process at a time syncs a store with it, and others can say which."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import read_small
from mltrack.disk.locks import file_lock
from mltrack.errors import BusyError
from mltrack_sync.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["sync_lock"]

_HINT = "make room, or check its permissions and how its disk is mounted"


@contextlib.contextmanager
def sync_lock(folder: Path, name: str, what: str = "mltrack sync") -> Iterator[None]:
    """Hold the lock of the remote ``name``, whose folder this is, for ``what``.

    Raises:
        BusyError: another process holds it; the words say which, and for what.
        LedgerError: the folder can't be written.
    """
    holder = folder / "holder.json"
    with contextlib.ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(file_lock(folder / "lock", timeout_s=0))
            who = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time(), "what": what}
            holder.unlink(missing_ok=True)  # left by one that was killed; it may be another user's
            holder.write_text(json.dumps(who), encoding="utf-8")
        except BusyError:
            raise BusyError(_in_the_way(holder, name), hint="wait for it to end, or stop it") from None
        except OSError as error:
            raise LedgerError(f"{folder} can't be written: {error.strerror}", hint=_HINT) from error
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                holder.unlink()


def _in_the_way(holder: Path, name: str) -> str:
    try:
        fields = json.loads(read_small(holder))
        what = fields.get("what", "mltrack sync")
        return f"another {what} to {name!r} is running (process {fields['pid']} on {fields['host']})"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"another mltrack sync to {name!r} is running"
