"""A disk that writes down every change made to it, and can be laid out again as a power cut at any moment leaves it.

Files are told apart by what is in them and folders by the names they hold: a file's bytes are on the disk once it was
synced, its name once its folder was. What was not may be there or not, each page and each name for itself; a rename
happens as a whole. Of a file that is appended to, what came first is there first.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mltrack.disk.filesystem import FileSystem, StrPath

PAGE = 4096


@dataclass
class Data:
    """Bytes put into a file at an offset; ``grows``: at its end."""

    file: int
    offset: int
    data: bytes
    grows: bool = False


@dataclass
class Size:
    """A file was made as long as this."""

    file: int
    size: int


@dataclass
class Names:
    """Names that folders got (a file's or a folder's number) or lost (None), all at once."""

    changes: list[tuple[int, str, int | None]]


@dataclass
class Sync:
    """What is in a file, or which names a folder has, is on the disk."""

    number: int


@dataclass
class Mark:
    """Where the session was: its own words."""

    what: object


Change = Data | Size | Names
Step = Change | Sync | Mark
Choose = Callable[[Change, str], float]
"""Of a change that was not synced, and the name of its file: how much of it is there, from 0 to 1."""


class RecordingFileSystem(FileSystem):
    """Does all that is asked, and writes it down."""

    def __init__(self, root: Path) -> None:
        """``root`` is what is written down; ``steps`` tells what was done below it."""
        self.steps: list[Step] = []
        self.folders: set[int] = set()
        self._root = root
        self._held = root.parent / f".{root.name}.held"  # keeps numbers of files that are gone from being given again
        self._held.mkdir()
        self._pages: dict[int, bytes] = {}  # what was last seen of files that may be mapped
        self._paths: dict[int, Path] = {}
        self._lock = threading.RLock()
        root.mkdir(exist_ok=True)
        self.top = self._folder(root)

    def _folder(self, path: Path) -> int:
        number = os.stat(path).st_ino
        self.folders.add(number)
        return number

    def _named(self, path: Path) -> int:
        """The number of a file that just got a name, which is noted."""
        number = os.stat(path).st_ino
        self._paths[number] = path
        self.steps.append(Names([(self._folder(path.parent), path.name, number)]))
        return number

    def mark(self, what: object) -> None:
        """Note where the session is, after all that mapped files got."""
        with self._lock:
            self.look()
            self.steps.append(Mark(what))

    def look(self) -> None:
        """Note the pages of mapped files that have changed."""
        for number, before in list(self._pages.items()):
            try:
                now = self._paths[number].read_bytes()
            except FileNotFoundError:
                self._pages.pop(number)
                continue
            for at in range(0, len(now), PAGE):
                if now[at : at + PAGE] != before[at : at + PAGE]:
                    self.steps.append(Data(number, at, now[at : at + PAGE]))
            self._pages[number] = now

    def create(self, path: str | os.PathLike[str]) -> int:
        with self._lock:
            self.look()
            fd = super().create(path)
            self._named(Path(path))
            return fd

    def open_append(self, path: Path) -> int:
        with self._lock:
            self.look()
            is_new = not path.exists()
            fd = super().open_append(path)
            if is_new:
                self._named(path)
            return fd

    def write(self, fd: int, data: bytes) -> int:
        with self._lock:
            self.look()
            at = os.fstat(fd).st_size
            done = super().write(fd, data)
            self.steps.append(Data(os.fstat(fd).st_ino, at, bytes(data[:done]), grows=True))
            return done

    def write_at(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        with self._lock:
            self.look()
            number = os.fstat(fd).st_ino
            grows = offset + len(data) > os.fstat(fd).st_size
            done = super().write_at(fd, data, offset)
            self.steps.append(Data(number, offset, bytes(data[:done]), grows=grows))
            if number in self._pages:
                self._pages[number] = os.pread(fd, os.fstat(fd).st_size, 0)
            return done

    def allocate(self, fd: int, size: int) -> None:
        with self._lock:
            self.look()
            super().allocate(fd, size)
            number = os.fstat(fd).st_ino
            self.steps.append(Size(number, size))
            self._pages[number] = bytes(size)

    def truncate(self, fd: int, size: int) -> None:
        with self._lock:
            self.look()
            super().truncate(fd, size)
            number = os.fstat(fd).st_ino
            self.steps.append(Size(number, size))
            if number in self._pages:
                self._pages[number] = os.pread(fd, size, 0)

    def sync(self, fd: int) -> None:
        with self._lock:
            self.look()
            self._known(fd)
            self.steps.append(Sync(os.fstat(fd).st_ino))

    def _known(self, fd: int) -> None:
        """A file that was written past this file system is noted as it is now."""
        number = os.fstat(fd).st_ino
        if number not in self._paths:
            self._paths[number] = Path(f"/proc/self/fd/{fd}").readlink()
            self.steps.append(Data(number, 0, os.pread(fd, os.fstat(fd).st_size, 0), grows=True))

    def sync_folder(self, path: Path) -> None:
        with self._lock:
            self.look()
            self.steps.append(Sync(self._folder(path)))

    def rename(self, source: StrPath, target: StrPath) -> None:
        with self._lock:
            self.look()
            source, target = Path(source), Path(target)
            number = os.stat(source).st_ino
            if source.is_file():
                fd = os.open(source, os.O_RDONLY)
                self._known(fd)
                os.close(fd)
                self._paths[number] = target
            self._hold(target)
            super().rename(source, target)
            changes = [
                (self._folder(source.parent), source.name, None),
                (self._folder(target.parent), target.name, number),
            ]
            self.steps.append(Names(list(changes)))

    def sync_all(self, folder: Path, paths: Iterable[str | os.PathLike[str]]) -> None:
        for path in map(Path, paths):
            if path.is_dir():
                self.sync_folder(path)
                continue
            fd = os.open(path, os.O_RDONLY)
            self.sync(fd)
            os.close(fd)

    def make_new_folder(self, path: str | os.PathLike[str]) -> None:
        with self._lock:
            self.look()
            super().make_new_folder(path)
            made = Path(path)
            self.steps.append(Names([(self._folder(made.parent), made.name, self._folder(made))]))

    def remove_folder(self, path: Path) -> None:
        with self._lock:
            self.look()
            super().remove_folder(path)
            if not path.exists():
                self.steps.append(Names([(self._folder(path.parent), path.name, None)]))

    def link(self, source: Path, target: Path) -> None:
        with self._lock:
            self.look()
            super().link(source, target)
            self._named(target)

    def unlink(self, path: Path) -> None:
        with self._lock:
            self.look()
            if path.exists():
                self._hold(path)
                super().unlink(path)
                self.steps.append(Names([(self._folder(path.parent), path.name, None)]))

    def _hold(self, path: Path) -> None:
        if path.exists():
            os.link(path, self._held / os.urandom(8).hex())

    def make_folder(self, path: Path) -> list[Path]:
        with self._lock:
            self.look()
            new = [at for at in (path, *path.parents) if at.is_relative_to(self._root) and not at.exists()]
            made = super().make_folder(path)
            for at in reversed(new):
                self.steps.append(Names([(self._folder(at.parent), at.name, self._folder(at))]))
            return made


@dataclass
class _File:
    data: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)


class Platter:
    """What is on the disk after so many steps, and what may be."""

    def __init__(self, recorded: RecordingFileSystem) -> None:
        self._top = recorded.top
        self._folders = recorded.folders
        self._files: dict[int, _File] = {}
        self._names: dict[int, dict[str, int]] = {}
        self._pending_names: list[Names] = []
        self._called: dict[int, str] = {}

    def take(self, step: Step) -> None:
        """One more step is done."""
        if isinstance(step, Names):
            self._pending_names.append(step)
            for _, name, number in step.changes:
                if number is not None:
                    self._called[number] = name
        elif isinstance(step, Data | Size):
            self._files.setdefault(step.file, _File()).pending.append(step)
        elif isinstance(step, Sync) and step.number in self._folders:
            due = [change for change in self._pending_names if any(at == step.number for at, _, _ in change.changes)]
            for names in due:
                _apply_names(self._names, names)
                self._pending_names.remove(names)
        elif isinstance(step, Sync):
            file = self._files.setdefault(step.number, _File())
            for change in file.pending:
                _apply(file.data, change, 1.0)
            file.pending = []

    def lay_out(self, target: Path, choose: Choose) -> None:
        """Make in ``target`` what a power cut leaves; ``choose`` says what of all that was not synced is there."""
        names = {folder: dict(held) for folder, held in self._names.items()}
        for change in self._pending_names:
            if choose(change, change.changes[-1][1]) > 0.5:
                _apply_names(names, change)
        self._lay_out(self._top, target, names, choose)

    def _lay_out(self, folder: int, target: Path, names: dict[int, dict[str, int]], choose: Choose) -> None:
        target.mkdir()
        for name, number in names.get(folder, {}).items():
            if number in self._folders:
                self._lay_out(number, target / name, names, choose)
            else:
                (target / name).write_bytes(self._content(number, choose))

    def _content(self, number: int, choose: Choose) -> bytes:
        file = self._files.get(number, _File())
        data, cut = bytearray(file.data), False
        for change in file.pending:
            part = choose(change, self._called.get(number, ""))
            if isinstance(change, Data) and change.grows:
                part = 0.0 if cut else part
                cut = part < 1.0
            _apply(data, change, part)
        return bytes(data)


def _apply_names(names: dict[int, dict[str, int]], change: Names) -> None:
    for folder, name, number in change.changes:
        held = names.setdefault(folder, {})
        if number is None:
            held.pop(name, None)
        else:
            held[name] = number


def _apply(data: bytearray, change: Change, part: float) -> None:
    """Some of a change: of bytes that were added, the first ones; of others all or nothing."""
    if isinstance(change, Data):
        if change.grows:
            added = change.data[: round(len(change.data) * part)]
        else:
            added = change.data if part > 0.5 else b""
        if added:
            end = change.offset + len(added)
            if change.grows and len(data) < end:
                data.extend(bytes(end - len(data)))
            data[change.offset : end] = added[: max(0, len(data) - change.offset)]
    elif isinstance(change, Size) and part > 0.5:
        if change.size < len(data):
            del data[change.size :]
        else:
            data.extend(bytes(change.size - len(data)))


# --- what may be there ---


def nothing(change: Change, name: str) -> float:
    """Only what was synced."""
    return 0.0


def everything(change: Change, name: str) -> float:
    """All: what ``kill -9`` leaves."""
    return 1.0


def only(*kinds: str) -> Choose:
    """Of files that end so, all; and all names. Of others only what was synced."""

    def choose(change: Change, name: str) -> float:
        return 1.0 if isinstance(change, Names) or name.endswith(kinds) else 0.0

    return choose


def names_only(change: Change, name: str) -> float:
    """All names, and nothing in the files."""
    return 1.0 if isinstance(change, Names) else 0.0


def contents_only(change: Change, name: str) -> float:
    """All that is in files, under the names that were synced."""
    return 0.0 if isinstance(change, Names) else 1.0


def at_random(seed: int) -> Choose:
    """Each for itself, some half-way."""
    dice = random.Random(seed)

    def choose(change: Change, name: str) -> float:
        return dice.choice((0.0, 1.0, 1.0, dice.random()))

    return choose
