"""Watched folders: the files that a program writes there become artifacts of its run as they settle.

One thread looks through the folders: woken by watchdog where the file system tells of changes, and by the clock in any
case. A file is copied once its size and times have stood still for a while, and again only when it has changed.
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

__all__ = ["PACE", "FolderWatch", "Pace", "Watched", "check_folder"]

SETTLE_S = 1.0
"""How long a file must stand still before it is copied."""

POLL_S = 3.0
"""How often the folders are looked through where nothing wakes us: network file systems tell of no changes."""

LAST_WAIT_S = 2.0
"""How long the end waits for a file that is still being written; then it is taken as it is."""

LAST_PAUSE_S = 0.1
"""How long a file must stand still at the end, where it was written just now."""

SHARE = 0.05
"""The share of its time that the thread spends at most on looking, and on copying one file again and again."""

CLOCK_LAG_NS = 20_000_000
"""How far a file's times may lie behind the clock when it is written: they are those of the kernel's last tick."""

READ_BYTES = 1 << 20

_TEMPORARY = (".tmp", ".temp", ".part", ".partial", ".crdownload", ".swp", ".swx", "~")


class Watched(NamedTuple):
    """A folder to watch, which need not exist yet, and the artifact folder its files go to ("": none)."""

    folder: Path
    artifact_path: str


class Pace(NamedTuple):
    """The times of a watch, in seconds; see the constants of these names."""

    settle_s: float = SETTLE_S
    poll_s: float = POLL_S
    last_wait_s: float = LAST_WAIT_S
    last_pause_s: float = LAST_PAUSE_S


PACE = Pace()


class Look(NamedTuple):
    """What tells one content of a file from another: its size, its two times in ns, its number on its device."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, about: os.stat_result) -> Look:
        """From what ``stat`` says."""
        return cls(about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino)


class _ChangedError(MltrackError):
    """A file changed while it was copied: what was copied of it counts for nothing."""


class _Source:
    """An open file that, at its end, insists that it is still what it was when it was opened."""

    def __init__(self, file: IO[bytes], *, growing: bool) -> None:
        about = os.fstat(file.fileno())
        self.look = Look.of(about)
        self._file = file
        self._left = about.st_size if growing else None

    def read(self, size: int = READ_BYTES) -> bytes:
        """The next bytes. Of a file that may grow, only what was there at the beginning.

        Raises:
            _ChangedError: it has changed meanwhile.
        """
        if self._left is not None:
            data = self._file.read(min(size, self._left))
            self._left -= len(data)
            return data
        data = self._file.read(size)
        if not data and Look.of(os.fstat(self._file.fileno())) != self.look:
            raise _ChangedError(f"{self._file.name} is being written")
        return data


class _File:
    """What is known of one watched file."""

    __slots__ = ("copied", "not_before", "seen", "since")

    def __init__(self, seen: Look, since: float) -> None:
        self.seen = seen
        self.since = since  # since when it has been seen like this
        self.copied: Look | None = None  # as it was when it was copied, or could not be
        self.not_before = 0.0  # when it may be copied again


class WatchedRun(Protocol):
    """What a watch asks of the run that its files go to."""

    run_id: str

    @property
    def folder(self) -> RunFolder:
        """Where the run lies in its store."""

    @property
    def store_folder(self) -> Path:
        """Where its store is."""

    def log_stream(self, stream: IO[bytes], artifact_file: str) -> None:
        """Store what ``stream`` gives as an artifact."""


