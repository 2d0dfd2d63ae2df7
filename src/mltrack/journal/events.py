"""A writer and its events: the name it goes by, and its events file, whose lock shows that it is alive.

Each process that writes to a run is a *writer*: it has its own name, and files nobody else writes to. Its lock, held on
its events file for as long as the process lives, is how others know that it is still writing.
"""

from __future__ import annotations

import os
from time import time_ns
from typing import TYPE_CHECKING, Any

from mltrack.disk.fields import TIME_MAX
from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.disk.jsonlog import JsonLog, check_lines
from mltrack.disk.line_types import EVENTS
from mltrack.disk.locks import try_lock

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from mltrack.disk.fields import Records
    from mltrack.disk.layout import Layout, RunFolder

__all__ = ["EventJournal", "begin_writer", "check_events", "new_writer_name"]


def new_writer_name(now_ns: int) -> str:
    """16 hex digits: 11 of the time in ms, so that names sort by age, and 5 random ones."""
    return f"{(now_ns // 1_000_000) & 0xFFFFFFFFFFF:011x}{int.from_bytes(os.urandom(3), 'big') & 0xFFFFF:05x}"


def check_events(events: Iterable[Mapping[str, Any]]) -> None:
    """Check events of a run before anything is made for them.

    Raises:
        UsageError: readers would refuse one.
    """
    check_lines(({"seq": 0, "time": 0, **event} for event in events), EVENTS, "a run")


class EventJournal:
    """A writer's events: one checksummed JSON line each, numbered, in events/<writer>.jsonl."""

    def __init__(self, folder: Path, writer: str, *, records: Records = EVENTS, fs: FileSystem = LOCAL) -> None:
        """Make the file and take its lock; ``records`` is the schema of its lines.

        Raises:
            OSError: it can't be made (FileExistsError: the name is taken).
        """
        self.writer = writer
        self._log = JsonLog(folder / f"{writer}.jsonl", records=records, fs=fs, create=True)
        self.locked = try_lock(self._log.fd) is True
        self.dirty = False
        self._last_time = 0

    @property
    def fd(self) -> int:
        """The open file, for the flusher."""
        return self._log.fd

    @property
    def seq(self) -> int:
        """The number of events this writer has stored: the seq of the next one."""
        return self._log.count

    def append(self, events: Iterable[Mapping[str, Any]], now_ns: int) -> None:
        """Add events, each with its seq and a time that never falls. They survive ``kill -9`` on return.

        Raises:
            UsageError: readers would refuse one; none was added.
            OSError: not all were added; ``seq`` says how many.
        """
        self._log.settle()
        self.dirty = True
        at = self._last_time = min(max(now_ns, self._last_time + 1), TIME_MAX)
        self._log.append([{"seq": seq, "time": at, **event} for seq, event in enumerate(events, self.seq)])

    def not_before(self, time_ns: int) -> None:
        """Give later events a time after this, so that they override what the run already has."""
        self._last_time = max(self._last_time, time_ns)

    def move_to(self, folder: Path) -> None:
        """Note that the file lies in ``folder`` now."""
        self._log.move_to(folder / self._log.path.name)

    def sync(self) -> None:
        """Make appended events survive power loss."""
        self.dirty = False
        try:
            self._log.sync()
        except OSError:
            self.dirty = True
            raise

    def close(self) -> None:
        """Close the file, which frees the lock."""
        self._log.close()


def begin_writer(
    layout: Layout,
    folder: RunFolder,
    writer: str,
    *,
    role: str,
    not_before: int,
    fs: FileSystem = LOCAL,
    **facts: str | bool,
) -> EventJournal:
    """Make a writer's file, take its lock, mark the run as changed, and record who writes, in this order.

    Args:
        layout: The store.
        folder: The run's folder, made if it does not exist.
        writer: The writer's name.
        role: What the writer is to the run: create, resume, fork or edit.
        not_before: A time in ns that its events come after.
        fs: The file system to write with.
        facts: Further fields of the writer's first line.

    Raises:
        OSError: the disk refuses; nothing of the writer is left.
    """
    folder.make(fs)
    journal = EventJournal(folder.events, writer, fs=fs)
    try:
        os.close(fs.open_append(layout.changed / f"{folder.run_id}.{writer}"))
        journal.not_before(not_before)
        first = {
            "type": "writer",
            "run_id": folder.run_id,
            "role": role,
            "host": os.uname().nodename,
            "pid": os.getpid(),
            "locked": journal.locked,
            **facts,
        }
        journal.append([first], time_ns())
    except OSError:
        journal.close()
        fs.unlink(folder.events / f"{writer}.jsonl")
        raise
    return journal
