"""Watched folders: files that a program writes to them become artifacts of its run once they settle.

One thread scans the folders: when watchdog reports changes, if the file system supports that, and at intervals. A file
is copied once its size and times have been unchanged for a while, and again only after it has changed.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, Protocol

from mltrack.disk.filesystem import resolved
from mltrack.errors import InvalidPathError, MltrackError, UsageError
from mltrack.process.trouble import say, words_of
from mltrack.recording.fs_events import NoEvents, folder_events
from mltrack.text.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mltrack.disk.layout import RunFolder
    from mltrack.recording.fs_events import Events

__all__ = ["POLLING", "FolderWatch", "PollConfig", "Watched", "check_folder"]

SETTLE_S = 1.0
"""How long a file must be unchanged before it is copied."""

POLL_S = 3.0
"""How often the folders are scanned without any event: network file systems report none."""

LAST_WAIT_S = 2.0
"""How long the end waits for a file that is still being written; then it is copied as it is."""

LAST_PAUSE_S = 0.1
"""How long a file that was just written must be unchanged at the end."""

SHARE = 0.05
"""The share of its time that the thread spends at most on scanning, and on copying one file repeatedly."""

CLOCK_LAG_NS = 20_000_000
"""How far a file's times may be behind the clock when it is written: they are of the kernel's last tick."""

READ_BYTES = 1 << 20

_TEMPORARY = (".tmp", ".temp", ".part", ".partial", ".crdownload", ".swp", ".swx", "~")


class Watched(NamedTuple):
    """A folder to watch, which need not exist yet, and the artifact folder its files go to ("": none)."""

    folder: Path
    artifact_path: str


class PollConfig(NamedTuple):
    """The times of a watch, in seconds; see the constants of the same names."""

    settle_s: float = SETTLE_S
    poll_s: float = POLL_S
    last_wait_s: float = LAST_WAIT_S
    last_pause_s: float = LAST_PAUSE_S


POLLING = PollConfig()


class FileStamp(NamedTuple):
    """What distinguishes two contents of a file: its size, its two times in ns, its inode number."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, about: os.stat_result) -> FileStamp:
        """From the result of ``stat``."""
        return cls(about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino)


class _ChangedError(MltrackError):
    """A file changed while it was copied: the copy is discarded."""


class _Source:
    """An open file that checks, when it is read to its end, that it has not changed since it was opened."""

    def __init__(self, file: IO[bytes], *, growing: bool) -> None:
        about = os.fstat(file.fileno())
        self.stamp = FileStamp.of(about)
        self._file = file
        self._left = about.st_size if growing else None

    def read(self, size: int = READ_BYTES) -> bytes:
        """The next bytes. Of a file that may grow, only those it had when it was opened.

        Raises:
            _ChangedError: it has changed since.
        """
        if self._left is not None:
            data = self._file.read(min(size, self._left))
            self._left -= len(data)
            return data
        data = self._file.read(size)
        if not data and FileStamp.of(os.fstat(self._file.fileno())) != self.stamp:
            raise _ChangedError(f"{self._file.name} is being written")
        return data


class _File:
    """What is known of one watched file."""

    __slots__ = ("copied", "not_before", "seen", "since")

    def __init__(self, seen: FileStamp, since: float) -> None:
        self.seen = seen
        self.since = since  # when it was first seen like this
        self.copied: FileStamp | None = None  # as it was when it was copied, or could not be
        self.not_before = 0.0  # the earliest time to copy it again


class WatchedRun(Protocol):
    """What a watch needs of the run that its files go to."""

    run_id: str

    @property
    def folder(self) -> RunFolder:
        """The run's folder in its store."""

    @property
    def store_folder(self) -> Path:
        """The store's folder."""

    def log_stream(self, stream: IO[bytes], artifact_file: str) -> None:
        """Store the content of ``stream`` as an artifact."""