class FolderWatch:
    """Makes what is written to some folders artifacts of a run, until it is stopped. It never fails the training."""

    def __init__(
        self,
        run: WatchedRun,
        folders: Iterable[Watched],
        *,
        written_since_ns: int | None = None,
        pace: Pace = PACE,
        clock: Callable[[], float] = time.monotonic,
        events: Callable[[Callable[[], None]], Events | None] | None = None,
    ) -> None:
        """Begin at once.

        Args:
            run: where the files go.
            folders: the folders to watch.
            written_since_ns: leave alone what is there already and was last written before this time; None: take all.
            pace: how long to wait for what.
            clock: seconds, from any beginning.
            events: makes what wakes the watch, given a function to call; ``folder_events`` when not given.
        """
        self._run = run
        self._folders = list(folders)
        self._written_since_ns = written_since_ns
        self._pace = pace
        self._clock = clock
        self._make_events = events or folder_events
        self._left_out = [path.resolve() for path in (run.store_folder, run.folder.artifacts)]
        self._files: dict[tuple[int, str], _File] = {}
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._events: Events | None = None
        self._copying_s = 0.0  # what copying took of the present sweep
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._work, name="mltrack-watch", daemon=True)
        self._on_its_own = True
        try:
            self._thread.start()
        except (RuntimeError, MemoryError) as error:
            self._on_its_own = False
            say("run %s: %s; what its watched folders hold at the end is taken then", run.run_id, words_of(error))

    def stop(self) -> None:
        """Take what is there now, settled or not, and end; the run's end does it by itself. Again, it does nothing.

        In a forked child, which has no such thread, it does nothing.
        """
        if os.getpid() != self._pid:
            return
        self._stopping.set()
        self._wake.set()
        if not self._on_its_own:
            self._on_its_own = True
            self._thread = threading.current_thread()
            self._work()
        elif self._thread is not threading.current_thread():
            self._thread.join()

    # --- the thread ---

    def _work(self) -> None:
        try:
            self._take_note_of_old()
            while not self._stopping.is_set():
                self._follow()
                began, self._copying_s = self._clock(), 0.0
                pause = self._sweep()
                self._rest(pause, looking_s=self._clock() - began - self._copying_s)
            self._last_sweeps()
        except MltrackError:  # the run has ended without us
            return
        finally:
            if self._events is not None:
                self._events.close()

    def _follow(self) -> None:
        """Have changes told of folders that are there now. Without any, watchdog is not even imported."""
        for watched in self._folders:
            if watched.folder.is_dir():
                if self._events is None:
                    self._events = self._make_events(self._wake.set) or NoEvents()
                self._events.follow(watched.folder)

    def _rest(self, pause: float, *, looking_s: float) -> None:
        """Sleep until something changes or ``pause`` is over; a while in any case, however much changes."""
        breather = max(looking_s * (1 / SHARE - 1), min(self._pace.settle_s / 4, self._pace.poll_s))
        self._stopping.wait(breather)
        self._wake.wait(max(pause - breather, 0))
        self._wake.clear()

    def _take_note_of_old(self) -> None:
        if self._written_since_ns is None:
            return
        since = self._written_since_ns - CLOCK_LAG_NS
        for key, _, look in self._scan():
            if max(look.mtime_ns, look.ctime_ns) < since:
                self._files[key] = file = _File(look, 0.0)
                file.copied = look

    def _sweep(self) -> float:
        """Copy what has settled; returns how long until it is worth looking again."""
        pause = self._pace.poll_s
        for key, path, look in self._scan():
            now = self._clock()
            file = self._met(key, look, now)
            if file.copied == look:
                continue
            due = max(file.since + self._pace.settle_s, file.not_before)
            if due <= now and not self._stopping.is_set():
                if not self._copy(key, path, file):
                    file.since = self._clock()
                    pause = min(pause, self._pace.settle_s)
            else:
                pause = min(pause, max(due - now, 0.0))
        return pause

    def _last_sweeps(self) -> None:
        """Take what is there; what is just being written after a while in which it stands still, or is given up on."""
        until = self._clock() + self._pace.last_wait_s
        while True:
            changing = False
            late = self._clock() >= until
            for key, path, look in self._scan():
                now = self._clock()
                known = self._files.get(key)
                stood = known is not None and known.seen == look
                file = self._met(key, look, now)
                if file.copied == look:
                    continue
                calm = stood and now - file.since >= self._pace.last_pause_s
                ready = calm or late or _age_s(look) > self._pace.last_pause_s
                if not ready or not self._copy(key, path, file, growing=late):
                    changing = True
            if not changing or late:
                return
            time.sleep(self._pace.last_pause_s)

    def _met(self, key: tuple[int, str], look: Look, now: float) -> _File:
        file = self._files.get(key)
        if file is None:
            file = self._files[key] = _File(look, now)
        elif file.seen != look:
            file.seen, file.since = look, now
        return file

    def _copy(self, key: tuple[int, str], path: Path, file: _File, *, growing: bool = False) -> bool:
        """Make a file an artifact; False where it changed meanwhile. One that can't be read waits for its change."""
        began = self._clock()
        prefix = self._folders[key[0]].artifact_path
        name = f"{prefix}/{key[1]}" if prefix else key[1]
        look = file.seen
        try:
            with open(path, "rb") as opened:
                source = _Source(opened, growing=growing)
                look = source.look
                if not self._is_kept(name, path, look):
                    self._run.log_stream(source, name)  # type: ignore[arg-type]  # it reads; nothing more is asked of it
        except _ChangedError:
            return False
        except (OSError, InvalidPathError) as error:
            if not isinstance(error, FileNotFoundError):
                self._tell(path, error)
        file.seen = file.copied = look
        now = self._clock()
        file.not_before = now + (now - began) / SHARE
        self._copying_s += now - began
        return True

    def _is_kept(self, name: str, path: Path, look: Look) -> bool:
        """Whether the run has this very content under that name already: a file was only touched."""
        held = self._run.folder.artifacts / name
        with contextlib.suppress(OSError):
            if held.is_file() and held.stat().st_size == look.size:
                return _same_bytes(held, path) and Look.of(path.stat()) == look
        return False

    def _tell(self, path: Path, error: Exception) -> None:
        say("run %s: %s is not an artifact: %s", self._run.run_id, printable(str(path)), printable(str(error)))

    # --- looking ---

    def _scan(self) -> Iterator[tuple[tuple[int, str], Path, Look]]:
        """Every file that may become an artifact: (its folder's number, its name there), its path, its look."""
        for number, watched in enumerate(self._folders):
            try:
                root = resolved(watched.folder)
            except OSError:
                continue
            if not any(root == path or root.is_relative_to(path) for path in self._left_out):
                for path, look in self._below(root, root):
                    yield (number, path.relative_to(root).as_posix()), path, look

    def _below(self, folder: Path, root: Path) -> Iterator[tuple[Path, Look]]:
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            return
        for entry in found:
            if entry.name.startswith(".") or entry.name.endswith(_TEMPORARY):
                continue
            path = Path(entry.path)
            with contextlib.suppress(OSError):  # gone meanwhile; links in a circle
                if entry.is_dir(follow_symlinks=False):
                    if path not in self._left_out:
                        yield from self._below(path, root)
                elif not entry.is_symlink() or resolved(path).is_relative_to(root):
                    about = entry.stat()
                    if stat.S_ISREG(about.st_mode):
                        yield path, Look.of(about)


def _same_bytes(one: Path, other: Path) -> bool:
    with open(one, "rb") as first, open(other, "rb") as second:
        while chunk := first.read(READ_BYTES):
            if chunk != second.read(READ_BYTES):
                return False
        return not second.read(1)


def _age_s(look: Look) -> float:
    """How long ago a file was last written, by the computer's clock."""
    return time.time() - max(look.mtime_ns, look.ctime_ns) / 1e9


def check_folder(folder: Path, store: Path) -> None:
    """Refuse to watch what lies in the store: its files would become artifacts of themselves.

    Raises:
        UsageError: it does; or links lead in a circle.
    """
    try:
        place = resolved(folder)
    except OSError as error:
        raise UsageError(f"{folder} can't be watched: {error.strerror}", hint="remove the link") from error
    if place.is_relative_to(store.resolve()):
        raise UsageError(f"{folder} lies in the store {store}", hint="watch the folder the program writes to")
