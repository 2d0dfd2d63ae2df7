"""The files of a run, or a logged model, that the store lacks: listed, downloaded whole, noted with their hash."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from mltrack.disk.incoming_file import IncomingFile
from mltrack.errors import InvalidPathError
from mltrack_sync.errors import NotMlflowError, RemoteRefusedError
from mltrack_sync.mlflow.files.content import TooLong
from mltrack_sync.mlflow.files.download import read_artifact

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path

    from mltrack.disk.artifact_files import Stored
    from mltrack_sync.mlflow.pull.session import PullSession

__all__ = ["FilesPull", "Place"]

FILES_MAX = 1_000_000
DEPTH_MAX = 64
CHANGED_BYTES_MAX = 16 << 20
NAMED_MAX = 3
"""So many files that could not be had are named, of each run."""

Listed = Callable[[str], Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the files are on the server, and where they go here.

    Attributes:
        what: What they belong to, in words.
        uri: Where the server says that they are.
        listed: Gives sizes by path of what is in a folder; -1 for a folder in it.
        root: The folder that they go to.
        note: Notes a file that has its name.
        changed: By path, what makes the content that a small file is to have here.
    """

    what: str
    uri: str
    listed: Listed
    root: Path
    note: Callable[[Stored], None]
    changed: Mapping[str, Callable[[bytes], bytes]] = field(default_factory=dict)


@dataclass(slots=True)
class FilesPull:
    """Brings the files of one run. Used by one thread; files are downloaded by others.

    Those in ``hashes`` are compared with the server's, of which only the hash is taken where they are the same.
    ``left_out`` says whether some were larger than wanted, ``failed`` whether some could not be had.
    """

    session: PullSession
    place: Place
    hashes: Mapping[str, str] = field(default_factory=dict)
    left_out: bool = False
    failed: int = 0
    brought: set[str] = field(default_factory=set)
    _folders: set[str] = field(default_factory=set)

    @property
    def bound(self) -> int | None:
        """The size up to which all files were brought; None where no file was left out."""
        if not self.left_out:
            return None
        options = self.session.options
        return 0 if options.artifact_paths else options.artifact_bytes_max

    def pull(self, stored: Mapping[str, int | None]) -> None:
        """Bring the files that are not stored with their size; None for those that are as they should be.

        Raises:
            RemoteError: see mltrack_sync.errors.
            StoreError, OSError: one can't be stored.
        """
        largest = self.session.options.artifact_bytes_max
        if largest == 0:
            self.left_out = True
            return
        wanted: dict[str, int] = {}
        for path, size in self._files():
            is_stored = path in stored and (size == 0 or stored[path] in (None, size))  # 0: not all say how large
            if is_stored and path not in self.hashes:
                continue
            if not self.session.options.wants_artifact(path):
                self.left_out = True
            elif largest is not None and size > largest:
                self.left_out = True
                self.session.count(skipped_artifacts=1)
            else:
                wanted[path] = size
        self.session.options.progress.files(total=sum(wanted.values()))
        futures = {path: self.session.reader.submit(partial(self._bring, path, size)) for path, size in wanted.items()}
        try:
            for path, future in futures.items():
                self._result(path, future)
        finally:
            for future in futures.values():
                future.cancel()

    def _result(self, path: str, future: Future[bool]) -> None:
        try:
            if future.result():
                self.brought.add(path)
        except (RemoteRefusedError, InvalidPathError, TooLong) as error:
            self.failed += 1
            if self.failed <= NAMED_MAX:
                words = error.words if isinstance(error, RemoteRefusedError) else str(error)
                self.session.problem(f"{self.place.what}: file {path[:200]!r} is not here: {words}")
            elif self.failed == NAMED_MAX + 1:
                self.session.problem(f"{self.place.what}: more files are not here")

    def _files(self) -> Iterator[tuple[str, int]]:
        """All files with their sizes, folder by folder.

        Raises:
            NotMlflowError: the server names folders without end.
        """
        left, count = [""], 0
        while left:
            self.session.check()
            folder = left.pop()
            for path, size in self.place.listed(folder).items():
                count += 1
                if count > FILES_MAX or path.count("/") > DEPTH_MAX:
                    raise NotMlflowError(f"{self.session.client.url} lists files of {self.place.what} without end")
                below = f"{folder}/" if folder else ""
                if not path.startswith(below) or len(path) <= len(below):
                    where = f"in the folder {folder[:200]!r} of {self.place.what}"
                    raise NotMlflowError(f"{self.session.client.url} lists {path[:200]!r} {where}")
                if size >= 0:
                    yield path, size
                elif path not in self._folders:
                    self._folders.add(path)
                    left.append(path)

    def _is_same(self, path: str) -> bool:
        """Whether the server's file has the content that is stored; it is read, and nothing of it is kept."""
        hashed = [hashlib.sha256()]

        def begin() -> Callable[[bytes], None]:
            hashed[0] = hashlib.sha256()

            def take(piece: bytes) -> None:
                self.session.check()
                hashed[0].update(piece)

            return take

        read_artifact(self.session.client, self.place.uri, path, begin)
        return hashed[0].hexdigest() == self.hashes[path]

    def _bring(self, path: str, size: int) -> bool:
        """Bring it, unless what is stored is the same. Returns whether it came."""
        self.session.check()
        if path in self.hashes and self._is_same(path):
            return False
        place, progress, most = self.place, self.session.options.progress, self.session.options.artifact_bytes_max
        with contextlib.closing(IncomingFile(place.root, path)) as file:

            def begin() -> Callable[[bytes], None]:
                take = file.begin()

                def bounded(piece: bytes) -> None:
                    self.session.check()
                    if most is not None and file.size + len(piece) > most:
                        raise TooLong(f"it has more than the {size:,} bytes that the server lists")
                    take(piece)
                    progress.files(sent=len(piece))

                return bounded

            read_artifact(self.session.client, place.uri, path, begin)
            if file.size < size:
                words = f"{file.size:,} bytes came of {size:,}"
                raise RemoteRefusedError(words, status=404, code="NOT_FOUND", words=words)
            if path in place.changed:
                content = place.changed[path](file.content(CHANGED_BYTES_MAX))
                file.begin()(content)
            file.publish(place.note)
        self.session.count(artifacts=1, artifact_bytes=file.size)
        return True
