"""Which process pushes in the background, as a file in the remote's folder for ``mltrack status``; where its log is."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from mltrack.disk.filesystem import read_small
from mltrack.recording.background_sync import is_served
from mltrack.text.redaction import hide

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LOG", "Heartbeat", "read_heartbeat", "write_heartbeat"]

LOG = "sync.log"
_NOTE = "live.json"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A background syncer: its process, when it started and last polled (ns), and what it waits for, if anything."""

    pid: int
    host: str
    since: int
    last_pass: int = 0
    trouble: str = ""


def read_heartbeat(folder: Path) -> Heartbeat | None:
    """The background syncer that is alive now, of the remote whose ledger is in ``folder``."""
    if not is_served(folder):
        return None
    try:
        fields = json.loads(read_small(folder / _NOTE))
        return Heartbeat(
            int(fields["pid"]),
            str(fields["host"]),
            int(fields["since"]),
            int(fields["last_pass"]),
            hide(str(fields["trouble"])),
        )
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None  # it has just begun


def write_heartbeat(folder: Path, heartbeat: Heartbeat) -> None:
    """Write the file; if the disk does not take it, go on without."""
    with contextlib.suppress(OSError):
        fields = {**asdict(heartbeat), "trouble": hide(heartbeat.trouble)}
        note = folder / _NOTE
        if note.exists() and not os.access(note, os.W_OK):
            note.unlink()  # another user's, whose syncer has ended
        note.write_text(json.dumps(fields), encoding="utf-8")
