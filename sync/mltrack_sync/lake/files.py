"""The files of a lake: in a folder of this machine, or on object storage with credentials of the cloud's own chain."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from mltrack.disk.filesystem import LOCAL, TEMPORARY, FileSystem
from mltrack_sync.lake.failures import lake_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mltrack_sync.lake.places import LakePlace

__all__ = ["LakeFiles", "files_of"]

CHUNK_BYTES = 1 << 20


class LakeFiles(Protocol):
    """The files below the lake's place, by paths with "/". A file that was put is whole, and on the disk."""

    def put(self, path: str, data: bytes | memoryview) -> None:
        """Make a file of a new name.

        Raises:
            RemoteError: it can't be written.
        """

    def put_stream(self, path: str, chunks: Iterable[bytes]) -> None:
        """Make a file that appears whole; where ``chunks`` raises, none appears.

        Raises:
            RemoteError: it can't be written.
        """

    def read(self, path: str) -> bytes | None:
        """What is in a small file; None where it does not exist.

        Raises:
            RemoteError: it can't be read.
        """

    def open(self, path: str) -> IO[bytes]:
        """A file for reading.

        Raises:
            RemoteError: it does not exist, or can't be read.
        """

    def sizes(self, folder: str) -> dict[str, int]:
        """The files below a folder with their sizes in bytes; none where it does not exist.

        Raises:
            RemoteError: it can't be listed.
        """

    def modified(self, folder: str) -> dict[str, float]:
        """The files below a folder, or the one of this name, with the times at which they were made (s).

        Raises:
            RemoteError: it can't be listed.
        """

    def size(self, path: str) -> int | None:
        """The size of a file in bytes; None where it does not exist.

        Raises:
            RemoteError: that can't be found out.
        """

    def remove(self, path: str) -> None:
        """Remove a file; a missing one is not an error.

        Raises:
            RemoteError: it can't be removed.
        """

    def names(self) -> list[str]:
        """What is directly in the lake's place; nothing where that does not exist.

        Raises:
            RemoteError: it can't be listed.
        """


def files_of(place: LakePlace, fs: FileSystem = LOCAL) -> LakeFiles:
    """The files of the lake at a place; ``fs`` writes to folders of this machine."""
    if place.folder is not None:
        return FolderFiles(place.folder, fs)
    return ObjectFiles(place.uri)


class FolderFiles:
    """Files in a folder of this machine."""

    def __init__(self, root: Path, fs: FileSystem = LOCAL) -> None:
        """Nothing is made before the first file is."""
        self.root = root
        self.fs = fs

    def put(self, path: str, data: bytes | memoryview) -> None:
        """Make a file of a new name."""
        target = self.root / path
        with lake_errors(str(self.root)):
            self.fs.make_durable_folder(target.parent)
            fd = self.fs.create(target)
            try:
                view = memoryview(data)
                while view:
                    view = view[self.fs.write(fd, bytes(view[:CHUNK_BYTES])) :]
                self.fs.sync(fd)
            finally:
                os.close(fd)
            self.fs.sync_folder(target.parent)

    def put_stream(self, path: str, chunks: Iterable[bytes]) -> None:
        """Make a file that appears whole."""
        target = self.root / path
        with lake_errors(str(self.root)):
            self.fs.make_durable_folder(target.parent)
            with self.fs.publishing(target, os.urandom(4).hex()) as fd:
                for chunk in chunks:
                    self.fs.write_all(fd, chunk)

    def read(self, path: str) -> bytes | None:
        """What is in a small file."""
        with lake_errors(str(self.root)):
            try:
                return (self.root / path).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def open(self, path: str) -> IO[bytes]:
        """A file for reading."""
        import pyarrow as pa

        with lake_errors(str(self.root)):
            stream: IO[bytes] = pa.OSFile(str(self.root / path))
            return stream

    def sizes(self, folder: str) -> dict[str, int]:
        """The files below a folder."""
        return {path: state.st_size for path, state in self._states(folder)}

    def modified(self, folder: str) -> dict[str, float]:
        """The files below a folder, or the one of this name, with their times."""
        return {path: state.st_mtime for path, state in self._states(folder)}

    def _states(self, folder: str) -> Iterator[tuple[str, os.stat_result]]:
        with lake_errors(str(self.root)):
            top = self.root / folder
            found = [top] if top.is_file() else (Path(at, name) for at, _, names in os.walk(top) for name in names)
            for path in found:
                if not path.name.endswith(TEMPORARY):
                    with contextlib.suppress(FileNotFoundError):
                        yield path.relative_to(self.root).as_posix(), path.stat()

    def size(self, path: str) -> int | None:
        """The size of a file."""
        with lake_errors(str(self.root)):
            try:
                return os.stat(self.root / path).st_size
            except (FileNotFoundError, NotADirectoryError):
                return None

    def remove(self, path: str) -> None:
        """Remove a file."""
        with lake_errors(str(self.root)):
            self.fs.unlink(self.root / path)

    def names(self) -> list[str]:
        """What is directly in the folder."""
        with lake_errors(str(self.root)):
            try:
                return sorted(os.listdir(self.root))
            except FileNotFoundError:
                return []


