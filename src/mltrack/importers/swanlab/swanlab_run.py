"""One run of SwanLab's: its folders, read once for its facts, then again for numbers, media and the console."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import yaml

from mltrack.disk.filesystem import safe_join
from mltrack.environment import NOTE_TAG
from mltrack.errors import InvalidPathError
from mltrack.importers.batches import make_batch
from mltrack.importers.json_fields import params_of, parse_json
from mltrack.importers.kept_points import KeptPoints
from mltrack.importers.png_image import PNG, PngImage
from mltrack.importers.protobuf import WireError
from mltrack.importers.source import SourceError, SourceValue
from mltrack.importers.swanlab.records import Ended, Facts, Line, Media, Record, Scalar, json_record, protobuf_record
from mltrack.importers.swanlab.scalars import BATCH_ITEMS, Scalars, is_scalar
from mltrack.values.rich import Text

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from mltrack.importers.batches import Columns
    from mltrack.importers.findings import Findings
    from mltrack.importers.log_file import LogFile

__all__ = ["SwanlabRun"]

JSON_VERSION, PROTOBUF_VERSION = 1, 2
FILE_BYTES_MAX = 64 << 20
"""Of config, metadata, texts and images: SwanLab writes none that are greater."""
ITEMS_MAX = 100_000
DAMAGE = (WireError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


class SwanlabRun:
    """Its logs, with the versions of their formats, in the order in which they were begun."""

    def __init__(self, logs: list[tuple[LogFile, int]], findings: Findings) -> None:
        self.logs = logs
        self._findings = findings
        self.facts: dict[str, Any] = {}
        self.start = self.end = self.last_time = 0
        self.status = "KILLED"
        self.tags: dict[str, str] = {}
        self.params: dict[str, str] = {}
        self.media: set[tuple[str, str]] = set()
        """Folders and names of files that come as values."""
        self._has_media = False
        self._kept = KeptPoints()
        self.has_console = False

    @property
    def where(self) -> str:
        """What it is called in messages."""
        return self.logs[0][0].where

    def scan(self) -> None:
        """Read all of it for the facts.

        Raises:
            OSError, SourceError: it can't be read.
        """
        for part in self._parts(note=True):
            self._kept.add(part)
            self.last_time = max(self.last_time, int(part.times.max(initial=0)))
        for log, _ in self.logs:
            self._take_files(log)
        names = {"tags": "swanlab.tags", "group": "swanlab.group", "job_type": "swanlab.job_type"}
        for field, tag in (*names.items(), ("description", NOTE_TAG)):
            value = self.facts.get(field)
            if value:
                self.tags[tag] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    def _decode(self, log: LogFile, version: int, data: bytes) -> Record | None:
        try:
            return protobuf_record(data) if version == PROTOBUF_VERSION else json_record(data)
        except DAMAGE as error:
            self._findings.problem(log.where, f"a record can't be read: {' '.join(str(error).split())[:200]}")
            return None

    def _note(self, log: LogFile, record: Record) -> None:
        self.last_time = max(self.last_time, record.time)
        if isinstance(record, Facts):
            self.facts.update(record.fields)
            self.start = min(filter(None, (self.start, record.time)), default=0)
            self.status, self.end = "KILLED", 0
        elif isinstance(record, Ended):
            self.status, self.end = record.status, record.time
            if record.error:
                self.tags["swanlab.error"] = record.error
        elif isinstance(record, Line):
            self.has_console = True
        elif isinstance(record, Media):
            self._has_media = True
            if record.kind == "text" or record.kind == "image":
                self.media.update((record.folder, name) for name in record.items if is_value(record.kind, name))

    # --- files next to a log ---

    def _take_files(self, log: LogFile) -> None:
        """What config and metadata say."""
        folder = log.path.parent / "files"
        config = self._next_to(log, folder / "config.yaml")
        if config is not None:
            try:
                found = yaml.load(config, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # both are safe
                if isinstance(found, dict):
                    values = {key: each.get("value") if isinstance(each, dict) else each for key, each in found.items()}
                    _check_size(values)
                    self.params.update(params_of(json.loads(json.dumps(values, default=str, skipkeys=True))))
            except (yaml.YAMLError, *DAMAGE) as error:
                words = " ".join(str(error).split())[:200]
                self._findings.problem(log.where, f"files/config.yaml can't be read: {words}")
        metadata = self._next_to(log, folder / "swanlab-metadata.json")
        if metadata is not None:
            try:
                self._take_metadata(parse_json(metadata))
            except DAMAGE as error:
                words = " ".join(str(error).split())[:200]
                self._findings.problem(log.where, f"files/swanlab-metadata.json can't be read: {words}")

    def _next_to(self, log: LogFile, path: Path) -> bytes | None:
        try:
            return read_bounded(path) if path.is_file() and not self._findings.is_outside(path) else None
        except (SourceError, OSError) as error:
            self._findings.problem(log.where, f"files/{path.name} can't be read: {error}")
            return None

    def _take_metadata(self, found: dict[str, Any]) -> None:
        git = found.get("git") or {}
        branch, commit = found.get("git_info") or (None, None)
        known = {
            "mlflow.source.git.repoURL": git.get("remote_url") or found.get("git_remote"),
            "mlflow.source.git.branch": git.get("branch") or branch,
            "mlflow.source.git.commit": git.get("commit") or commit,
            "swanlab.host": (found.get("runtime") or {}).get("hostname") or found.get("hostname"),
        }
        self.tags.update({tag: str(value) for tag, value in known.items() if value})

    # --- points ---

    def points(self) -> Iterator[pa.RecordBatch]:
        """All numbers, system metrics included, with SwanLab's steps.

        Raises:
            SourceError: they can't be read.
        """
        try:
            for part in self._kept.parts if self._kept.complete else self._parts(note=False):
                yield make_batch(part.keys, part.codes, part.steps, part.times, part.values)
        except OSError as error:
            raise SourceError(f"can't be read: {error.strerror or error}") from error

    def _parts(self, note: bool) -> Iterator[Columns]:
        """All numbers; the other records are noted, or left."""
        numbers = Scalars()
        for log, version in self.logs:
            for data in log.records():
                if version == PROTOBUF_VERSION and is_scalar(data):
                    self._add(numbers, log, data)
                else:
                    record = self._decode(log, version, data)
                    if isinstance(record, Scalar):
                        numbers.put(record)
                    elif record is not None and note:
                        self._note(log, record)
                if len(numbers) >= BATCH_ITEMS:
                    yield numbers.take()
        yield numbers.take()

    def _add(self, numbers: Scalars, log: LogFile, data: bytes) -> None:
        try:
            numbers.add(data)
        except WireError as error:
            self._findings.problem(log.where, f"a record can't be read: {error}")

    # --- media and console ---

    def _records(self) -> Iterator[tuple[LogFile, Record]]:
        """All but numbers."""
        try:
            for log, version in self.logs:
                for data in log.records():
                    if version == PROTOBUF_VERSION and is_scalar(data):
                        continue
                    record = self._decode(log, version, data)
                    if record is not None:
                        yield log, record
        except OSError as error:
            raise SourceError(f"can't be read: {error.strerror or error}") from error

    def values(self) -> Iterator[SourceValue]:
        """Texts, and images that are PNG files.

        Raises:
            SourceError: they can't be read.
        """
        for log, record in self._records() if self._has_media else ():
            if isinstance(record, Media):
                for name in record.items:
                    try:
                        found = self._value(log, record, name)
                    except (SourceError, OSError, InvalidPathError) as error:
                        self._findings.problem(log.where, f"{record.key!r} at step {record.step}: {error}")
                        continue
                    if found is not None:
                        yield SourceValue(record.key, record.step, record.time, found)

    def _value(self, log: LogFile, record: Media, name: str) -> Text | PngImage | None:
        if record.kind == "text" and not record.folder:
            return Text(name)
        if not is_value(record.kind, name):
            return None
        path = safe_join(log.path.parent / "media", f"{record.folder}/{name}")
        if not path.is_file() or self._findings.is_outside(path):
            raise SourceError(f"media/{record.folder}/{name} is not there")
        data = read_bounded(path)
        if record.kind == "text":
            return Text(data.decode("utf-8", "replace"))
        if not data.startswith(PNG):
            raise SourceError(f"media/{record.folder}/{name} is not a PNG image")
        return PngImage(data)

    def console(self) -> bytes:
        """What the console showed."""
        lines = (record.text for _, record in self._records() if isinstance(record, Line))
        return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


def is_value(kind: str, name: str) -> bool:
    """Whether a file of media comes as a value; others come as files."""
    return kind == "text" or (kind == "image" and name.endswith(".png"))


def read_bounded(path: Path) -> bytes:
    """The content of a small file.

    Raises:
        SourceError: it is too great.
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise SourceError(f"more than {FILE_BYTES_MAX:,} bytes")
    return data


def _check_size(value: Any) -> None:
    """Refuse a config of which a few lines of references make millions of values.

    Raises:
        ValueError: it is one.
    """
    left, stack = ITEMS_MAX, [value]
    while stack:
        found = stack.pop()
        left -= 1
        if left < 0:
            raise ValueError(f"more than {ITEMS_MAX:,} values")
        if isinstance(found, dict):
            stack.extend(found.values())
        elif isinstance(found, list | tuple | set):
            stack.extend(found)