class FolderWatch:
    """Makes the files written to some folders artifacts of a run, until stopped. It never fails the training."""

    def __init__(
        self,
        run: WatchedRun,
        folders: Iterable[Watched],
        *,
        written_since_ns: int | None = None,
        polling: PollConfig = POLLING,
        clock: Callable[[], float] = time.monotonic,
        events: Callable[[Callable[[], None]], Events | None] | None = None,
    ) -> None:
        """Begin at once.

        Args:
            run: where the files go.
            folders: the folders to watch.
            written_since_ns: ignore files that were last written before this time; None: take all.
            polling: how long to wait.
            clock: seconds, from any origin.
            events: makes the source of events, which calls the given function; ``folder_events`` when not given.
        """
        self._run = run
        self._folders = list(folders)
        self._written_since_ns = written_since_ns
        self._polling = polling
        self._clock = clock
        self._make_events = events or folder_events
        self._excluded = [path.resolve() for path in (run.store_folder, run.folder.artifacts)]
        self._files: dict[tuple[int, str], _File] = {}
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._events: Events | None = None
        self._copying_s = 0.0  # time spent copying in the current sweep
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._work, name="mltrack-watch", daemon=True)
        self._has_thread = True
        try:
            self._thread.start()
        except (RuntimeError, MemoryError) as error:
            self._has_thread = False
            say("run %s: %s; its watched folders are copied only at the end", run.run_id, words_of(error))

    def stop(self) -> None:
        """Take the files as they are now, settled or not, and end; the end of the run calls it. Later calls do nothing.

        In a forked child, which does not have the thread, it does nothing.
        """
        if os.getpid() != self._pid:
            return
        self._stopping.set()
        self._wake.set()
        if not self._has_thread:
            self._has_thread = True
            self._thread = threading.current_thread()
            self._work()
        elif self._thread is not threading.current_thread():
            self._thread.join()

    # --- the thread ---

    def _work(self) -> None:
        try:
            self._skip_old()
            while not self._stopping.is_set():
                self._follow()
                began, self._copying_s = self._clock(), 0.0
                pause = self._sweep()
                self._rest(pause, looking_s=self._clock() - began - self._copying_s)
            self._last_sweeps()
        except MltrackError:  # the run has ended
            return
        finally:
            if self._events is not None:
                self._events.close()

    def _follow(self) -> None:
        """Watch the folders that exist now for events. Without any, watchdog is not even imported."""
        for watched in self._folders:
            if watched.folder.is_dir():
                if self._events is None:
                    self._events = self._make_events(self._wake.set) or NoEvents()
                self._events.follow(watched.folder)

    def _rest(self, pause: float, *, looking_s: float) -> None:
        """Sleep until something changes or ``pause`` is over; at least a while, however much changes."""
        minimum = max(looking_s * (1 / SHARE - 1), min(self._polling.settle_s / 4, self._polling.poll_s))
        self._stopping.wait(minimum)
        self._wake.wait(max(pause - minimum, 0))
        self._wake.clear()

    def _skip_old(self) -> None:
        if self._written_since_ns is None:
            return
        since = self._written_since_ns - CLOCK_LAG_NS
        for key, _, stamp in self._scan():
            if max(stamp.mtime_ns, stamp.ctime_ns) < since:
                self._files[key] = file = _File(stamp, 0.0)
                file.copied = stamp

    def _sweep(self) -> float:
        """Copy what has settled; returns how long to wait until the next sweep."""
        pause = self._polling.poll_s
        for key, path, stamp in self._scan():
            now = self._clock()
            file = self._seen(key, stamp, now)
            if file.copied == stamp:
                continue
            due = max(file.since + self._polling.settle_s, file.not_before)
            if due <= now and not self._stopping.is_set():
                if not self._copy(key, path, file):
                    file.since = self._clock()
                    pause = min(pause, self._polling.settle_s)
            else:
                pause = min(pause, max(due - now, 0.0))
        return pause

    def _last_sweeps(self) -> None:
        """Copy everything; what is still being written once it is unchanged for a while, or when time is up."""
        until = self._clock() + self._polling.last_wait_s
        while True:
            changing = False
            late = self._clock() >= until
            for key, path, stamp in self._scan():
                now = self._clock()
                known = self._files.get(key)
                unchanged = known is not None and known.seen == stamp
                file = self._seen(key, stamp, now)
                if file.copied == stamp:
                    continue
                settled = unchanged and now - file.since >= self._polling.last_pause_s
                ready = settled or late or _age_s(stamp) > self._polling.last_pause_s
                if not ready or not self._copy(key, path, file, growing=late):
                    changing = True
            if not changing or late:
                return
            time.sleep(self._polling.last_pause_s)

    def _seen(self, key: tuple[int, str], stamp: FileStamp, now: float) -> _File:
        file = self._files.get(key)
        if file is None:
            file = self._files[key] = _File(stamp, now)
        elif file.seen != stamp:
            file.seen, file.since = stamp, now
        return file

    def _copy(self, key: tuple[int, str], path: Path, file: _File, *, growing: bool = False) -> bool:
        """Make a file an artifact; False if it changed meanwhile. One that can't be read waits until it changes."""
        began = self._clock()
        prefix = self._folders[key[0]].artifact_path
        name = f"{prefix}/{key[1]}" if prefix else key[1]
        stamp = file.seen
        try:
            with open(path, "rb") as opened:
                source = _Source(opened, growing=growing)
                stamp = source.stamp
                if not self._is_kept(name, path, stamp):
                    self._run.log_stream(source, name)  # type: ignore[arg-type]  # only its read() is used
        except _ChangedError:
            return False
        except (OSError, InvalidPathError) as error:
            if not isinstance(error, FileNotFoundError):
                self._report(path, error)
        file.seen = file.copied = stamp
        now = self._clock()
        file.not_before = now + (now - began) / SHARE
        self._copying_s += now - began
        return True

    def _is_kept(self, name: str, path: Path, stamp: FileStamp) -> bool:
        """Whether the run already has this content under that name: the file was only touched."""
        held = self._run.folder.artifacts / name
        with contextlib.suppress(OSError):
            if held.is_file() and held.stat().st_size == stamp.size:
                return _same_bytes(held, path) and FileStamp.of(path.stat()) == stamp
        return False

    def _report(self, path: Path, error: Exception) -> None:
        say("run %s: %s is not an artifact: %s", self._run.run_id, printable(str(path)), printable(str(error)))

    # --- scanning ---

    def _scan(self) -> Iterator[tuple[tuple[int, str], Path, FileStamp]]:
        """Every file that may become an artifact: (its folder's number, its name in it), its path, its stamp."""
        for number, watched in enumerate(self._folders):
            try:
                root = resolved(watched.folder)
            except OSError:
                continue
            if not any(root == path or root.is_relative_to(path) for path in self._excluded):
                for path, stamp in self._below(root, root):
                    yield (number, path.relative_to(root).as_posix()), path, stamp

    def _below(self, folder: Path, root: Path) -> Iterator[tuple[Path, FileStamp]]:
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            return
        for entry in found:
            if entry.name.startswith(".") or entry.name.endswith(_TEMPORARY):
                continue
            path = Path(entry.path)
            with contextlib.suppress(OSError):  # removed meanwhile; a loop of links
                if entry.is_dir(follow_symlinks=False):
                    if path not in self._excluded:
                        yield from self._below(path, root)
                elif not entry.is_symlink() or resolved(path).is_relative_to(root):
                    about = entry.stat()
                    if stat.S_ISREG(about.st_mode):
                        yield path, FileStamp.of(about)


def _same_bytes(one: Path, other: Path) -> bool:
    with open(one, "rb") as first, open(other, "rb") as second:
        while chunk := first.read(READ_BYTES):
            if chunk != second.read(READ_BYTES):
                return False
        return not second.read(1)


def _age_s(stamp: FileStamp) -> float:
    """How long ago a file was last written, by the system clock."""
    return time.time() - max(stamp.mtime_ns, stamp.ctime_ns) / 1e9


def check_folder(folder: Path, store: Path) -> None:
    """Refuse to watch a folder in the store: its files would become artifacts of themselves.

    Raises:
        UsageError: it is in the store; or links form a loop.
    """
    try:
        place = resolved(folder)
    except OSError as error:
        raise UsageError(f"{folder} can't be watched: {error.strerror}", hint="remove the link") from error
    if place.is_relative_to(store.resolve()):
        raise UsageError(f"{folder} is in the store {store}", hint="watch the folder the program writes to")