class ObjectFiles:
    """Files on object storage, by the same client that reads and writes the tables."""

    def __init__(self, uri: str) -> None:
        """Nothing is asked before the first call."""
        from deltalake._internal import DeltaFileSystemHandler  # what its PyArrow file system is made of

        self._uri = uri
        with lake_errors(uri):
            self._files = DeltaFileSystemHandler(uri)

    def put(self, path: str, data: bytes | memoryview) -> None:
        """Make a file of a new name."""
        view = memoryview(data)
        self.put_stream(path, (bytes(view[at : at + CHUNK_BYTES]) for at in range(0, len(view), CHUNK_BYTES)))

    def put_stream(self, path: str, chunks: Iterable[bytes]) -> None:
        """Make a file that appears when all of it was sent.

        Another machine may send the same content at the same moment. Azure then refuses the second one, whose parts it
        dropped when it had the first.
        """
        from deltalake.exceptions import DeltaError

        sent = 0
        with lake_errors(self._uri):
            stream: Any = self._files.open_output_stream(path)
            for chunk in chunks:
                stream.write(chunk)
                sent += len(chunk)
            try:
                stream.close()
            except (DeltaError, OSError):
                if self.size(path) != sent:
                    raise

    def read(self, path: str) -> bytes | None:
        """What is in a small file."""
        size = self.size(path)
        if size is None:
            return None
        with lake_errors(self._uri), self.open(path) as stream:
            return stream.read(size)

    def open(self, path: str) -> IO[bytes]:
        """A file for reading."""
        import pyarrow as pa

        with lake_errors(self._uri):
            stream: IO[bytes] = pa.PythonFile(self._files.open_input_file(path), mode="r")
            return stream

    def sizes(self, folder: str) -> dict[str, int]:
        """The files below a folder."""
        from pyarrow.fs import FileType

        with lake_errors(self._uri):
            found = self._files.get_file_info_selector(folder, allow_not_found=True, recursive=True)
            return {each.path: each.size for each in found if each.type == FileType.File}

    def modified(self, folder: str) -> dict[str, float]:
        """The files below a folder, or the one of this name, with their times."""
        from pyarrow.fs import FileType

        with lake_errors(self._uri):
            found = self._files.get_file_info([folder])
            if found[0].type != FileType.File:
                found = self._files.get_file_info_selector(folder, allow_not_found=True, recursive=True)
            return {each.path: each.mtime.timestamp() for each in found if each.type == FileType.File}

    def size(self, path: str) -> int | None:
        """The size of a file."""
        from pyarrow.fs import FileType

        with lake_errors(self._uri):
            (found,) = self._files.get_file_info([path])
            return found.size if found.type == FileType.File else None

    def remove(self, path: str) -> None:
        """Remove a file."""
        with lake_errors(self._uri), contextlib.suppress(FileNotFoundError):
            self._files.delete_file(path)

    def names(self) -> list[str]:
        """What is directly below the prefix."""
        with lake_errors(self._uri):
            found = self._files.get_file_info_selector("", allow_not_found=True, recursive=False)
            return sorted({each.base_name for each in found})
