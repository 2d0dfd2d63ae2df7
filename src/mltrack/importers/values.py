"""Histograms, images, tables and texts of one run that the store lacks."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from mltrack.disk.incoming_file import IncomingFile
from mltrack.environment import IMAGES_TAG
from mltrack.errors import StoreError
from mltrack.journal.rich_series import SERIES_FOLDER, SeriesJournal, journals, read_lines
from mltrack.values.media import image_name, usable_image_key
from mltrack.values.rich import Image, encode_value
from mltrack.values.scalars import check_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mltrack.importers.session import Session
    from mltrack.importers.source import SourceRun, SourceValue
    from mltrack.storage.runs.imported import RunImport
    from mltrack.storage.runs.local_facts import LocalFacts

__all__ = ["KnownValues", "ValueImport", "image_of", "line_of"]

_RANDOM = re.compile(r"\+[0-9a-f]{32}\.png$")


class KnownValues:
    """The values of a run that the store has, known by name, step, time and content."""

    def __init__(self, local: LocalFacts) -> None:
        self._local = local
        self._lines: set[bytes] | None = None

    def has(self, line: Mapping[str, Any]) -> bool:
        """Whether it has what a line of a series says."""
        if self._lines is None:
            run = self._local.run
            paths = journals(run.folder.path) if run is not None else []
            lines = (line for path in paths for line in read_lines(path))
            self._lines = {_identity({**line.fields, "time": line.time}) for line in lines}
        return _identity(line) in self._lines

    def has_image(self, name: str) -> bool:
        """Whether it has an image of that name, which is made of its content."""
        return name in self._local.files


def line_of(value: SourceValue) -> dict[str, Any]:
    """A value that is not an image as a line of a series.

    Raises:
        UsageError: its name is none.
    """
    assert not isinstance(value.value, Image)
    return {"time": value.time, "key": check_key(value.key), "step": value.step, **encode_value(value.value)}


def image_of(value: SourceValue) -> tuple[str, bytes]:
    """The name and the bytes of an image; the name is made of the content, so that it is the same each time.

    Raises:
        UsageError: it is not an image.
    """
    assert isinstance(value.value, Image)
    data = value.value.encode(value.key)
    name = image_name(None, usable_image_key(value.key), value.step, value.time // 1_000_000)
    return _RANDOM.sub(f"+{hashlib.sha256(data).hexdigest()[:32]}.png", name), data


class ValueImport:
    """Brings them."""

    def __init__(self, session: Session, local: LocalFacts, writer: RunImport) -> None:
        self._session = session
        self._local = local
        self._writer = writer
        self._known = KnownValues(local)
        self._journal: SeriesJournal | None = None
        self._errors: list[Exception] = []

    def bring(self, run: SourceRun) -> None:
        """Bring what is new.

        Raises:
            StoreError: it can't be stored.
        """
        with_images = False
        try:
            with self._session.naming(run.where):
                for value in run.values():
                    with self._session.naming(run.where):
                        if isinstance(value.value, Image):
                            with_images |= self._bring_image(value)
                        elif not self._known.has(line := line_of(value)):
                            self._write(line)
        finally:
            if self._journal is not None:
                self._journal.close()
        if with_images and self._local.tags.values.get(IMAGES_TAG) is None and not self._session.options.dry_run:
            self._writer.add({"type": "tag", "key": IMAGES_TAG, "value": "True"})

    def _write(self, line: dict[str, Any]) -> None:
        self._session.counts["values"] += 1
        if self._session.options.dry_run:
            return
        if self._journal is None:
            writer = self._writer
            writer.begin()
            folder = writer.folder.path / SERIES_FOLDER
            self._journal = SeriesJournal(
                folder, writer.writer, on_loss=self._errors.append, sync_start=writer.sync_start
            )
        self._journal.append([line])
        if self._errors:
            raise StoreError(f"run {self._writer.run_id} can't be written: {self._errors[0]}", hint="make room")

    def _bring_image(self, value: SourceValue) -> bool:
        name, data = image_of(value)
        if self._known.has_image(name):
            return False
        self._session.counts["values"] += 1
        if not self._session.options.dry_run:
            self._writer.begin()
            self._writer.sync_start()
            store_bytes(self._writer, name, data)
        return True


def store_bytes(writer: RunImport, name: str, data: bytes) -> None:
    """Add a small file to a run.

    Raises:
        StoreError: it can't be stored.
    """
    incoming = IncomingFile(writer.folder.artifacts, name)
    try:
        incoming.begin()(data)
        incoming.publish(
            lambda stored: writer.add(
                {"type": "artifact", "path": stored.path, "size": stored.size, "sha256": stored.sha256}
            )
        )
    except OSError as error:
        raise StoreError(f"file {name!r} can't be stored: {error.strerror or error}", hint="make room") from error
    finally:
        incoming.close()


def _identity(line: Mapping[str, Any]) -> bytes:
    fields = {key: value for key, value in line.items() if key not in ("seq", "crc")}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode("utf-8", "surrogatepass")).digest()[:16]
