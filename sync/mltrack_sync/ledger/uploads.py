"""Uploads in parts that are on their way to one remote: what a later sync cycle needs to resume or abort them.

``uploads.jsonl`` lies next to the ledger and exists only while something is on its way. A line is on the disk before
the next step that relies on it: ``upload`` before the first part goes, ``part`` when the object store acknowledged one,
``done`` when the remote has the file or the upload was given up. Signed URLs are secrets and never in it. ``tried``
says how many sync cycles failed to send a file as a whole, and when the last one did.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mltrack.disk.filesystem import LOCAL, FileSystem
from mltrack.disk.jsonlog import JsonLog, read_log
from mltrack.disk.sync_line_types import UPLOADS
from mltrack_sync.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Upload", "UploadLog"]


@dataclass(slots=True)
class Upload:
    """One file on its way in parts of ``part_bytes``, the last one shorter.

    ``name`` is where it goes among the server's artifacts. ``upload_id`` is the object store's, empty where parts
    belong to the file's name rather than to an upload. ``parts`` has the ETags of those acknowledged, by number from 1.
    """

    run_id: str
    path: str
    name: str
    sha256: str
    size: int
    part_bytes: int
    upload_id: str
    parts: dict[int, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many parts it has."""
        return -(-self.size // self.part_bytes)

    def bytes_of(self, number: int) -> int:
        """The size of a part."""
        return min(self.part_bytes, self.size - (number - 1) * self.part_bytes)

    def missing(self) -> list[int]:
        """The parts not acknowledged."""
        return [number for number in range(1, self.count + 1) if number not in self.parts]


@dataclass(frozen=True, slots=True)
class Tries:
    """A file that was sent as a whole and that the remote, as far as is known, does not have."""

    sha256: str
    passes: int
    last_s: float


class UploadLog:
    """The uploads of one remote. Its methods may be called from many threads of the one syncer that holds the lock."""

    def __init__(self, path: Path, *, fs: FileSystem = LOCAL) -> None:
        """Read it; the file is created with the first line.

        Raises:
            OSError: the file exists and can't be read.
        """
        self._path = path
        self._fs = fs
        self._lock = threading.Lock()
        self._log: JsonLog | None = None
        self._uploads: dict[tuple[str, str], Upload] = {}
        self._tries: dict[tuple[str, str], Tries] = {}
        for line in read_log(path, records=UPLOADS).lines:  # a bad line costs a part sent again, or a new upload
            self._apply(line)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._log is not None:
                self._log.close()
                self._log = None

    def find(self, run_id: str, path: str) -> Upload | None:
        """The upload of that file, if one is on its way."""
        with self._lock:
            return self._uploads.get((run_id, path))

    def begin(self, upload: Upload) -> None:
        """Note that parts of it are about to be sent; it replaces any other upload of that file.

        Raises:
            LedgerError: it can't be written down.
        """
        fields = {"name": upload.name, "sha256": upload.sha256, "size": upload.size, "part_bytes": upload.part_bytes}
        self._write(upload, {"type": "upload", **fields, "upload_id": upload.upload_id})
        with self._lock:
            self._uploads[upload.run_id, upload.path] = upload

    def acknowledge(self, upload: Upload, number: int, etag: str) -> None:
        """Note that the server has that part.

        Raises:
            LedgerError: it can't be written down.
        """
        self._write(upload, {"type": "part", "number": number, "etag": etag})
        with self._lock:
            upload.parts[number] = etag

    def end(self, upload: Upload) -> None:
        """Note that the remote has the file, or the upload is given up. With the last upload the log is removed.

        Raises:
            LedgerError: it can't be written down.
        """
        self._write(upload, {"type": "done"})
        with self._lock:
            self._uploads.pop((upload.run_id, upload.path), None)
            self._remove_if_empty()

    def _remove_if_empty(self) -> None:
        if self._uploads or self._tries or self._log is None:
            return
        self._log.close()
        self._log = None
        self._fs.unlink(self._path)

    # --- files sent whole ---

    def tries(self, of: tuple[str, str], sha256: str) -> tuple[int, float]:
        """How many sync cycles failed to send that file with this content, and when one last did (s); 0 for never."""
        with self._lock:
            known = self._tries.get(of)
        return (known.passes, known.last_s) if known is not None and known.sha256 == sha256 else (0, 0.0)

    def tried(self, of: tuple[str, str], sha256: str, passes: int, now_s: float) -> None:
        """Note that a sync cycle failed to send it, and how many did so for which the file itself may be the cause.

        Raises:
            LedgerError: it can't be written down.
        """
        self._write_of(of, {"type": "tried", "sha256": sha256, "passes": passes, "time": now_s})
        with self._lock:
            self._tries[of] = Tries(sha256, passes, now_s)

    def taken(self, of: tuple[str, str]) -> None:
        """Note that the remote has it now.

        Raises:
            LedgerError: it can't be written down.
        """
        self._write_of(of, {"type": "taken"})
        with self._lock:
            self._tries.pop(of, None)
            self._remove_if_empty()

    def _write(self, upload: Upload, line: dict[str, Any]) -> None:
        self._write_of((upload.run_id, upload.path), line)

    def _write_of(self, of: tuple[str, str], line: dict[str, Any]) -> None:
        try:
            with self._lock:
                if self._log is None:
                    self._log = JsonLog(self._path, records=UPLOADS, fs=self._fs, placed=True)
                    self._fs.sync_folder(self._path.parent)
                self._log.append([{**line, "run": of[0], "path": of[1]}])
                self._log.sync()
        except OSError as error:
            raise LedgerError(
                f"{self._path} can't be written: {error.strerror}",
                hint="make room or fix its permissions, then sync again",
            ) from error

    def _apply(self, line: Mapping[str, Any]) -> None:
        key = (line.get("run", ""), line.get("path", ""))
        known = self._uploads.get(key)
        match line.get("type"):
            case "upload":
                names = ("name", "sha256", "size", "part_bytes", "upload_id")
                self._uploads[key] = Upload(*key, *(line[name] for name in names))
            case "part" if known is not None:
                known.parts[line["number"]] = line["etag"]
            case "done":
                self._uploads.pop(key, None)
            case "tried":
                self._tries[key] = Tries(line["sha256"], line["passes"], line["time"])
            case "taken":
                self._tries.pop(key, None)
